//! Data sources and their health.

use reqwest::Method;
use serde_json::json;

use super::client::{Grafana, segment};
use super::data_source::DataSource;
use super::error::GrafanaError;

/// The outcome of a health check or a query.
#[derive(Clone, Debug)]
pub(crate) struct HealthAnswer {
    /// HTTP status.
    pub(crate) status: u16,
    /// Grafana's message.
    pub(crate) message: String,
}

impl Grafana<'_> {
    /// All data sources, in the short form of the list: without `version` and basic auth's user
    /// (`DataSourceListItemDTO`, pkg/api/dtos/datasource.go).
    pub(crate) async fn data_sources(&self) -> Result<Vec<DataSource>, GrafanaError> {
        self.list("/api/datasources").await
    }

    /// One data source with all fields.
    pub(crate) async fn data_source(&self, uid: &str) -> Result<Option<DataSource>, GrafanaError> {
        self.get(&by_uid(uid)).await
    }

    /// Adds a data source.
    ///
    /// # Errors
    /// Status 409 when its name or uid exists.
    pub(crate) async fn create_data_source(&self, source: &DataSource) -> Result<(), GrafanaError> {
        self.write(Method::POST, "/api/datasources", &json!(source))
            .await
    }

    /// Replaces a data source; secure fields stay.
    ///
    /// # Errors
    /// Status 409 when somebody else wrote it since it was read, 404 when it is gone.
    pub(crate) async fn update_data_source(
        &self,
        uid: &str,
        into: &DataSource,
    ) -> Result<(), GrafanaError> {
        self.write(Method::PUT, &by_uid(uid), &json!(into)).await
    }

    /// Deletes a data source. A missing one is no error.
    pub(crate) async fn delete_data_source(&self, uid: &str) -> Result<(), GrafanaError> {
        self.delete(&by_uid(uid)).await
    }

    /// One health check: 200 when healthy, otherwise 400 (checkDatasourceHealth, pkg/api/datasources.go).
    ///
    /// # Errors
    /// Grafana doesn't answer.
    pub(crate) async fn health(&self, uid: &str) -> Result<HealthAnswer, GrafanaError> {
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
