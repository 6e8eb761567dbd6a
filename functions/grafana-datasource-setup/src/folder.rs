//! Brings the folder with our dashboards into Grafana, and takes it away again. A dashboard that a
//! person has changed is left alone.

use serde::{Deserialize, Serialize};

use crate::config::{Settings, WantedFolder};
use crate::dashboard::{self, Dashboard, Saved};
use crate::data_source::DataSource;
use crate::error::SetupError;
use crate::grafana::Grafana;
use crate::reconcile::{Action, Attempt, reconcile};

/// One for all resources of this kind in a Grafana: their dashboards are the same.
const UID: &str = "gpu-monitoring";

/// The first Grafana that the dashboards are written for.
const FIRST_WITH_DASHBOARDS: u32 = 10;

/// A folder of Grafana (pkg/api/dtos/folder.go).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folder {
    /// Grafana's key for it.
    pub uid: String,
    /// What people see.
    pub title: String,
}

/// What was done.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The folder.
    pub folder: (Folder, Action),
    /// The dashboards, wherever they are.
    pub dashboards: Vec<(Dashboard, Action)>,
}

/// Makes the folder and its dashboards that query `source`, if asked for.
///
/// # Errors
/// Grafana doesn't answer, or refuses.
pub async fn set_up(
    grafana: &Grafana<'_>,
    settings: &Settings,
    source: &DataSource,
    dry_run: bool,
) -> Result<Option<Outcome>, SetupError> {
    let Some(wanted) = &settings.folder else {
        return Ok(None);
    };
    if grafana.version().major() < FIRST_WITH_DASHBOARDS {
        tracing::warn!("no dashboards: they need Grafana {FIRST_WITH_DASHBOARDS} or later");
        return Ok(None);
    }
    let owner = &settings.wanted.uid;
    let (folder, action) = set_up_folder(grafana, wanted, dry_run).await?;
    let shelf = Shelf {
        grafana,
        folder: &folder.uid,
        overwrite: wanted.overwrite,
        dry_run,
    };
    let mut dashboards = Vec::new();
    for dashboard in dashboard::all(owner, source) {
        let action = shelf.save(&dashboard).await?;
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

/// The folder made before, even if a person has renamed or moved it; else one of that title; else a
/// new one.
async fn choose(grafana: &Grafana<'_>, title: &str) -> Result<(Folder, Action), SetupError> {
    if let Some(found) = grafana.folder(UID).await? {
        return Ok((found, Action::Unchanged));
    }
    if let Some(found) = grafana.folder_of_title(title).await? {
        return Ok((found, Action::Unchanged));
    }
    let (uid, title) = (UID.to_owned(), title.to_owned());
    Ok((Folder { uid, title }, Action::Created))
}

/// Where dashboards are saved, and over what.
struct Shelf<'a> {
    grafana: &'a Grafana<'a>,
    folder: &'a str,
    overwrite: bool,
    dry_run: bool,
}

impl Shelf<'_> {
    async fn save(&self, dashboard: &Dashboard) -> Result<Action, SetupError> {
        let attempt = || async {
            let saved = self.grafana.dashboard(&dashboard.uid).await?;
            let action = dashboard::action(dashboard, saved.as_ref(), self.overwrite);
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

    async fn write(&self, dashboard: &Dashboard, saved: Option<&Saved>) -> Result<(), SetupError> {
        // A person may have moved it, and without a folder it would go to the top.
        let folder = saved.map_or(self.folder, |saved| &saved.folder);
        let version = saved.map(|saved| saved.version);
        self.grafana
            .save_dashboard(dashboard, folder, version)
            .await
    }
}

/// Deletes the dashboards of the resource with uid `owner`, and the folder unless there is something
/// else in it. `overwrite`: also dashboards of which nobody can tell who saved them last.
///
/// # Errors
/// Grafana doesn't answer, or refuses.
pub async fn take_away(
    grafana: &Grafana<'_>,
    owner: &str,
    overwrite: bool,
) -> Result<(), SetupError> {
    for uid in dashboard::uids() {
        let Some(saved) = grafana.dashboard(&uid).await? else {
            continue;
        };
        match dashboard::removal(&uid, &saved, owner, overwrite) {
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
