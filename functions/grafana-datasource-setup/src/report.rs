//! What a run found and did: the manual run's reply, CloudFormation's attributes, the log's summary.

use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::dashboards;
use crate::data_sources::health::Health;
use crate::grafana::DataSource;
use crate::people;
use crate::people::plan::RoleChange;
use crate::reconcile::Action;
use crate::workspace::Workspace;

/// What a run found and did.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Report {
    data_source: DataSourceReport,
    grafana: GrafanaReport,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud_watch: Option<CloudWatchReport>,
    #[serde(skip_serializing_if = "Option::is_none")]
    folder: Option<FolderReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    dashboards: Vec<DashboardReport>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    people: Vec<PersonReport>,
    /// Why the roles could not be changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    people_status: Option<String>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
}

/// Everything that was set up.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// What happened to the roles of those on the lists. A failure here is not one of the run.
    pub(crate) people: people::apply::Outcome,
    /// AMP's data source.
    pub(crate) source: (DataSource, Action),
    /// Whether AMP's data source works.
    pub(crate) health: Health,
    /// CloudWatch's data source, if one was asked for.
    pub(crate) cloudwatch: Option<(DataSource, Action)>,
    /// The folder and its dashboards, if they were asked for.
    pub(crate) folder: Option<dashboards::apply::Outcome>,
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

#[derive(Clone, Debug, Serialize)]
struct CloudWatchReport {
    uid: String,
    name: String,
    action: Action,
}

#[derive(Clone, Debug, Serialize)]
struct FolderReport {
    uid: String,
    title: String,
    url: String,
    action: Action,
}

#[derive(Clone, Debug, Serialize)]
struct DashboardReport {
    uid: String,
    title: String,
    action: Action,
}

#[derive(Clone, Debug, Serialize)]
struct PersonReport {
    name: String,
    role: String,
    action: RoleChange,
}

impl Report {
    /// The report of a run that succeeded.
    pub(crate) fn new(workspace: &Workspace, outcome: Outcome, dry_run: bool) -> Self {
        let endpoint = workspace.endpoint.clone();
        let (folder, dashboards) = outcome.folder.map(folder_report(&endpoint)).unzip();
        let cloud_watch = outcome.cloudwatch.map(|(source, action)| CloudWatchReport {
            uid: source.uid,
            name: source.name,
            action,
        });
        let (source, action) = outcome.source;
        let data_source = DataSourceReport {
            uid: source.uid,
            name: source.name,
            source_type: source.source_type,
            action,
            is_default: source.is_default,
            health: outcome.health,
        };
        let version = workspace.version.to_string();
        let (people, people_status) = match outcome.people {
            Ok(people) => (people, None),
            Err(error) => {
                let status = format!("{}: {}", error.error_type(), startup::error_chain(&error));
                (Vec::new(), Some(status))
            }
        };
        let people = people.into_iter().map(|(member, action)| PersonReport {
            name: member.name,
            role: member.role.to_string(),
            action,
        });
        Self {
            data_source,
            grafana: GrafanaReport { endpoint, version },
            cloud_watch,
            folder,
            dashboards: dashboards.unwrap_or_default(),
            people: people.collect(),
            people_status,
            dry_run,
        }
    }

    /// The attributes for `Fn::GetAtt`.
    pub(crate) fn attributes(&self) -> Map<String, Value> {
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
            (
                "GrafanaPeopleStatus",
                self.people_status.as_deref().unwrap_or("OK"),
            ),
        ];
        let cloud_watch = self.cloud_watch.iter();
        let cloud_watch = cloud_watch.map(|source| ("CloudWatchDataSourceUid", &*source.uid));
        let folder = self.folder.iter();
        let folder = folder.map(|folder| ("DashboardsUrl", &*folder.url));
        attributes
            .into_iter()
            .chain(cloud_watch)
            .chain(folder)
            .map(|(name, value)| (name.to_owned(), json!(value)))
            .collect()
    }

    /// Logs a summary for an operator.
    pub(crate) fn log(&self) {
        let DataSourceReport {
            uid,
            name,
            source_type,
            health,
            action,
            ..
        } = &self.data_source;
        let is_default = match (action, self.dry_run) {
            (Action::Created | Action::Updated, false) => ", it is the default",
            _ => "",
        };
        let done = self.done(*action);
        tracing::info!("data source {name:?} (uid {uid}, type {source_type}): {done}{is_default}");
        if let Some(CloudWatchReport { uid, name, action }) = &self.cloud_watch {
            tracing::info!("data source {name:?} (uid {uid}): {}", self.done(*action));
        }
        if let Some(folder) = &self.folder {
            tracing::info!("folder {:?}: {}", folder.title, self.done(folder.action));
        }
        for DashboardReport { uid, title, action } in &self.dashboards {
            let done = self.done(*action);
            if matches!(action, Action::Kept | Action::Unknown) {
                tracing::warn!("dashboard {title:?} (uid {uid}): {done}");
            } else {
                tracing::info!("dashboard {title:?} (uid {uid}): {done}");
            }
        }
        for PersonReport { name, role, action } in &self.people {
            tracing::info!("{name}, {role}: {}", self.became(*action));
        }
        if let Some(status) = &self.people_status {
            tracing::warn!("the roles of those on the lists are not as they should be: {status}");
        }
        if health.is_ok() || self.dry_run {
            tracing::info!("health: {} {}", health.status, health.message);
        } else {
            tracing::warn!("health: {} {}", health.status, health.message);
        }
    }

    fn became(&self, change: RoleChange) -> &'static str {
        match (change, self.dry_run) {
            (RoleChange::Added, false) => "added",
            (RoleChange::Changed, false) => "changed to it from another role",
            (RoleChange::Removed, false) => "removed",
            (RoleChange::Added, true) => "would be added",
            (RoleChange::Changed, true) => "would be changed to it from another role",
            (RoleChange::Removed, true) => "would be removed",
            (RoleChange::Unchanged, _) => "unchanged",
        }
    }

    fn done(&self, action: Action) -> &'static str {
        match (action, self.dry_run) {
            (Action::Created, false) => "created",
            (Action::Updated, false) => "updated",
            (Action::Created, true) => "would be created",
            (Action::Updated, true) => "would be updated",
            (Action::Unchanged, _) => "unchanged, nothing written",
            (Action::Kept, _) => {
                "kept as a person has changed it; DASHBOARD_OVERWRITE=true saves ours over it"
            }
            (Action::Unknown, _) => {
                "left as it is, Grafana has no history that tells whether a person has changed it; \
                 DASHBOARD_OVERWRITE=true saves ours over it"
            }
        }
    }
}

fn folder_report(
    endpoint: &str,
) -> impl FnOnce(dashboards::apply::Outcome) -> (FolderReport, Vec<DashboardReport>) {
    move |outcome| {
        let (folder, action) = outcome.folder;
        let dashboards = outcome.dashboards.into_iter();
        let dashboards = dashboards.map(|(dashboard, action)| DashboardReport {
            uid: dashboard.uid,
            title: dashboard.title,
            action,
        });
        let folder = FolderReport {
            url: format!("{endpoint}/dashboards/f/{}", folder.uid),
            uid: folder.uid,
            title: folder.title,
            action,
        };
        (folder, dashboards.collect())
    }
}
