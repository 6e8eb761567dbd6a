//! Whatever Grafana answers when asked for its data sources: what is decided by it touches no one
//! else's, and once done there is nothing left to do.

#![no_main]

use grafana_datasource_setup::config::Settings;
use grafana_datasource_setup::data_source::{DataSource, Edition, Plan, find, plan, removal};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let Ok(mut sources) = serde_json::from_slice::<Vec<DataSource>>(answer) else { return };
    let wanted = Settings::read(None, |variable| {
        let value = match variable {
            "GRAFANA_WORKSPACE_ID" => "g-0123456789",
            "AMP_WORKSPACE_URL" => "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let wanted = wanted.expect("the settings are right").wanted;
    let edition = Edition { version: "12.4".parse().expect("a version"), has_amp_plugin: true };

    let default = sources.iter().find(|source| source.is_default).map(|source| source.uid.clone());
    let Ok(found) = find(&wanted, &sources) else { return };
    let found = found.cloned();
    let plan_of = |found: Option<&DataSource>, default: Option<&str>| {
        plan(&wanted, &edition, found, default).expect("this Grafana can sign")
    };
    let written = match plan_of(found.as_ref(), default.as_deref()) {
        Plan::Create(source) => {
            assert!(found.is_none());
            source
        }
        Plan::Update { uid, into } => {
            assert_eq!(Some(uid), found.map(|found| found.uid));
            into
        }
        Plan::Unchanged(source) => {
            assert_eq!(Some(&source), found.as_ref());
            source
        }
    };
    assert!(written.is_default);
    let again = plan_of(Some(&written), Some(&written.uid));
    assert_eq!(again, Plan::Unchanged(written.clone()));

    sources.retain(|source| source.uid != written.uid);
    let others: Vec<_> = sources.iter().map(|source| source.uid.clone()).collect();
    sources.push(written);
    if let Some(removal) = removal(&wanted.uid, &sources) {
        assert!(removal.default_again.is_none_or(|uid| others.contains(&uid)));
    }
});
