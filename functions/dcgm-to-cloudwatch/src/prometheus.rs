//! AMP: the PromQL text, the signed request, and patience with a service that is busy.
//!
//! Samples are asked for by `FIELD{matchers}[range]` as an instant query: raw samples with their own
//! times. An instant vector would bear the time of the evaluation and repeat a dead node's last value
//! for five minutes. A fleet too large for that is asked about by GPU index ([`Part`]).

use std::error::Error;
use std::io::Read;
use std::time::{Duration, SystemTime};

use amp::WorkspaceUrl;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use backon::{BackoffBuilder, ExponentialBuilder};
use flate2::read::MultiGzDecoder;
use reqwest::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER,
};
use reqwest::{Response, StatusCode};
use tokio::time::Instant;

use crate::arrival::{PATIENCE_SECONDS, STEP_SECONDS};
use crate::budget::Budget;
use crate::catalog::Field;
use crate::error::{Cause, RunError};
use crate::period::Periods;

/// AMP itself gives a query up after 2 minutes and says so; asking again before that has it work
/// on both. A peer that is gone is found sooner by reqwest's TCP keep-alive.
/// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP_quotas.html>
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(125);
/// Status 500 on this many attempts in a row for several periods: fewer are asked for. It may be a limit
/// inside of AMP that the answer does not name.
const MAX_INTERNAL_ERRORS: u32 = 2;
/// An error's text is read no further than this.
const MAX_ERROR_BYTES: usize = 64 << 10;
const MAX_ERROR_CHARS: usize = 1_000;

/// Some GPUs of a fleet: a PromQL label matcher and a comma, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part(&'static str);

