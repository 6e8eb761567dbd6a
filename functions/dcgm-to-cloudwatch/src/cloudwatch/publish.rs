//! Requests sent to CloudWatch.

use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::client::Client;
use super::datum::Datum;
use super::limits::PARALLEL_REQUESTS;
use crate::error::RunError;
use crate::gpu::dropped::{DropReason, Dropped};

/// What became of a period's requests.
#[derive(Debug, Default)]
pub(crate) struct Published {
    /// PutMetricData calls that CloudWatch accepted.
    pub(crate) requests: u64,
    /// Datums it accepted.
    pub(crate) datums: u64,
    /// Samples of datums that it refused one by one.
    pub(crate) refused: Dropped,
}

impl Published {
    fn merge(mut self, other: &Self) -> Self {
        self.requests += other.requests;
        self.datums += other.datums;
        self.refused.merge(&other.refused);
        self
    }
}

/// Sends requests to one namespace, several at once.
///
/// # Errors
/// The first failure that is not about the datums themselves, after the SDK's own retries.
pub(crate) fn publish<'a>(
    client: &'a Client,
    namespace: &'a str,
    requests: impl Iterator<Item = Vec<Datum<'a>>> + Send + 'a,
) -> BoxFuture<'a, Result<Published, RunError>> {
    stream::iter(requests)
        .map(move |request| async move { send(client, namespace, &request).await })
        .buffer_unordered(PARALLEL_REQUESTS)
        .try_fold(Published::default(), |sum, one| async move {
            Ok(sum.merge(&one))
        })
        .boxed()
}

fn send<'a>(
    client: &'a Client,
    namespace: &'a str,
    request: &'a [Datum<'a>],
) -> BoxFuture<'a, Result<Published, RunError>> {
    async move {
        let error = match client.put(namespace, request).await {
            Ok(()) => {
                return Ok(Published {
                    requests: 1,
                    datums: request.len() as u64,
                    ..Published::default()
                });
            }
            Err(error) => error,
        };
        if !is_about_the_datums(&error) {
            return Err(failure(&error, namespace));
        }
        if let [alone] = request {
            let error = startup::error_chain(&error);
            tracing::warn!(metric = alone.metric, error, "CloudWatch refuses a datum");
            let mut refused = Dropped::default();
            refused.add(DropReason::RefusedByCloudWatch, alone.samples());
            return Ok(Published {
                refused,
                ..Published::default()
            });
        }
        let (first, second) = request.split_at(request.len() / 2);
        let first = send(client, namespace, first).await?;
        Ok(first.merge(&send(client, namespace, second).await?))
    }
    .boxed()
}

/// A refusal that a smaller request may escape.
fn is_about_the_datums(error: &SdkError<PutMetricDataError>) -> bool {
    const REFUSALS: [&str; 8] = [
        "InvalidParameterValue",
        "InvalidParameterValueException",
        "InvalidParameterCombination",
        "InvalidParameterCombinationException",
        "MissingParameter",
        "MissingRequiredParameterException",
        "ValidationError",
        "ValidationException",
    ];
    let too_large = error
        .raw_response()
        .is_some_and(|raw| raw.status().as_u16() == 413);
    too_large || error.code().is_some_and(|code| REFUSALS.contains(&code))
}

fn failure(error: &SdkError<PutMetricDataError>, namespace: &str) -> RunError {
    let code = error.code().unwrap_or_default().to_owned();
    match code.as_str() {
        "AccessDenied" | "AccessDeniedException" => RunError::AccessDenied(
            format!("the function's role needs cloudwatch:PutMetricData for namespace {namespace}")
                .into(),
        ),
        code if code.contains("Throttl") || code == "LimitExceededException" => {
            RunError::Throttled(format!("CloudWatch: {}", startup::error_chain(error)).into())
        }
        _ => RunError::PublishFailed(startup::error_chain(error).into()),
    }
}
