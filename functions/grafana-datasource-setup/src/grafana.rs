//! Grafana's HTTP API, as far as it is needed. By uid only: the endpoints by numeric id are off
//! from Grafana 13 on
//! (<https://grafana.com/whats-new/2026-04-14-deprecated-data-source-apis-disabled-by-default/>).

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::data_source::DataSource;
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::secret::Secret;

/// A Grafana that has just become ACTIVE answers 502 and 503 for a while, and doesn't know a token
/// for the first seconds of its life.
const PATIENCE: Duration = Duration::from_secs(45);

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Grafana's messages are a sentence; a proxy's can be a page.
const MAX_MESSAGE_LENGTH: usize = 200;

/// The HTTP client for Grafana and for CloudFormation's ResponseURL.
///
/// # Errors
/// The TLS library can't start.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    reqwest::Client::builder()
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(REQUEST_TIMEOUT)
        // A redirect leads to a login page, and would take the token there.
        .redirect(reqwest::redirect::Policy::none())
        .build()
}

/// A workspace's Grafana, with an administrator's token.
#[derive(Debug)]
pub struct Grafana<'a> {
    http: &'a reqwest::Client,
    endpoint: &'a str,
    token: Secret,
    deadline: &'a Deadline,
}

/// What Grafana's health endpoint said.
#[derive(Clone, Debug)]
pub struct HealthAnswer {
    /// HTTP status.
    pub status: u16,
    /// Grafana's message.
    pub message: String,
}

struct Answer {
    request: String,
    status: StatusCode,
    body: Vec<u8>,
}

impl<'a> Grafana<'a> {
    /// The Grafana at `endpoint`.
    pub fn new(
        http: &'a reqwest::Client,
        endpoint: &'a str,
        token: Secret,
        deadline: &'a Deadline,
    ) -> Self {
        Self {
            http,
            endpoint,
            token,
            deadline,
        }
    }

    /// All data sources, in the list's short form: without `version` and basic auth's user
    /// (`DataSourceListItemDTO`, pkg/api/dtos/datasource.go).
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn data_sources(&self) -> Result<Vec<DataSource>, SetupError> {
        self.send(Method::GET, "/api/datasources", None)
            .await?
            .ok()?
            .json()
    }

    /// One data source, whole.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn data_source(&self, uid: &str) -> Result<Option<DataSource>, SetupError> {
        let answer = self.send(Method::GET, &by_uid(uid), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.ok()?.json().map(Some)
    }

    /// Adds a data source.
    ///
    /// # Errors
    /// Status 409 when its name or uid exists.
    pub async fn create(&self, source: &DataSource) -> Result<(), SetupError> {
        self.send(Method::POST, "/api/datasources", Some(source))
            .await?
            .ok()
            .map(drop)
    }

    /// Replaces a data source; secure fields stay.
    ///
    /// # Errors
    /// Status 409 when somebody else wrote it since it was read, 404 when it is gone.
    pub async fn update(&self, uid: &str, into: &DataSource) -> Result<(), SetupError> {
        self.send(Method::PUT, &by_uid(uid), Some(into))
            .await?
            .ok()
            .map(drop)
    }

    /// Deletes a data source, if it is there.
    ///
    /// # Errors
    /// Grafana doesn't answer, or refuses.
    pub async fn delete(&self, uid: &str) -> Result<(), SetupError> {
        let answer = self.send(Method::DELETE, &by_uid(uid), None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok().map(drop)
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

    /// Sends a request again while it may still succeed.
    async fn send(
        &self,
        method: Method,
        path: &str,
        source: Option<&DataSource>,
    ) -> Result<Answer, SetupError> {
        let attempt = async || {
            let answer = self.send_once(&method, path, source).await?;
            if answer.is_transient() {
                Err(answer.unavailable())
            } else {
                Ok(answer)
            }
        };
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(250))
            .with_max_delay(Duration::from_secs(5))
            .with_jitter()
            .without_max_times()
            .with_total_delay(Some(PATIENCE));
        attempt
            .retry(pauses)
            .notify(|error, _| self.deadline.doing(error.to_string()))
            .await
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        source: Option<&DataSource>,
    ) -> Result<Answer, SetupError> {
        let request = format!("{method} {path}");
        self.deadline
            .doing(format!("waiting for Grafana's answer to {request}"));
        let mut builder = self
            .http
            .request(method.clone(), format!("{}{path}", self.endpoint))
            .bearer_auth(self.token.expose());
        if let Some(source) = source {
            let body = serde_json::to_vec(source).expect("BUG: plain data serialises");
            builder = builder.header(CONTENT_TYPE, "application/json").body(body);
        }
        let exchange = async {
            let response = builder.send().await?;
            let status = response.status();
            Ok((status, response.bytes().await?))
        };
        match exchange.await {
            Ok((status, body)) => Ok(Answer {
                request,
                status,
                body: body.into(),
            }),
            Err(error) => {
                let error: reqwest::Error = error;
                let cause = startup::chain(&error.without_url());
                Err(SetupError::GrafanaUnavailable { request, cause })
            }
        }
    }
}

impl Answer {
    /// 401 is what a token that Grafana has yet to learn of gets.
    fn is_transient(&self) -> bool {
        self.status.is_server_error()
            || [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&self.status)
    }

    fn unavailable(self) -> SetupError {
        let cause = format!("{} {}", self.status, self.message());
        SetupError::GrafanaUnavailable {
            request: self.request,
            cause,
        }
    }

    fn ok(self) -> Result<Self, SetupError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let (status, message) = (self.status.as_u16(), self.message());
        Err(SetupError::GrafanaRejected {
            request: self.request,
            status,
            message,
        })
    }

    fn json<T: DeserializeOwned>(self) -> Result<T, SetupError> {
        serde_json::from_slice(&self.body).map_err(|error| SetupError::GrafanaUnintelligible {
            cause: format!("line {} column {}", error.line(), error.column()),
            request: self.request,
        })
    }

    /// Grafana's own words: `message`, or of access control `title` and `message`.
    fn message(&self) -> String {
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        serde_json::from_slice::<Said>(&self.body)
            .map(|said| said.message.chars().take(MAX_MESSAGE_LENGTH).collect())
            .unwrap_or_else(|_| format!("with {} bytes that are no message", self.body.len()))
    }
}

/// Uids of old data sources can hold any character.
fn by_uid(uid: &str) -> String {
    let escaped = uid.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    format!("/api/datasources/uid/{}", escaped.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_stays_one_segment_of_the_path() {
        assert_eq!(by_uid("P-1_a"), "/api/datasources/uid/P-1_a");
        assert_eq!(
            by_uid("a/../b ä"),
            "/api/datasources/uid/a%2F%2E%2E%2Fb%20%C3%A4"
        );
    }
}
