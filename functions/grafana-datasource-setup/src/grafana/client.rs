//! How a request is sent to Grafana, and what its answer means.

use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use startup::Deadline;

use super::error::GrafanaError;
use super::version::Version;

/// How long a request is repeated. A Grafana that has just become ACTIVE answers 502 and 503 for a
/// while, and refuses a new token for its first seconds.
const PATIENCE: Duration = Duration::from_secs(45);

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Far above any real answer. The longest are lists with some hundred bytes for each data source.
const MAX_ANSWER_BYTES: usize = 16 << 20;
/// Grafana's messages are one sentence; those of a proxy can be a page.
const MAX_MESSAGE_LENGTH: usize = 200;

/// The HTTP client for Grafana and for CloudFormation's ResponseURL.
///
/// # Errors
/// The TLS library can't start.
pub(crate) fn http_client() -> reqwest::Result<reqwest::Client> {
    startup::http_client()
        .user_agent(concat!(
            env!("CARGO_PKG_NAME"),
            "/",
            env!("CARGO_PKG_VERSION")
        ))
        .timeout(REQUEST_TIMEOUT)
        .build()
}

/// A workspace's Grafana, and an administrator's token for it.
#[derive(Debug)]
pub(crate) struct Grafana<'a> {
    pub(crate) http: &'a reqwest::Client,
    /// Grafana's address with its scheme, without trailing slash.
    pub(crate) endpoint: &'a str,
    pub(crate) version: &'a Version,
    pub(crate) token: SecretString,
    /// Notes which request is being waited for.
    pub(crate) deadline: &'a Deadline,
}

/// An answer, whatever its status.
pub(super) struct Answer {
    request: String,
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Grafana<'_> {
    /// Reads what is at a path; `None` when there is nothing.
    pub(super) async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Option<T>, GrafanaError> {
        let answer = self.send(Method::GET, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        answer.ok()?.json().map(Some)
    }

    /// Reads a list, which is always there.
    pub(super) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> Result<Vec<T>, GrafanaError> {
        self.send(Method::GET, path, None).await?.ok()?.json()
    }

    pub(super) async fn write(
        &self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> Result<(), GrafanaError> {
        let answer = self.send(method, path, Some(body)).await?;
        answer.ok().map(drop)
    }

    /// Deletes what is at a path. Nothing there is no error.
    pub(super) async fn delete(&self, path: &str) -> Result<(), GrafanaError> {
        let answer = self.send(Method::DELETE, path, None).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(());
        }
        answer.ok().map(drop)
    }

    /// Sends a request, and repeats it while a later attempt may succeed.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, GrafanaError> {
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
            .when(|error| matches!(error, GrafanaError::Unavailable { .. }))
            .notify(|error, _| self.deadline.doing(error.to_string()))
            .await
    }

    pub(super) async fn send_once(
        &self,
        method: &Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, GrafanaError> {
        let request = format!("{method} {path}");
        self.deadline
            .doing(format!("waiting for Grafana's answer to {request}"));
        let mut builder = self
            .http
            .request(method.clone(), format!("{}{path}", self.endpoint))
            .bearer_auth(self.token.expose_secret());
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
                Err(GrafanaError::Unintelligible { request, cause })
            }
            Ok((status, Some(body))) => Ok(Answer {
                request,
                status,
                body,
            }),
            Err(error) => {
                let cause = startup::error_chain(&error.without_url());
                Err(GrafanaError::Unavailable { request, cause })
            }
        }
    }
}

impl Answer {
    /// Whether a later attempt may succeed. 401 included: Grafana takes a moment to learn of a new token.
    pub(super) fn is_transient(&self) -> bool {
        self.status.is_server_error()
            || [StatusCode::UNAUTHORIZED, StatusCode::TOO_MANY_REQUESTS].contains(&self.status)
    }

    pub(super) fn unavailable(self) -> GrafanaError {
        let cause = format!("{} {}", self.status, self.message());
        GrafanaError::Unavailable {
            request: self.request,
            cause,
        }
    }

    pub(super) fn ok(self) -> Result<Self, GrafanaError> {
        if self.status.is_success() {
            return Ok(self);
        }
        let (status, message) = (self.status.as_u16(), self.message());
        Err(GrafanaError::Rejected {
            request: self.request,
            status,
            message,
        })
    }

    fn json<T: DeserializeOwned>(self) -> Result<T, GrafanaError> {
        serde_json::from_slice(&self.body).map_err(|error| GrafanaError::Unintelligible {
            cause: format!("line {} column {}", error.line(), error.column()),
            request: self.request,
        })
    }

    /// Grafana's own words, without the rest of the body.
    pub(super) fn message(&self) -> String {
        #[derive(Deserialize)]
        struct Said {
            message: String,
        }
        serde_json::from_slice::<Said>(&self.body)
            .map(|said| said.message.chars().take(MAX_MESSAGE_LENGTH).collect())
            .unwrap_or_else(|_| format!("with {} bytes that are no message", self.body.len()))
    }
}

/// A uid as one segment of a path. Uids made before Grafana validated them can hold any character.
pub(super) fn segment(uid: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');
    utf8_percent_encode(uid, ESCAPED).to_string()
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
