//! Data sources, their health, and the plugins they need.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::{Grafana, segment};
use crate::data_source::DataSource;
use crate::error::SetupError;

/// What Grafana said of a data source.
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

    /// Installs a plugin, once. An administrator may where the workspace's plugin management is on:
    /// <https://docs.aws.amazon.com/grafana/latest/userguide/v12-Grafana-API-Plugin.html>
    ///
    /// # Errors
    /// Grafana refuses, or its answer takes longer than a request may.
    pub async fn install_plugin(&self, id: &str) -> Result<(), SetupError> {
        let path = format!("/api/plugins/{id}/install");
        let answer = self
            .send_once(&Method::POST, &path, Some(&json!({})))
            .await?;
        // Somebody else is installing it, or has: pkg/api/plugins.go, InstallPlugin.
        if answer.status == StatusCode::CONFLICT {
            return Ok(());
        }
        if answer.is_transient() {
            return Err(answer.unavailable());
        }
        answer.ok().map(drop)
    }

    /// One query to AMP through the data source; none where this Grafana offers no way to send one.
    ///
    /// # Errors
    /// Grafana doesn't answer.
    pub async fn query(&self, source: &DataSource) -> Result<Option<HealthAnswer>, SetupError> {
        match self.query_by_proxy(source).await? {
            Some(answer) => Ok(Some(answer)),
            // Grafana 8 has no proxy by uid.
            None => self.query_as_a_panel(source).await,
        }
    }

    /// pkg/api/pluginproxy/ds_proxy.go: AMP's own answer, status included.
    async fn query_by_proxy(
        &self,
        source: &DataSource,
    ) -> Result<Option<HealthAnswer>, SetupError> {
        let uid = segment(&source.uid);
        let path = format!("/api/datasources/proxy/uid/{uid}/api/v1/query?query=1%2B1");
        let answer = self.send_once(&Method::GET, &path, None).await?;
        let (status, message) = (answer.status.as_u16(), answer.message());
        let is_there = answer.status != StatusCode::NOT_FOUND;
        Ok(is_there.then(|| HealthAnswer {
            status,
            message: format!("{} {message}", answer.status),
        }))
    }

    /// pkg/api/ds_query.go: an error of each query, whatever the answer's own status.
    async fn query_as_a_panel(
        &self,
        source: &DataSource,
    ) -> Result<Option<HealthAnswer>, SetupError> {
        #[derive(Deserialize)]
        struct Results {
            results: BTreeMap<String, Outcome>,
        }
        #[derive(Deserialize)]
        struct Outcome {
            #[serde(default)]
            error: String,
        }
        let body = json!({
            "from": "now-5m", "to": "now",
            "queries": [{
                "refId": "A", "datasource": {"uid": source.uid, "type": source.source_type},
                "expr": "1+1", "instant": true, "range": false, "intervalMs": 15_000,
                "maxDataPoints": 1,
            }],
        });
        let request = self.send_once(&Method::POST, "/api/ds/query", Some(&body));
        let answer = request.await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let results = serde_json::from_slice::<Results>(&answer.body).map(|body| body.results);
        let errors = results.into_iter().flat_map(BTreeMap::into_values);
        let error = errors
            .map(|outcome| outcome.error)
            .find(|error| !error.is_empty());
        Ok(Some(match error {
            Some(message) => HealthAnswer {
                status: 400,
                message,
            },
            None => HealthAnswer {
                status: answer.status.as_u16(),
                message: answer.message(),
            },
        }))
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
