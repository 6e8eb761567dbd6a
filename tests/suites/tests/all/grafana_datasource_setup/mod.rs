//! The built `grafana-datasource-setup` under Lambda's Runtime API, against doubles of Amazon
//! Managed Grafana, Grafana, IAM Identity Center, and CloudFormation's ResponseURL.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test's helpers too a failed unwrap is a failed test, and the clock is the world's"
)]

mod world;

mod cloudwatch;
mod credential;
mod dashboards;
mod events;
mod faults;
mod manual;
mod people;
mod protocol;
mod secrets;
mod sources;
mod versions;
