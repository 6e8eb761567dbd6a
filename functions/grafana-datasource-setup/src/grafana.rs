//! Grafana's HTTP API, as far as it is needed: here how requests are sent, in the modules below which.
//! By uid only: the endpoints by numeric id are off from Grafana 13 on
//! (<https://grafana.com/whats-new/2026-04-14-deprecated-data-source-apis-disabled-by-default/>).

mod dashboards;
mod data_sources;

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::secret::Secret;
use crate::workspace::{Version, Workspace};

pub use self::data_sources::HealthAnswer;

/// A Grafana that has just become ACTIVE answers 502 and 503 for a while, and doesn't know a token
/// for the first seconds of its life.
const PATIENCE: Duration = Duration::from_secs(45);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest answers are lists of data sources and dashboards, some hundred bytes each.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Grafana's messages are a sentence; a proxy's can be a page.
const MAX_MESSAGE_LENGTH: usize = 200;

/// The HTTP client for Grafana and for CloudFormation's ResponseURL.
///
/// # Errors
/// The TLS library can't start.
pub fn http_client() -> reqwest::Result<reqwest::Client> {
    startup::http_client()
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .timeout(REQUEST_TIMEOUT)
        .build()
}

/// A workspace's Grafana, with an administrator's token.
#[derive(Debug)]
pub struct Grafana<'a> {
    http: &'a reqwest::Client,
    workspace: &'a Workspace,
    token: Secret,
    deadline: &'a Deadline,
}

struct Answer {
    request: String,
    status: StatusCode,
    body: Vec<u8>,
}

impl<'a> Grafana<'a> {
    /// The Grafana of `workspace`.
    pub fn new(
        http: &'a reqwest::Client,
        workspace: &'a Workspace,
        token: Secret,
        deadline: &'a Deadline,
    ) -> Self {
        Self {
            http,
            workspace,
            token,
            deadline,
        }
    }

    /// Its version.
    pub fn version(&self) -> &Version {
        &self.workspace.version
    }

    /// What is at a path, if anything is.
    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, SetupError> {
        let answer = self.send(Method::GET, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.ok()?.json().map(Some)
    }

    /// All of a list.
    async fn list<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, SetupError> {
        self.send(Method::GET, path, None).await?.ok()?.json()
    }

    async fn write(&self, method: Method, path: &str, body: &Value) -> Result<(), SetupError> {
        let answer = self.send(method, path, Some(body)).await?;
        answer.ok().map(drop)
    }

    /// Deletes what is at a path, if anything is.
    async fn delete(&self, path: &str) -> Result<(), SetupError> {
        let answer = self.send(Method::DELETE, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok().map(drop)
    }

    /// Sends a request again while it may still succeed.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, SetupError> {
        let attempt = async || {
            let answer = self.send_once(&method, path, body).await?;
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
            .when(|error| matches!(error, SetupError::GrafanaUnavailable { .. }))
            .notify(|error, _| self.deadline.doing(error.to_string()))
            .await
    }

    async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, SetupError> {
        let request = format!("{method} {path}");
        self.deadline
            .doing(format!("waiting for Grafana's answer to {request}"));
        let mut builder = self
            .http
            .request(method.clone(), format!("{}{path}", self.workspace.endpoint))
            .bearer_auth(self.token.expose());
        if let Some(body) = body {
            builder = builder
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string());
        }
        let exchange = async {
            let mut response = builder.send().await?;
            let body = startup::body_within(&mut response, MAX_ANSWER_BYTES).await?;
            Ok::<_, reqwest::Error>((response.status(), body))
        };
        match exchange.await {
            Ok((_, None)) => {
                let cause = format!("it is longer than {MAX_ANSWER_BYTES} bytes");
                Err(SetupError::GrafanaUnintelligible { request, cause })
            }
            Ok((status, Some(body))) => Ok(Answer {
                request,
                status,
                body,
            }),
            Err(error) => {
                let cause = startup::error_chain(&error.without_url());
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

/// A uid as one segment of a path: old ones can hold any character.
fn segment(uid: &str) -> String {
    let escaped = uid.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    });
    escaped.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uid_stays_one_segment_of_the_path() {
        assert_eq!(segment("P-1_a"), "P-1_a");
        assert_eq!(segment("a/../b ä"), "a%2F%2E%2E%2Fb%20%C3%A4");
    }
}
