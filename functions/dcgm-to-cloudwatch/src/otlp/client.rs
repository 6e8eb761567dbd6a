//! Sends bodies to CloudWatch's OTLP endpoint: compressed, signed, and again while it is busy.

use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use reqwest::header::HeaderMap;
use reqwest::{Request, Response, StatusCode};

use super::endpoint::Endpoint;
use super::reply::{PartialSuccess, partial_success, refusal};
use crate::cloudwatch::gzip::Packer;
use crate::error::RunError;
use crate::signature::{Scope, signed};

/// Attempts of one request and the time of each, as those of PutMetricData.
const ATTEMPTS: usize = 5;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// Pauses between attempts.
const FIRST_DELAY: Duration = Duration::from_millis(200);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
/// Limits on what is read of an answer and told of it.
const MAX_REPLY_BYTES: usize = 64 << 10;
const MAX_MESSAGE_CHARS: usize = 1_000;

const CONTENT_TYPE: (&str, &str) = ("content-type", "application/x-protobuf");
/// ADOT's exporter leaves this header unsigned, and compressed bodies fail there.
const CONTENT_ENCODING: (&str, &str) = ("content-encoding", "gzip");

/// gzip's level. Level 2 makes the bodies a fifth smaller, and takes a tenth more of a run's processor time.
const LEVEL: u32 = 1;

/// A client of one OTLP endpoint.
#[derive(Debug)]
pub(crate) struct Client {
    endpoint: Endpoint,
    credentials: SharedCredentialsProvider,
    http: reqwest::Client,
    /// Unless bodies stay as they are.
    packer: Option<Packer>,
}

/// Why a body was not accepted.
#[derive(Debug)]
pub(crate) enum SendError {
    /// The points themselves are refused. Fewer of them may be accepted.
    Refused(String),
    /// Other points fail too.
    Failed(RunError),
}

/// Why an attempt failed.
enum Failure {
    /// The next attempt may succeed.
    Transient(RunError),
    Last(SendError),
}

impl Client {
    /// A client that asks `credentials` anew for each request.
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: SharedCredentialsProvider,
        http: reqwest::Client,
        compresses: bool,
    ) -> Self {
        Self {
            endpoint,
            credentials,
            http,
            packer: compresses.then(|| Packer::new(LEVEL)),
        }
    }

    /// Sends one body.
    ///
    /// # Errors
    /// `Throttled` or `PublishFailed` after several attempts; `AccessDenied` and refused points at once.
    pub(crate) async fn send(&self, body: Vec<u8>) -> Result<PartialSuccess, SendError> {
        let packed = match &self.packer {
            Some(packer) => {
                let packed = packer.pack(&body);
                // It is ten times as large as what is sent, and need not wait for the answer.
                drop(body);
                packed.map_err(|error| failed(&error.to_string()))?
            }
            None => body,
        };
        let delays = startup::backoff(FIRST_DELAY, LONGEST_DELAY);
        for delay in delays.take(ATTEMPTS - 1) {
            match self.attempt(&packed).await {
                Ok(accepted) => return Ok(accepted),
                Err(Failure::Last(error)) => return Err(error),
                Err(Failure::Transient(error)) => {
                    let error = startup::error_chain(&error);
                    tracing::debug!(error, "sending points again in {delay:?}");
                    tokio::time::sleep(delay).await;
                }
            }
        }
        self.attempt(&packed)
            .await
            .map_err(|failure| match failure {
                Failure::Last(error) => error,
                Failure::Transient(error) => SendError::Failed(error),
            })
    }

    async fn attempt(&self, packed: &[u8]) -> Result<PartialSuccess, Failure> {
        let request = self.signed(packed).await?;
        let answered = tokio::time::timeout(ATTEMPT_TIMEOUT, async {
            let mut response = self.http.execute(request).await?;
            let body = startup::body_within(&mut response, MAX_REPLY_BYTES).await?;
            Ok((response, body.unwrap_or_default()))
        });
        let answered: Result<reqwest::Result<(Response, Vec<u8>)>, _> = answered.await;
        let (response, body) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => return Err(transient(&startup::error_chain(&error.without_url()))),
            Err(_) => return Err(transient("no answer in time")),
        };
        if response.status().is_success() {
            return Ok(accepted(&body));
        }
        Err(self.refusal(response.status(), response.headers(), &body))
    }

    async fn signed(&self, packed: &[u8]) -> Result<Request, Failure> {
        let encoded = [CONTENT_TYPE, CONTENT_ENCODING];
        let headers = match self.packer {
            Some(_) => &encoded[..],
            None => &encoded[..1],
        };
        let Endpoint { url, region } = &self.endpoint;
        let scope = Scope {
            service: "monitoring",
            region,
        };
        let signed = signed(headers, url.as_str(), packed, scope, &self.credentials)
            .await
            .map_err(|cause| Failure::Last(SendError::Failed(RunError::AccessDenied(cause))))?;
        let request = self
            .http
            .post(url.clone())
            .headers(signed)
            .body(packed.to_vec());
        request
            .build()
            .map_err(|error| Failure::Last(failed(&error.without_url().to_string())))
    }

    fn refusal(&self, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
        let (code, message) = refusal(body);
        let header = headers
            .get("x-amzn-errortype")
            .and_then(|value| value.to_str().ok());
        let code = header.map_or(code, |value| {
            value.split(':').next().unwrap_or_default().to_owned()
        });
        let parts = [
            status.as_u16().to_string(),
            one_line(&code),
            one_line(&message),
        ];
        let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let what = format!("HTTP {}", parts.join(": "));
        if status == StatusCode::TOO_MANY_REQUESTS || code.contains("Throttl") {
            return Failure::Transient(RunError::Throttled(
                format!("CloudWatch's OTLP endpoint: {what}").into(),
            ));
        }
        match status {
            // The answer to a wrong signature repeats the request, so nothing of it is told.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                Failure::Last(SendError::Failed(RunError::AccessDenied(
                    format!(
                        "the function's role needs cloudwatch:PutMetricData on dataset/default of \
                         CloudWatch in {} (and its clock must be right to 5 minutes)",
                        self.endpoint.region
                    )
                    .into(),
                )))
            }
            StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE => {
                Failure::Last(SendError::Refused(what))
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                let region = &self.endpoint.region;
                Failure::Last(failed(&format!(
                    "{what}: no OTLP endpoint at /v1/metrics of CloudWatch in {region}, or of \
                     AWS_ENDPOINT_URL_CLOUDWATCH where that is set; GPU_DETAIL=metrics does without it"
                )))
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                transient(&what)
            }
            _ => Failure::Last(failed(&what)),
        }
    }
}

fn accepted(body: &[u8]) -> PartialSuccess {
    partial_success(body).unwrap_or_else(|| {
        tracing::debug!("the answer of CloudWatch's OTLP endpoint can't be read");
        PartialSuccess::default()
    })
}

fn transient(what: &str) -> Failure {
    Failure::Transient(RunError::PublishFailed(format!("OTLP: {what}").into()))
}

fn failed(what: &str) -> SendError {
    SendError::Failed(RunError::PublishFailed(format!("OTLP: {what}").into()))
}

/// A service's words, so that they can't forge lines of the log.
pub(super) fn one_line(text: &str) -> String {
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    printable.take(MAX_MESSAGE_CHARS).collect()
}
