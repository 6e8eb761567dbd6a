//! Whatever Grafana answers when asked for its data sources: what is decided by it touches no one
//! else's, and once done there is nothing left to do.

#![no_main]

use grafana_datasource_setup::config::Settings;
use grafana_datasource_setup::data_sources::plan::edition::{AMP_PLUGIN, Edition, PROMETHEUS};
use grafana_datasource_setup::data_sources::plan::prometheus::{find, plan};
use grafana_datasource_setup::data_sources::plan::{Plan, removals};
use grafana_datasource_setup::grafana::{DataSource, Version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|answer: &[u8]| {
    let Ok(mut sources) = serde_json::from_slice::<Vec<DataSource>>(answer) else { return };
    let settings = Settings::read(None, |variable| {
        let value = match variable {
            "GRAFANA_WORKSPACE_ID" => "g-0123456789",
            "AMP_WORKSPACE_URL" => "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1",
            _ => return None,
        };
        Some(value.to_owned())
    });
    let wanted = settings.expect("the settings are right").wanted;
    let version = Version::parse("12.4").expect("a version");
    let edition = Edition { version, lacks_amp_plugin: None };
    let decide = |found: Option<&DataSource>, default: Option<&str>| {
        plan(&wanted, &edition, found, default).expect("this Grafana can sign")
    };

    let Ok(found) = find(&wanted, &sources) else { return };
    let found = found.cloned();
    let default = sources.iter().find(|source| source.is_default);
    let decided = decide(found.as_ref(), default.map(|source| &*source.uid));
    match &decided {
        Plan::Create(_) => assert!(found.is_none()),
        Plan::Update { uid, .. } => {
            let found = found.as_ref().expect("what is updated is there");
            assert!(*uid == found.uid && !found.read_only);
            assert!([PROMETHEUS, AMP_PLUGIN].contains(&&*found.source_type));
        }
        Plan::Unchanged(source) => assert_eq!(Some(source), found.as_ref()),
    }
    let written = decided.into_source();
    assert!(written.is_default);
    let again = decide(Some(&written), Some(&written.uid));
    assert_eq!(again, Plan::Unchanged(written.clone()));

    sources.retain(|source| found.as_ref().is_none_or(|found| source.uid != found.uid));
    sources.push(written);
    for removal in removals(&wanted.uid, &sources) {
        let is_there = |uid: &str| sources.iter().any(|source| source.uid == uid);
        assert!(is_there(&removal.uid));
        assert!(removal.default_again.is_none_or(|uid| is_there(&uid) && uid != removal.uid));
    }
});