impl Part {
    /// All GPUs.
    pub const WHOLE: [Self; 1] = [Self("")];
    /// By the index a GPU has on its node. Every series is in one of these and in no other, whatever
    /// its labels.
    pub const BY_GPU: [Self; 9] = [
        Self(r#"gpu="0","#),
        Self(r#"gpu="1","#),
        Self(r#"gpu="2","#),
        Self(r#"gpu="3","#),
        Self(r#"gpu="4","#),
        Self(r#"gpu="5","#),
        Self(r#"gpu="6","#),
        Self(r#"gpu="7","#),
        Self(r#"gpu!~"[0-7]","#),
    ];
}

/// A query, and the moments it is evaluated at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    call: &'static str,
    form: Vec<(&'static str, String)>,
    /// Whether the same can be asked for in shorter ranges.
    is_divisible: bool,
}

/// How far Prometheus looks back for a series' newest sample, unless configured otherwise.
const LOOKBACK_SECONDS: i64 = 300;

impl Question {
    /// The raw samples of one field over `periods`.
    pub fn samples(field: &str, Part(part): Part, matchers: &str, periods: &Periods) -> Self {
        let seconds = periods.end - periods.start;
        let query = format!("{field}{{{part}{matchers}}}[{seconds}s]");
        Self {
            call: "query",
            form: vec![("query", query), ("time", last_moment(periods))],
            is_divisible: periods.len() > 1,
        }
    }

    /// When the newest sample of any field was taken, in each five minutes from `from` to `until`.
    pub fn newest(fields: &[Field], matchers: &str, from: i64, until: i64) -> Self {
        let query = of_all(fields, "max", |name| {
            format!("timestamp({name}{{{matchers}}})")
        });
        let steps = (until - from + LOOKBACK_SECONDS - 1) / LOOKBACK_SECONDS;
        Self::over(query, until, steps.max(1) - 1, LOOKBACK_SECONDS)
    }

    /// When the newest sample of each source's slowest series was taken, in a row of looks up to
    /// `until`. A source is what has the same values of all `labels`.
    pub fn arrivals(fields: &[Field], matchers: &str, labels: &[String], until: i64) -> Self {
        let slowest = format!("min by({})", labels.join(","));
        let query = of_all(fields, &slowest, |name| {
            format!("timestamp({name}{{{matchers}}})")
        });
        Self::over(query, until, PATIENCE_SECONDS / STEP_SECONDS, STEP_SECONDS)
    }

    /// How many samples all fields have over `periods`.
    pub fn count(fields: &[Field], matchers: &str, periods: &Periods) -> Self {
        let seconds = periods.end - periods.start;
        let query = of_all(fields, "sum", |name| {
            format!("count_over_time({name}{{{matchers}}}[{seconds}s])")
        });
        let moment = last_moment(periods);
        let step = "1".to_owned();
        Self {
            call: "query_range",
            form: vec![
                ("query", query),
                ("start", moment.clone()),
                ("end", moment),
                ("step", step),
            ],
            is_divisible: false,
        }
    }

    /// A query evaluated at `until`, and at `steps` moments before it that are `step` seconds apart.
    fn over(query: String, until: i64, steps: i64, step: i64) -> Self {
        Self {
            call: "query_range",
            form: vec![
                ("query", query),
                ("start", (until - steps * step).to_string()),
                ("end", until.to_string()),
                ("step", step.to_string()),
            ],
            is_divisible: false,
        }
    }

    fn query(&self) -> &str {
        self.form.first().map_or("", |(_, query)| query)
    }
}

/// `aggregate` over an expression of every field. Functions of PromQL drop the metric's name, and
/// refuse series that differ in nothing else, so each field is aggregated by itself and then labelled.
fn of_all(fields: &[Field], aggregate: &str, expression: impl Fn(&str) -> String) -> String {
    let of_each = fields.iter().map(|field| {
        let (name, expression) = (&field.name, expression(&field.name));
        format!(r#"label_replace({aggregate}({expression}),"field","{name}","","")"#)
    });
    format!("{aggregate}({})", of_each.collect::<Vec<_>>().join(" or "))
}

/// The moment to evaluate at so that a range holds `[start, end)`: a millisecond, Prometheus's
/// resolution, before the end. Prometheus 3 excludes the left edge, earlier versions include it; the
/// reader of the samples leaves out what lies before the start.
fn last_moment(periods: &Periods) -> String {
    format!("{}.999", periods.end - 1)
}

/// Why there is no reply that can be used.
#[derive(Debug)]
pub enum AskError {
    /// More than AMP or this function can take at once. Retry with a smaller range.
    TooMuch(RunError),
    /// A smaller range fails too.
    Failed(RunError),
}

impl AskError {
    /// An answer that is damaged, or not Prometheus's.
    pub fn unreadable(error: &dyn Error) -> Self {
        let what = format!("the answer can't be read: {error}");
        Self::Failed(RunError::AmpUnavailable(what.into()))
    }

    /// Over a limit of the function's own.
    pub fn too_much(what: String) -> Self {
        Self::TooMuch(RunError::AmpRejected(what.into()))
    }
}

/// A client of one AMP workspace.
#[derive(Clone, Debug)]
pub struct Amp {
    workspace: WorkspaceUrl,
    region: String,
    credentials: SharedCredentialsProvider,
    http: reqwest::Client,
    budget: Budget,
}

impl Amp {
    /// A client that signs for `region` with what `credentials` gives at each request, and takes no
    /// reply over `budget`.
    pub fn new(
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

    /// Asks again and again until `deadline` while AMP is busy or out of reach.
    ///
    /// # Errors
    /// `Throttled` or `AmpUnavailable` when time is up, `AmpRejected` or `AccessDenied` at once, and
    /// at once what is too much.
    pub async fn ask(&self, question: &Question, deadline: Instant) -> Result<Reply, AskError> {
        let mut delays = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_max_delay(Duration::from_secs(5))
            .without_max_times()
            .with_jitter()
            .build();
        let mut internal_errors = 0;
        loop {
            let failure = match self.attempt(question, deadline).await {
                Ok(reply) => return Ok(reply),
                Err(failure) => failure,
            };
            let (error, retry_after) = match failure {
                Failure::Last(error) => return Err(error),
                Failure::Internal(error) => {
                    internal_errors += 1;
                    if question.is_divisible && internal_errors >= MAX_INTERNAL_ERRORS {
                        return Err(AskError::TooMuch(error));
                    }
                    (error, Duration::ZERO)
                }
                Failure::Transient { error, retry_after } => (error, retry_after),
            };
            let delay = delays.next().unwrap_or_default().max(retry_after);
            if Instant::now() + delay >= deadline {
                return Err(AskError::Failed(error));
            }
            tracing::debug!(
                error = startup::error_chain(&error),
                query = question.query(),
                "asking AMP again in {delay:?}"
            );
            tokio::time::sleep(delay).await;
        }
    }

    async fn attempt(&self, question: &Question, deadline: Instant) -> Result<Reply, Failure> {
        let request = self.signed(question).await?;
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

    async fn signed(&self, question: &Question) -> Result<reqwest::Request, Failure> {
        let credentials = self
            .credentials
            .provide_credentials()
            .await
            .map_err(|error| Failure::last(RunError::AccessDenied(Box::new(error))))?;
        #[expect(
            clippy::disallowed_methods,
            reason = "AMP takes a signature for five minutes only"
        )]
        let now = SystemTime::now();
        let url = format!("{}/api/v1/{}", self.workspace, question.call);
        // In a form body no character of PromQL can be encoded in two ways, as in a signed URL.
        let body = reqwest::Url::parse_with_params("form:", &question.form)
            .ok()
            .and_then(|form| form.query().map(str::to_owned))
            .unwrap_or_default();
        let mut headers = signature(&url, &body, credentials, &self.region, now)
            .map_err(|error| Failure::last(RunError::AccessDenied(error)))?;
        headers.insert(CONTENT_TYPE, FORM);
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
        let told = Cause::from(match &text {
            Some(text) => format!("HTTP {}: {text}", status.as_u16()),
            None => format!("HTTP {}", status.as_u16()),
        });
        match status {
            StatusCode::TOO_MANY_REQUESTS => Failure::Transient {
                error: RunError::Throttled(format!("AMP: {told}").into()),
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
                Failure::Last(AskError::TooMuch(RunError::AmpRejected(told)))
            }
            StatusCode::INTERNAL_SERVER_ERROR => {
                if text.is_some_and(|text| is_over_message_limit(&text)) {
                    Failure::Last(AskError::TooMuch(RunError::AmpRejected(told)))
                } else {
                    Failure::Internal(RunError::AmpUnavailable(told))
                }
            }
            _ if status.is_server_error() || status == StatusCode::REQUEST_TIMEOUT => {
                Failure::Transient {
                    error: RunError::AmpUnavailable(told),
                    retry_after,
                }
            }
            _ => Failure::last(RunError::AmpRejected(told)),
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

const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// The headers that sign a form `body` for AMP.
fn signature(
    url: &str,
    body: &str,
    credentials: aws_credential_types::Credentials,
    region: &str,
    now: SystemTime,
) -> Result<HeaderMap, Cause> {
    let identity = credentials.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name("aps")
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let body = SignableBody::Bytes(body.as_bytes());
    let request = SignableRequest::new("POST", url, form.into_iter(), body)?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let mut headers = HeaderMap::new();
    for (name, value) in instructions.headers() {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        headers.insert(
            reqwest::header::HeaderName::from_bytes(name.as_bytes())?,
            value,
        );
    }
    Ok(headers)
}

/// An attempt that failed.
enum Failure {
    /// The next one may succeed.
    Transient {
        error: RunError,
        retry_after: Duration,
    },
    /// Status 500: the next one may succeed, or AMP can't take so much at once.
    Internal(RunError),
    Last(AskError),
}

/// AMP is built on Cortex, whose parts limit the messages between them. A reply over that limit is
/// reported as an internal error: <https://github.com/cortexproject/cortex/issues/913>
fn is_over_message_limit(text: &str) -> bool {
    ["ResourceExhausted", "larger than max"]
        .iter()
        .any(|sign| text.contains(sign))
}

impl Failure {
    fn last(error: RunError) -> Self {
        Self::Last(AskError::Failed(error))
    }

    fn unavailable(cause: Cause) -> Self {
        Self::Transient {
            error: RunError::AmpUnavailable(cause),
            retry_after: Duration::ZERO,
        }
    }

    fn transport(error: reqwest::Error) -> Self {
        Self::unavailable(error.into())
    }

    fn timed_out() -> Self {
        Self::unavailable("no answer in time".into())
    }
}

fn retry_after(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
}

/// The `error` of a Prometheus error reply. Gateways answer in other forms; those are not told,
/// they may hold anything.
async fn prometheus_error(mut response: Response) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct ErrorReply {
        error: String,
    }
    let mut body = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ERROR_BYTES {
            return None;
        }
    }
    let reader = decoder(response.headers(), &body[..]);
    let reply: ErrorReply = serde_json::from_reader(reader.take(MAX_ERROR_BYTES as u64)).ok()?;
    let one_line = reply
        .error
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c });
    Some(one_line.take(MAX_ERROR_CHARS).collect())
}

fn decoder<'a>(headers: &HeaderMap, body: &'a [u8]) -> Box<dyn Read + 'a> {
    let is_gzip = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if is_gzip {
        Box::new(MultiGzDecoder::new(body))
    } else {
        Box::new(body)
    }
}

/// A whole reply as it came over the wire: gzip keeps 10,000 nodes' worth at a few megabytes, and
/// it is unpacked only when its turn to be read has come.
#[derive(Debug)]
pub struct Reply {
    headers: HeaderMap,
    body: Vec<u8>,
    most: usize,
}

impl Reply {
    async fn read(mut response: Response, budget: Budget) -> Result<Self, Failure> {
        let body = startup::body_within(&mut response, budget.reply)
            .await
            .map_err(Failure::transport)?
            .ok_or_else(|| Failure::Last(over("packed", budget.reply)))?;
        Ok(Self {
            headers: std::mem::take(response.headers_mut()),
            body,
            most: budget.json,
        })
    }

    /// The JSON within, unpacked into `room` that one reply after the other can use.
    ///
    /// # Errors
    /// The reply is damaged, or larger than the budget.
    pub fn json<'r>(&self, room: &'r mut Vec<u8>) -> Result<&'r [u8], AskError> {
        room.clear();
        let mut json = decoder(&self.headers, &self.body).take(self.most as u64 + 1);
        json.read_to_end(room)
            .map_err(|e| AskError::unreadable(&e))?;
        if room.len() > self.most {
            return Err(over("unpacked", self.most));
        }
        Ok(room)
    }
}

fn over(how: &str, bytes: usize) -> AskError {
    AskError::too_much(format!(
        "a reply is over {} MiB {how}: narrow SERIES_SELECTOR, or give the function more memory",
        bytes >> 20
    ))
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::StandardUnit;

    use super::*;
    use crate::catalog;

    const TWO_MINUTES: Periods = Periods {
        start: 1_700_000_040,
        end: 1_700_000_160,
        length: 60,
    };
    const CLUSTER: &str = "cluster=\"a\"";

    fn form(question: &Question) -> Vec<(&str, &str)> {
        let form = question.form.iter();
        form.map(|(name, value)| (*name, value.as_str())).collect()
    }

    #[test]
    fn asks_for_raw_samples_of_the_whole_range() {
        let [whole] = Part::WHOLE;
        let question = Question::samples("DCGM_FI_DEV_GPU_UTIL", whole, "", &TWO_MINUTES);
        assert_eq!(
            (question.call, form(&question)),
            (
                "query",
                vec![
                    ("query", "DCGM_FI_DEV_GPU_UTIL{}[120s]"),
                    ("time", "1700000159.999"),
                ]
            )
        );
        let question = Question::samples("X", whole, CLUSTER, &TWO_MINUTES);
        assert_eq!(question.query(), "X{cluster=\"a\"}[120s]");
    }

    #[test]
    fn the_parts_of_a_fleet_are_gpus_by_index_and_the_rest() {
        let questions =
            Part::BY_GPU.map(|part| Question::samples("X", part, CLUSTER, &TWO_MINUTES));
        for (index, question) in questions[..8].iter().enumerate() {
            let expected = format!("X{{gpu=\"{index}\",cluster=\"a\"}}[120s]");
            assert_eq!(question.query(), expected);
        }
        let rest = "X{gpu!~\"[0-7]\",cluster=\"a\"}[120s]";
        assert_eq!(questions[8].query(), rest);
    }

    #[test]
    fn what_arrives_is_asked_of_all_fields_at_once() {
        let fields = ["X", "Y"].map(|name| catalog::custom(name, name, StandardUnit::None));
        let labels = ["instance_id", "instance"].map(str::to_owned);
        let of_both = |aggregate: &str, before: &str, after: &str| {
            let of_each = ["X", "Y"].map(|name| {
                let series = format!("{before}{name}{{cluster=\"a\"}}{after}");
                format!(r#"label_replace({aggregate}({series}),"field","{name}","","")"#)
            });
            format!("{aggregate}({})", of_each.join(" or "))
        };
        let until = 1_700_000_400;
        let rows = [
            (
                Question::newest(&fields, CLUSTER, until - 601, until),
                of_both("max", "timestamp(", ")"),
                ["1699999800", "1700000400", "300"],
            ),
            (
                Question::arrivals(&fields, CLUSTER, &labels, until),
                of_both("min by(instance_id,instance)", "timestamp(", ")"),
                ["1699999800", "1700000400", "150"],
            ),
            (
                Question::count(&fields, CLUSTER, &TWO_MINUTES),
                of_both("sum", "count_over_time(", "[120s])"),
                ["1700000159.999", "1700000159.999", "1"],
            ),
        ];
        for (question, query, [start, end, step]) in rows {
            let expected = [
                ("query", query.as_str()),
                ("start", start),
                ("end", end),
                ("step", step),
            ];
            assert_eq!(
                (question.call, form(&question)),
                ("query_range", expected.to_vec())
            );
        }
        let within_one_step = Question::newest(&fields, "", until - 10, until);
        assert_eq!(within_one_step.form[1], ("start", until.to_string()));
    }
}
