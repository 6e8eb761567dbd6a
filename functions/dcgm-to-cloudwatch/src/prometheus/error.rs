//! What keeps AMP from answering, and what to do about it.

use std::error::Error;
use std::io::Read;
use std::time::Duration;

use reqwest::Response;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::body::decoder;
use crate::error::{Cause, RunError};

/// Limits on the text that is taken from an error's answer.
const MAX_ERROR_BYTES: usize = 64 << 10;
const MAX_ERROR_CHARS: usize = 1_000;

/// Why a query has no usable reply.
#[derive(Debug)]
pub(crate) enum QueryError {
    /// More than AMP or this function can take at once. Retry with a smaller range.
    TooMuch(RunError),
    /// A smaller range fails too.
    Failed(RunError),
}

impl QueryError {
    /// The answer is damaged, or not Prometheus's.
    pub(crate) fn unreadable(error: &dyn Error) -> Self {
        let what = format!("the answer can't be read: {error}");
        Self::Failed(RunError::AmpUnavailable(what.into()))
    }

    /// The answer is over a limit of the function.
    pub(crate) fn too_much(what: String) -> Self {
        Self::TooMuch(RunError::AmpRejected(what.into()))
    }

    /// A reply is over the `bytes` that the function's memory allows, compressed or decompressed.
    pub(super) fn too_large(how: &str, bytes: usize) -> Self {
        Self::too_much(format!(
            "a reply is over {} MiB {how}: narrow SERIES_SELECTOR, or give the function more memory",
            bytes >> 20
        ))
    }
}

/// Why an attempt failed.
pub(super) enum Failure {
    /// The next attempt may succeed.
    Transient {
        error: RunError,
        retry_after: Duration,
    },
    /// Status 500: the next attempt may succeed, or the query is too large for AMP.
    Internal(RunError),
    Last(QueryError),
}

/// AMP is built on Cortex, which limits the messages between its parts. It reports a reply over that limit
/// as an internal error: <https://github.com/cortexproject/cortex/issues/913>
pub(super) fn is_over_message_limit(text: &str) -> bool {
    ["ResourceExhausted", "larger than max"]
        .iter()
        .any(|sign| text.contains(sign))
}

impl Failure {
    pub(super) fn last(error: RunError) -> Self {
        Self::Last(QueryError::Failed(error))
    }

    pub(super) fn unavailable(cause: Cause) -> Self {
        Self::Transient {
            error: RunError::AmpUnavailable(cause),
            retry_after: Duration::ZERO,
        }
    }

    pub(super) fn transport(error: reqwest::Error) -> Self {
        Self::unavailable(error.into())
    }

    pub(super) fn timed_out() -> Self {
        Self::unavailable("no answer in time".into())
    }
}

pub(super) fn retry_after(headers: &HeaderMap) -> Duration {
    headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.parse().ok())
        .map_or(Duration::ZERO, Duration::from_secs)
}

/// The `error` of a Prometheus error reply. Answers of gateways have other forms and may hold anything;
/// they are not passed on.
pub(super) async fn prometheus_error(mut response: Response) -> Option<String> {
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
