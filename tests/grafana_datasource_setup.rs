//! The built `grafana-datasource-setup` under Lambda's Runtime API, against doubles of Amazon
//! Managed Grafana, Grafana, IAM Identity Center, and CloudFormation's ResponseURL.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test's helpers too a failed unwrap is a failed test, and the clock is the world's"
)]

#[path = "grafana_datasource_setup/world.rs"]
mod world;

#[path = "grafana_datasource_setup/cloudwatch.rs"]
mod cloudwatch;
#[path = "grafana_datasource_setup/credential.rs"]
mod credential;
#[path = "grafana_datasource_setup/dashboards.rs"]
mod dashboards;
#[path = "grafana_datasource_setup/events.rs"]
mod events;
#[path = "grafana_datasource_setup/faults.rs"]
mod faults;
#[path = "grafana_datasource_setup/manual.rs"]
mod manual;
#[path = "grafana_datasource_setup/people.rs"]
mod people;
#[path = "grafana_datasource_setup/protocol.rs"]
mod protocol;
mod sdk;
#[path = "grafana_datasource_setup/secrets.rs"]
mod secrets;
#[path = "grafana_datasource_setup/sources.rs"]
mod sources;
#[path = "grafana_datasource_setup/versions.rs"]
mod versions;
