//! Folders and the dashboards in them:
//! <https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/api-legacy/>

use std::collections::BTreeMap;

use reqwest::Method;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::client::{Grafana, segment};
use super::error::GrafanaError;

/// A folder (pkg/api/dtos/folder.go).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Folder {
    /// Grafana's key for it.
    pub(crate) uid: String,
    /// The title people see.
    pub(crate) title: String,
}

/// A dashboard as Grafana has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SavedDashboard {
    /// Counts the saves.
    pub(crate) version: u64,
    /// Uid of the folder it is in, empty at the top level.
    pub(crate) folder: String,
    /// The message of this version in the version history; `None` where Grafana has no history of it,
    /// as after an upgrade to Grafana 13.
    pub(crate) message: Option<String>,
    /// Grafana's dashboard model.
    pub(crate) content: Value,
}

/// The answer to a read of a dashboard (`DashboardFullWithMeta`, pkg/api/dtos/dashboard.go).
#[derive(Deserialize)]
struct Found {
    dashboard: Value,
    meta: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    /// Empty at the top level.
    #[serde(default)]
    folder_uid: String,
}

/// `limit` of the list of folders; larger values are not accepted: pkg/api/folder.go.
const FOLDERS_A_PAGE: usize = 1_000;

/// The version history. Up to Grafana 10 it is a list, later a page with a list in it
/// (`DashboardVersionResponseMeta`, pkg/services/dashboardversion/model.go).
#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    List(Vec<SavedVersion>),
    Page { versions: Vec<SavedVersion> },
}

#[derive(Deserialize)]
struct SavedVersion {
    version: u64,
    message: String,
}

impl Grafana<'_> {
    /// The folder with that uid, at any level.
    pub(crate) async fn folder(&self, uid: &str) -> Result<Option<Folder>, GrafanaError> {
        self.get(&format!("/api/folders/{}", segment(uid))).await
    }

    /// The folder with that title at the top level. Titles are unique there up to Grafana 10.
    pub(crate) async fn folder_of_title(
        &self,
        title: &str,
    ) -> Result<Option<Folder>, GrafanaError> {
        for page in 1.. {
            let path = format!("/api/folders?limit={FOLDERS_A_PAGE}&page={page}");
            let folders: Vec<Folder> = self.list(&path).await?;
            let is_last = folders.len() < FOLDERS_A_PAGE;
            let found = folders.into_iter().find(|folder| folder.title == title);
            if found.is_some() || is_last {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// Adds a folder at the top level.
    ///
    /// # Errors
    /// Status 409 or 412 when its uid or, up to Grafana 10, its title exists.
    pub(crate) async fn create_folder(&self, folder: &Folder) -> Result<(), GrafanaError> {
        self.write(Method::POST, "/api/folders", &json!(folder))
            .await
    }

    /// The number of items in a folder, of any kind; `None` if the folder does not exist.
    pub(crate) async fn folder_size(&self, uid: &str) -> Result<Option<u64>, GrafanaError> {
        // GetFolderDescendantCounts, pkg/api/folder.go: dashboards, folders, alert rules, panels.
        let path = format!("/api/folders/{}/counts", segment(uid));
        let counts: Option<BTreeMap<String, u64>> = self.get(&path).await?;
        Ok(counts.map(|counts| counts.values().sum()))
    }

    /// Deletes a folder and everything in it. A missing folder is no error.
    pub(crate) async fn delete_folder(&self, uid: &str) -> Result<(), GrafanaError> {
        let path = format!("/api/folders/{}", segment(uid));
        self.delete(&path).await
    }

    /// A dashboard with the message of its present version.
    pub(crate) async fn dashboard(
        &self,
        uid: &str,
    ) -> Result<Option<SavedDashboard>, GrafanaError> {
        let path = format!("/api/dashboards/uid/{}", segment(uid));
        let Some(found) = self.get::<Found>(&path).await? else {
            return Ok(None);
        };
        let versions = match self.get(&format!("{path}/versions")).await? {
            Some(Versions::List(versions) | Versions::Page { versions }) => versions,
            None => Vec::new(),
        };
        let content = found.dashboard;
        let version = content["version"].as_u64().unwrap_or_default();
        let last = versions.into_iter().find(|saved| saved.version == version);
        Ok(Some(SavedDashboard {
            version,
            folder: found.meta.folder_uid,
            message: last.map(|saved| saved.message),
            content,
        }))
    }

    /// Saves a dashboard's content into a folder, as a new version with a message. It replaces the
    /// version that `content` names; 0 for a dashboard that does not exist yet.
    ///
    /// # Errors
    /// Status 412 when Grafana has another version.
    pub(crate) async fn save_dashboard(
        &self,
        content: &Value,
        folder: &str,
        message: &str,
    ) -> Result<(), GrafanaError> {
        let body = json!({
            "dashboard": content, "folderUid": folder, "message": message,
            // `true` would replace whatever version there is.
            "overwrite": false,
        });
        self.write(Method::POST, "/api/dashboards/db", &body).await
    }

    /// Deletes a dashboard. A missing one is no error.
    pub(crate) async fn delete_dashboard(&self, uid: &str) -> Result<(), GrafanaError> {
        let path = format!("/api/dashboards/uid/{}", segment(uid));
        self.delete(&path).await
    }
}
