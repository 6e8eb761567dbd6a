//! The plugins that data sources need.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::client::Grafana;
use super::error::GrafanaError;

impl Grafana<'_> {
    /// Whether a plugin is installed. 404 otherwise: pkg/api/plugins.go, GetPluginSettingByID.
    pub(crate) async fn has_plugin(&self, id: &str) -> Result<bool, GrafanaError> {
        let path = format!("/api/plugins/{id}/settings");
        let answer = self.send(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.ok().map(|_| true)
    }

    /// Installs a plugin, without repeating the request. An administrator may do that if the workspace's
    /// plugin management is on:
    /// <https://docs.aws.amazon.com/grafana/latest/userguide/v12-Grafana-API-Plugin.html>
    ///
    /// # Errors
    /// Grafana refuses, or its answer takes longer than a request may.
    pub(crate) async fn install_plugin(&self, id: &str) -> Result<(), GrafanaError> {
        let path = format!("/api/plugins/{id}/install");
        let answer = self
            .send_once(&Method::POST, &path, Some(&json!({})))
            .await?;
        // It is already installed or being installed: pkg/api/plugins.go, InstallPlugin.
        if answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        if answer.is_transient() {
            return Err(answer.unavailable());
        }
        answer.ok().map(drop)
    }
}
