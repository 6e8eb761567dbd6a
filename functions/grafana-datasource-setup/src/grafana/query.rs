//! One query to AMP through a data source.

use std::collections::BTreeMap;

use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::client::{Grafana, segment};
use super::data_source::DataSource;
use super::data_sources::HealthAnswer;
use super::error::GrafanaError;

impl Grafana<'_> {
    /// Sends the query `1+1`. Returns `None` if this Grafana offers no way to send one.
    ///
    /// # Errors
    /// Grafana doesn't answer.
    pub(crate) async fn query(
        &self,
        source: &DataSource,
    ) -> Result<Option<HealthAnswer>, GrafanaError> {
        match self.query_by_proxy(source).await? {
            Some(answer) => Ok(Some(answer)),
            // Grafana 8 has no proxy by uid.
            None => self.query_as_a_panel(source).await,
        }
    }

    /// The proxy passes on AMP's own answer with its status: pkg/api/pluginproxy/ds_proxy.go.
    async fn query_by_proxy(
        &self,
        source: &DataSource,
    ) -> Result<Option<HealthAnswer>, GrafanaError> {
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

    /// Each query has its own error, whatever the status of the answer: pkg/api/ds_query.go.
    async fn query_as_a_panel(
        &self,
        source: &DataSource,
    ) -> Result<Option<HealthAnswer>, GrafanaError> {
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
}
