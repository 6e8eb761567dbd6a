//! What a run found and did: the manual run's reply, CloudFormation's attributes, the log's summary.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::data_source::DataSource;
use crate::health::Health;
use crate::workspace::Workspace;

/// What a run found and did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    data_source: DataSourceReport,
    grafana: GrafanaReport,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct DataSourceReport {
    uid: String,
    name: String,
    #[serde(rename = "type")]
    source_type: String,
    action: Action,
    is_default: bool,
    health: Health,
}

#[derive(Clone, Debug, Serialize)]
struct GrafanaReport {
    endpoint: String,
    version: String,
}

/// What was written, or in a dry run would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// There was none.
    Created,
    /// It was not as wanted.
    Updated,
    /// It was as wanted: nothing.
    Unchanged,
}

impl Report {
    /// The report of a run that succeeded.
    pub fn new(
        workspace: &Workspace,
        source: DataSource,
        action: Action,
        health: Health,
        dry_run: bool,
    ) -> Self {
        let data_source = DataSourceReport {
            uid: source.uid,
            name: source.name,
            source_type: source.source_type,
            action,
            is_default: source.is_default,
            health,
        };
        let grafana = GrafanaReport {
            endpoint: workspace.endpoint.clone(),
            version: workspace.version.to_string(),
        };
        Self {
            data_source,
            grafana,
            dry_run,
        }
    }

    /// What `Fn::GetAtt` gives.
    pub fn attributes(&self) -> Map<String, Value> {
        let DataSourceReport {
            uid,
            source_type,
            health,
            ..
        } = &self.data_source;
        let attributes = [
            ("DataSourceConfigured", "true"),
            ("DataSourceUid", uid),
            ("DataSourceType", source_type),
            ("DataSourceHealth", health.summary()),
            ("GrafanaEndpoint", &self.grafana.endpoint),
            ("GrafanaVersion", &self.grafana.version),
        ];
        attributes
            .into_iter()
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }

    /// The summary, for an operator.
    pub fn log(&self) {
        let DataSourceReport {
            uid,
            name,
            source_type,
            health,
            ..
        } = &self.data_source;
        let done = match (self.data_source.action, self.dry_run) {
            (Action::Created, false) => "created, it is the default",
            (Action::Updated, false) => "updated, it is the default",
            (Action::Created, true) => "would be created",
            (Action::Updated, true) => "would be updated",
            (Action::Unchanged, _) => "is as it should be, nothing written",
        };
        tracing::info!("data source {name:?} (uid {uid}, type {source_type}): {done}");
        if health.is_ok() || self.dry_run {
            tracing::info!("health: {} {}", health.status, health.message);
        } else {
            tracing::warn!("health: {} {}", health.status, health.message);
        }
    }
}
