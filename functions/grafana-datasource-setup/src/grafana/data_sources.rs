//! Data sources, their health, and the plugins they need.

use reqwest::{Method, StatusCode};
use serde_json::json;

use super::{Grafana, segment};
use crate::data_source::DataSource;
use crate::error::SetupError;

/// What Grafana's health endpoint said.
#[derive(Clone, Debug)]
pub struct HealthAnswer {
    /// HTTP status.
    pub status: u16,
    /// Grafana's message.
    pub message: String,
}

impl Grafana<'_> {
    /// All data sources, in the list's short form: without `version` and basic auth's user
    /// (`DataSourceListItemDTO`, pkg/api/dtos/datasource.go).
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn data_sources(&self) -> Result<Vec<DataSource>, SetupError> {
        self.list("/api/datasources").await
    }

    /// One data source, whole.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn data_source(&self, uid: &str) -> Result<Option<DataSource>, SetupError> {
        self.get(&by_uid(uid)).await
    }

    /// Adds a data source.
    ///
    /// # Errors
    /// Status 409 when its name or uid exists.
    pub async fn create_data_source(&self, source: &DataSource) -> Result<(), SetupError> {
        self.write(Method::POST, "/api/datasources", &json!(source))
            .await
    }

    /// Replaces a data source; secure fields stay.
    ///
    /// # Errors
    /// Status 409 when somebody else wrote it since it was read, 404 when it is gone.
    pub async fn update_data_source(&self, uid: &str, into: &DataSource) -> Result<(), SetupError> {
        self.write(Method::PUT, &by_uid(uid), &json!(into)).await
    }

    /// Deletes a data source, if it is there.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn delete_data_source(&self, uid: &str) -> Result<(), SetupError> {
        self.delete(&by_uid(uid)).await
    }

    /// Whether a plugin is installed. 404 otherwise: pkg/api/plugins.go, GetPluginSettingByID.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn has_plugin(&self, id: &str) -> Result<bool, SetupError> {
        let path = format!("/api/plugins/{id}/settings");
        let answer = self.send(Method::GET, &path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(false);
        }
        answer.ok().map(|_| true)
    }

    /// One health check: 200 when healthy, else 400 (checkDatasourceHealth, pkg/api/datasources.go).
    ///
    /// # Errors
    /// Grafana doesn't answer.
    pub async fn health(&self, uid: &str) -> Result<HealthAnswer, SetupError> {
        let path = format!("{}/health", by_uid(uid));
        let answer = self.send_once(&Method::GET, &path, None).await?;
        Ok(HealthAnswer {
            status: answer.status.as_u16(),
            message: answer.message(),
        })
    }
}

fn by_uid(uid: &str) -> String {
    format!("/api/datasources/uid/{}", segment(uid))
}
