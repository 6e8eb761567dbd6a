//! Whatever comes as a CloudFormation request: reading it never panics, and an id it answers with
//! is one it can read again.

#![no_main]

use grafana_datasource_setup::config::Settings;
use grafana_datasource_setup::custom_resource::{PhysicalId, Request};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|payload: &[u8]| {
    let Ok(payload) = serde_json::from_slice(payload) else { return };
    let Ok(request) = Request::parse(&payload) else { return };
    if let Ok(settings) = Settings::read(Some(&request.properties), |_| None) {
        let id = PhysicalId::of(&settings);
        let parts = id.parts().expect("an id of its own making");
        assert_eq!(parts, (settings.grafana_workspace.as_str(), settings.wanted.uid.as_str()));
    }
});
