//! Sends signed queries to AMP, and retries while it is busy.

use std::time::Duration;

use amp::WorkspaceUrl;
use aws_credential_types::provider::SharedCredentialsProvider;
use reqwest::header::{ACCEPT_ENCODING, HeaderValue};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use super::error::{Failure, QueryError, is_over_message_limit, prometheus_error, retry_after};
use super::pace::Budget;
use super::query::Query;
use super::reply::Reply;
use crate::error::{Cause, RunError};
use crate::signature::{Scope, signed};

/// AMP ends a query after 2 minutes itself. A retry before that would have it work on both. A dead peer is
/// found sooner, by reqwest's TCP keep-alive.
/// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html>
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(125);
/// After this many answers of status 500 in a row, a query for several periods is made smaller. The cause
/// may be a limit inside AMP that the answer does not name.
const MAX_INTERNAL_ERRORS: u32 = 2;
const FORM: (&str, &str) = ("content-type", "application/x-www-form-urlencoded");
/// Pauses between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);

/// A client of one AMP workspace.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    workspace: WorkspaceUrl,
    region: String,
    credentials: SharedCredentialsProvider,
    http: reqwest::Client,
    pub(super) budget: Budget,
}

impl Client {
    /// A client that signs for `region`, asks `credentials` anew for each request, and takes no reply
    /// over `budget`.
    pub(crate) fn new(
        workspace: WorkspaceUrl,
        region: String,
        credentials: SharedCredentialsProvider,
        http: reqwest::Client,
        budget: Budget,
    ) -> Self {
        Self {
            workspace,
            region,
            credentials,
            http,
            budget,
        }
    }

    /// Sends a query, and retries until `deadline` while AMP is busy or out of reach.
    ///
    /// # Errors
    /// `Throttled` or `AmpUnavailable` when time is up. `AmpRejected`, `AccessDenied` and what is too much
    /// at once are not retried.
    pub(crate) async fn query(
        &self,
        query: &Query,
        deadline: Instant,
    ) -> Result<Reply, QueryError> {
        let mut delays = startup::backoff(FIRST_DELAY, LONGEST_DELAY);
        let mut internal_errors = 0;
        loop {
            let failure = match self.attempt(query, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let (error, retry_after) = match failure {
                Failure::Last(error) => return Err(error),
                Failure::Internal(error) => {
                    internal_errors += 1;
                    if query.is_divisible && internal_errors >= MAX_INTERNAL_ERRORS {
                        return Err(QueryError::TooMuch(error));
                    }
                    (error, Duration::ZERO)
                }
                Failure::Transient { error, retry_after } => (error, retry_after),
            };
            let delay = delays.next().unwrap_or_default().max(retry_after);
            if Instant::now() + delay >= deadline {
                return Err(QueryError::Failed(error));
            }
            tracing::debug!(
                error = startup::error_chain(&error),
                query = query.text(),
                "retrying the query in {delay:?}"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, query: &Query, deadline: Instant) -> Result<Reply, Failure> {
        let request = self.signed(query).await?;
        let until = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
        let answered = tokio::time::timeout_at(until, async {
            let response = self
                .http
                .execute(request)
                .await
                .map_err(Failure::transport)?;
            let status = response.status();
            if status.is_success() {
                Reply::read(response, self.budget).await
            } else {
                Err(self.refusal(status, response).await)
            }
        });
        answered.await.unwrap_or_else(|_| Err(Failure::timed_out()))
    }

    async fn signed(&self, query: &Query) -> Result<reqwest::Request, Failure> {
        let url = format!("{}/api/v1/{}", self.workspace, query.call);
        // A form body is signed as it is. A query in the URL would have to be encoded in exactly the way
        // that AMP encodes it again to check the signature.
        let body = reqwest::Url::parse_with_params("form:", &query.form)
            .ok()
            .and_then(|form| form.query().map(str::to_owned))
            .unwrap_or_default();
        let scope = Scope {
            service: "aps",
            region: &self.region,
        };
        let mut headers = signed(&[FORM], &url, body.as_bytes(), scope, &self.credentials)
            .await
            .map_err(|error| Failure::last(RunError::AccessDenied(error)))?;
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        self.http
            .post(&url)
            .headers(headers)
            .body(body)
            .build()
            .map_err(Failure::transport)
    }

    async fn refusal(&self, status: StatusCode, response: Response) -> Failure {
        let retry_after = retry_after(response.headers());
        let text = prometheus_error(response).await;
        let cause = Cause::from(match &text {
            Some(text) => format!("HTTP {}: {text}", status.as_u16()),
            None => format!("HTTP {}", status.as_u16()),
        });
        match status {
            StatusCode::TOO_MANY_REQUESTS => Failure::Transient {
                error: RunError::Throttled(format!("AMP: {cause}").into()),
                retry_after,
            },
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::last(RunError::AccessDenied(self.missing_permission().into()))
            }
            StatusCode::NOT_FOUND => Failure::last(RunError::AmpRejected(
                format!(
                    "no workspace {} in {}",
                    self.workspace.workspace_id(),
                    self.region
                )
                .into(),
            )),
            // AMP's limits on time, series, samples and bytes of one query.
            // https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-troubleshooting.html
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
                Failure::Last(QueryError::TooMuch(RunError::AmpRejected(cause)))
            }
            StatusCode::INTERNAL_SERVER_ERROR => {
                if text.is_some_and(|text| is_over_message_limit(&text)) {
                    Failure::Last(QueryError::TooMuch(RunError::AmpRejected(cause)))
                } else {
                    Failure::Internal(RunError::AmpUnavailable(cause))
                }
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Failure::Transient {
                    error: RunError::AmpUnavailable(cause),
                    retry_after,
                }
            }
            _ => Failure::last(RunError::AmpRejected(cause)),
        }
    }

    fn missing_permission(&self) -> String {
        format!(
            "AMP answered 403: the function's role needs aps:QueryMetrics on workspace {} in {} \
             (and its clock must be right to 5 minutes)",
            self.workspace.workspace_id(),
            self.region,
        )
    }
}
