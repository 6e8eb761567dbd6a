//! Brings the folder with our dashboards into Grafana, and removes it again. A dashboard that a
//! person has changed stays as it is.

use serde_json::{Value, json};

use super::plan::{self, Dashboard, WantedFolder};
use crate::error::SetupError;
use crate::grafana::{DataSource, Folder, Grafana, GrafanaError, SavedDashboard};
use crate::reconcile::{Action, Attempt, reconcile};

/// One folder for all stacks that use this Grafana: their dashboards are the same.
const UID: &str = "gpu-monitoring";

/// The first Grafana that the dashboards are written for.
const FIRST_WITH_DASHBOARDS: u32 = 10;

/// The folder and its dashboards, each with what was done.
#[derive(Clone, Debug)]
pub(crate) struct Outcome {
    pub(crate) folder: (Folder, Action),
    /// The dashboards, whatever folder a person has moved them to.
    pub(crate) dashboards: Vec<(Dashboard, Action)>,
}

/// Creates the folder and its dashboards, which query `source`. `owner` is the uid of the resource that
/// asks for them. Returns `None` if this Grafana is too old for them.
pub(crate) async fn set_up(
    grafana: &Grafana<'_>,
    wanted: &WantedFolder,
    owner: &str,
    source: &DataSource,
    dry_run: bool,
) -> Result<Option<Outcome>, SetupError> {
    if grafana.version.major() < FIRST_WITH_DASHBOARDS {
        tracing::warn!("no dashboards: they need Grafana {FIRST_WITH_DASHBOARDS} or later");
        return Ok(None);
    }
    let (folder, action) = set_up_folder(grafana, wanted, dry_run).await?;
    let writer = DashboardWriter {
        grafana,
        folder: &folder.uid,
        overwrite: wanted.overwrite,
        dry_run,
    };
    let mut dashboards = Vec::new();
    for dashboard in plan::all(owner, source) {
        let action = writer.save(&dashboard).await?;
        dashboards.push((dashboard, action));
    }
    Ok(Some(Outcome {
        folder: (folder, action),
        dashboards,
    }))
}

async fn set_up_folder(
    grafana: &Grafana<'_>,
    wanted: &WantedFolder,
    dry_run: bool,
) -> Result<(Folder, Action), SetupError> {
    let attempt = || async {
        let (folder, action) = choose(grafana, &wanted.title).await?;
        let written = match action {
            Action::Created if !dry_run => grafana.create_folder(&folder).await,
            _ => Ok(()),
        };
        Ok(Attempt {
            plan: folder,
            action,
            written,
        })
    };
    reconcile(attempt).await
}

/// The folder created before, even if a person has renamed or moved it; otherwise one with that title;
/// otherwise a new one.
async fn choose(grafana: &Grafana<'_>, title: &str) -> Result<(Folder, Action), GrafanaError> {
    if let Some(found) = grafana.folder(UID).await? {
        return Ok((found, Action::Unchanged));
    }
    if let Some(found) = grafana.folder_of_title(title).await? {
        return Ok((found, Action::Unchanged));
    }
    let (uid, title) = (UID.to_owned(), title.to_owned());
    Ok((Folder { uid, title }, Action::Created))
}

/// Saves dashboards.
struct DashboardWriter<'a> {
    grafana: &'a Grafana<'a>,
    /// Uid of the folder for new dashboards.
    folder: &'a str,
    overwrite: bool,
    dry_run: bool,
}

impl DashboardWriter<'_> {
    async fn save(&self, dashboard: &Dashboard) -> Result<Action, SetupError> {
        let attempt = || async {
            let saved = self.grafana.dashboard(&dashboard.uid).await?;
            let action = plan::action(dashboard, saved.as_ref(), self.overwrite);
            let written = match action {
                Action::Created | Action::Updated if !self.dry_run => {
                    self.write(dashboard, saved.as_ref()).await
                }
                _ => Ok(()),
            };
            Ok(Attempt {
                plan: (),
                action,
                written,
            })
        };
        let ((), action) = reconcile(attempt).await?;
        Ok(action)
    }

    async fn write(
        &self,
        dashboard: &Dashboard,
        saved: Option<&SavedDashboard>,
    ) -> Result<(), GrafanaError> {
        // A person may have moved it, and without a folder it would move to the top level.
        let folder = saved.map_or(self.folder, |saved| &saved.folder);
        let mut content = dashboard.content.clone();
        content["id"] = Value::Null;
        content["version"] = json!(saved.map_or(0, |saved| saved.version));
        let message = &dashboard.message;
        self.grafana.save_dashboard(&content, folder, message).await
    }
}

/// Deletes the dashboards of the resource with uid `owner`, and the folder if it is empty then. With
/// `overwrite`, dashboards whose history doesn't tell who saved them last are deleted too.
pub(crate) async fn remove(
    grafana: &Grafana<'_>,
    owner: &str,
    overwrite: bool,
) -> Result<(), GrafanaError> {
    for uid in plan::uids() {
        let Some(saved) = grafana.dashboard(&uid).await? else {
            continue;
        };
        match plan::removal(&uid, &saved, owner, overwrite) {
            Ok(()) => {
                grafana.delete_dashboard(&uid).await?;
                tracing::info!("deleted dashboard {uid}");
            }
            Err(why) => tracing::info!("left dashboard {uid}: {why}"),
        }
    }
    match grafana.folder_size(UID).await? {
        Some(0) => {
            grafana.delete_folder(UID).await?;
            tracing::info!("deleted folder {UID}");
        }
        Some(size) => tracing::info!("left folder {UID}, things still in it: {size}"),
        None => {}
    }
    Ok(())
}
