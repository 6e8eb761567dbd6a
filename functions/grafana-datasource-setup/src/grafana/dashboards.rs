//! Folders and the dashboards in them:
//! <https://grafana.com/docs/grafana/latest/developer-resources/api-reference/http-api/api-legacy/>

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Grafana, segment};
use crate::dashboard::{Dashboard, Saved};
use crate::error::SetupError;
use crate::folder::Folder;

/// A dashboard and where it is (`DashboardFullWithMeta`, pkg/api/dtos/dashboard.go).
#[derive(Deserialize)]
struct Found {
    dashboard: Value,
    meta: Meta,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    /// Empty at the top.
    #[serde(default)]
    folder_uid: String,
}

/// `limit` of the list of folders, which is its greatest value too: pkg/api/folder.go.
const FOLDERS_A_PAGE: usize = 1_000;

/// Up to Grafana 10 the versions are a list, later a page of one
/// (`DashboardVersionResponseMeta`, pkg/services/dashboardversion/model.go).
#[derive(Deserialize)]
#[serde(untagged)]
enum Versions {
    List(Vec<Version>),
    Page { versions: Vec<Version> },
}

#[derive(Deserialize)]
struct Version {
    version: u64,
    message: String,
}

impl Grafana<'_> {
    /// The folder of that uid, wherever it is.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn folder(&self, uid: &str) -> Result<Option<Folder>, SetupError> {
        self.get(&format!("/api/folders/{}", segment(uid))).await
    }

    /// The folder of that title at the top, where titles are unique up to Grafana 10.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn folder_of_title(&self, title: &str) -> Result<Option<Folder>, SetupError> {
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

    /// Adds a folder at the top.
    ///
    /// # Errors
    /// Status 409 or 412 when its uid or, up to Grafana 10, its title exists.
    pub async fn create_folder(&self, folder: &Folder) -> Result<(), SetupError> {
        self.write(Method::POST, "/api/folders", &json!(folder))
            .await
    }

    /// How many things of whatever kind are in a folder; `None` without the folder.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn folder_size(&self, uid: &str) -> Result<Option<u64>, SetupError> {
        // GetFolderDescendantCounts, pkg/api/folder.go: dashboards, folders, alert rules, panels.
        let path = format!("/api/folders/{}/counts", segment(uid));
        let counts: Option<BTreeMap<String, u64>> = self.get(&path).await?;
        Ok(counts.map(|counts| counts.values().sum()))
    }

    /// Deletes a folder and all that is in it, if it is there.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn delete_folder(&self, uid: &str) -> Result<(), SetupError> {
        let path = format!("/api/folders/{}", segment(uid));
        self.delete(&path).await
    }

    /// What Grafana knows of a dashboard.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn dashboard(&self, uid: &str) -> Result<Option<Saved>, SetupError> {
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
        Ok(Some(Saved {
            version,
            folder: found.meta.folder_uid,
            message: last.map(|saved| saved.message),
            content,
        }))
    }

    /// Saves a dashboard into a folder, over `version` if there is one.
    ///
    /// # Errors
    /// Status 412 when Grafana has another version than `version`.
    pub async fn save_dashboard(
        &self,
        dashboard: &Dashboard,
        folder: &str,
        version: Option<u64>,
    ) -> Result<(), SetupError> {
        let mut content = dashboard.content.clone();
        content["id"] = Value::Null;
        content["version"] = json!(version.unwrap_or(0));
        let body = json!({
            "dashboard": content, "folderUid": folder, "message": dashboard.message,
            // `true` would write over whatever version there is.
            "overwrite": false,
        });
        self.write(Method::POST, "/api/dashboards/db", &body).await
    }

    /// Deletes a dashboard, if it is there.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn delete_dashboard(&self, uid: &str) -> Result<(), SetupError> {
        let path = format!("/api/dashboards/uid/{}", segment(uid));
        self.delete(&path).await
    }
}
