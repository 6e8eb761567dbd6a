//! Grafana's HTTP API, as far as this function uses it. This room knows requests, answers and their
//! types; what Grafana should contain is decided elsewhere.
//!
//! Everything is addressed by uid: the endpoints by numeric id are off from Grafana 13 on
//! (<https://grafana.com/whats-new/2026-04-14-deprecated-data-source-apis-disabled-by-default/>).

mod client;
mod dashboards;
mod data_source;
mod data_sources;
mod error;
mod plugins;
mod query;
mod version;

pub(crate) use client::{Grafana, http_client};
pub(crate) use dashboards::{Folder, SavedDashboard};
pub use data_source::DataSource;
pub(crate) use data_sources::HealthAnswer;
pub use error::GrafanaError;
pub use version::{UnknownVersion, Version};
