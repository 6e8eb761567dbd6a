//! Distributions into datums, datums into requests within every limit, requests to CloudWatch.
//!
//! PutMetricData takes a request whole or not at all, so everything known to be refused is left
//! out before (`sample`, `fleet`, `config`), and a request refused all the same is halved until
//! the bad datum stands alone.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
pub use aws_sdk_cloudwatch::types::MetricDatum;
use aws_sdk_cloudwatch::types::{Dimension, StandardUnit};
use aws_smithy_types::DateTime;
use futures_util::future::BoxFuture;
use futures_util::stream::{self, StreamExt, TryStreamExt};

use crate::catalog::GPUS_REPORTING;
use crate::config::DimensionSet;
use crate::error::RunError;
use crate::period::Period;
use crate::rollup::{Distribution, PeriodReadings, Subject};
use crate::sample::{DropReason, Dropped};

/// Limits of PutMetricData.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const MAX_DATUMS: usize = 1_000;
/// 1 MB before compression, less 1 % for the request around the datums.
const MAX_BYTES: usize = 990_000;
/// Distinct values of a datum.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const MAX_VALUES: usize = 150;
/// Requests under way at once. 8 at 20 ms each are 400 a second, under the quota of 500.
const PARALLEL_REQUESTS: usize = 8;

/// Every datum of a period, made one at a time: a period of 10,000 nodes has half a million.
pub fn datums<'r>(
    readings: &PeriodReadings<'r>,
    sets: &[DimensionSet],
) -> impl Iterator<Item = MetricDatum> + Send + use<'r> {
    let period = readings.period;
    let gpus = readings.gpus();
    let reporting = (gpus > 0).then(|| {
        datum(
            GPUS_REPORTING,
            &StandardUnit::Count,
            period,
            Vec::new(),
            &[(gpus as f64, 1)],
        )
    });
    let measured = readings.distributions(sets).flat_map(move |distribution| {
        let Distribution { field, of, values } = distribution;
        let parts: Vec<MetricDatum> = values
            .chunks(MAX_VALUES)
            .map(|values| datum(&field.metric, &field.unit, period, dimensions(of), values))
            .collect();
        parts
    });
    reporting.into_iter().chain(measured)
}

fn datum(
    metric: &str,
    unit: &StandardUnit,
    period: Period,
    dimensions: Vec<Dimension>,
    values: &[(f64, u32)],
) -> MetricDatum {
    let (values, counts) = values
        .iter()
        .map(|(value, count)| (*value, f64::from(*count)))
        .unzip();
    MetricDatum::builder()
        .metric_name(metric)
        .unit(unit.clone())
        .timestamp(DateTime::from_secs(period.start))
        .set_storage_resolution((period.end - period.start < 60).then_some(1))
        .set_dimensions((!dimensions.is_empty()).then_some(dimensions))
        .set_values(Some(values))
        .set_counts(Some(counts))
        .build()
}

fn dimensions(of: Subject<'_>) -> Vec<Dimension> {
    let dimension = |name: &str, value: &str| Dimension::builder().name(name).value(value).build();
    match of {
        Subject::Cluster => Vec::new(),
        Subject::Instance(id) => vec![dimension("InstanceId", id)],
        Subject::Gpu(gpu) => {
            let mut all = vec![
                dimension("InstanceId", &gpu.instance_id),
                dimension("GPU", &gpu.gpu),
            ];
            if !gpu.gpu_instance.is_empty() {
                all.push(dimension("GPUInstance", &gpu.gpu_instance));
            }
            all
        }
    }
}

/// Datums in the order given, as many to a request as fit.
pub fn requests(
    datums: impl Iterator<Item = MetricDatum>,
) -> impl Iterator<Item = Vec<MetricDatum>> {
    let mut datums = datums.peekable();
    std::iter::from_fn(move || {
        let mut request = Vec::new();
        let mut bytes = 0;
        while request.len() < MAX_DATUMS {
            let fits = |next: &MetricDatum| request.is_empty() || bytes + size(next) <= MAX_BYTES;
            let Some(next) = datums.next_if(fits) else {
                break;
            };
            bytes += size(&next);
            request.push(next);
        }
        (!request.is_empty()).then_some(request)
    })
}

/// No less than what a datum takes in CBOR: a number 9 bytes, a text its length and 3.
fn size(datum: &MetricDatum) -> usize {
    const FIELDS: usize = 128;
    let dimensions: usize = datum
        .dimensions()
        .iter()
        .map(|one| 24 + one.name().map_or(0, str::len) + one.value().map_or(0, str::len))
        .sum();
    FIELDS
        + datum.metric_name().map_or(0, str::len)
        + dimensions
        + 9 * (datum.values().len() + datum.counts().len())
}

/// What became of a period's requests.
#[derive(Debug, Default)]
pub struct Published {
    /// PutMetricData calls that CloudWatch accepted.
    pub requests: u64,
    /// Datums it accepted.
    pub datums: u64,
    /// Samples of datums that it refused one by one.
    pub refused: Dropped,
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
pub async fn publish(
    client: &Client,
    namespace: &str,
    requests: impl Iterator<Item = Vec<MetricDatum>> + Send,
) -> Result<Published, RunError> {
    stream::iter(requests)
        .map(|request| send(client, namespace, request))
        .buffer_unordered(PARALLEL_REQUESTS)
        .try_fold(Published::default(), |sum, one| async move {
            Ok(sum.merge(&one))
        })
        .await
}

fn send<'a>(
    client: &'a Client,
    namespace: &'a str,
    mut request: Vec<MetricDatum>,
) -> BoxFuture<'a, Result<Published, RunError>> {
    Box::pin(async move {
        let count = request.len() as u64;
        let error = match put(client, namespace, request.clone()).await {
            Ok(()) => {
                return Ok(Published {
                    requests: 1,
                    datums: count,
                    ..Published::default()
                });
            }
            Err(error) => error,
        };
        if !is_about_the_datums(&error) {
            return Err(failure(&error, namespace));
        }
        if let [alone] = &request[..] {
            let told = startup::chain(&error);
            tracing::warn!(
                metric = alone.metric_name(),
                error = told,
                "CloudWatch refuses a datum"
            );
            let mut refused = Dropped::default();
            refused.add(
                DropReason::RefusedByCloudWatch,
                alone.counts().iter().sum::<f64>() as usize,
            );
            return Ok(Published {
                refused,
                ..Published::default()
            });
        }
        let second = request.split_off(request.len() / 2);
        let first = send(client, namespace, request).await?;
        Ok(first.merge(&send(client, namespace, second).await?))
    })
}

async fn put(
    client: &Client,
    namespace: &str,
    datums: Vec<MetricDatum>,
) -> Result<(), SdkError<PutMetricDataError>> {
    let call = client
        .put_metric_data()
        .namespace(namespace)
        .set_metric_data(Some(datums));
    call.send().await.map(|_| ())
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
            RunError::Throttled(format!("CloudWatch: {}", startup::chain(error)).into())
        }
        _ => RunError::PublishFailed(startup::chain(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Period = Period {
        start: 1_700_000_040,
        end: 1_700_000_100,
    };

    fn of_length(length: usize, values: usize) -> MetricDatum {
        let values: Vec<(f64, u32)> = (0..values).map(|value| (value as f64, 1)).collect();
        let one = Dimension::builder()
            .name("InstanceId")
            .value("x".repeat(length))
            .build();
        datum(
            "GPUUtilization",
            &StandardUnit::Percent,
            MINUTE,
            vec![one],
            &values,
        )
    }

    #[test]
    fn a_thousand_and_one_datums_are_two_requests() {
        let datums = (0..1_001).map(|_| of_length(19, 4));
        let sizes: Vec<usize> = requests(datums).map(|request| request.len()).collect();
        assert_eq!(sizes, [1_000, 1]);
        assert_eq!(requests(std::iter::empty()).count(), 0);
    }

    #[test]
    fn short_periods_are_high_resolution() {
        let resolution = |seconds| {
            let period = Period {
                start: 0,
                end: seconds,
            };
            datum("X", &StandardUnit::None, period, Vec::new(), &[(1.0, 1)]).storage_resolution()
        };
        assert_eq!([1, 5, 30].map(resolution), [Some(1); 3]);
        assert_eq!([60, 300].map(resolution), [None; 2]);
    }

    proptest! {
        #[test]
        fn requests_hold_every_datum_once_in_order_and_keep_the_limits(
            shapes in prop::collection::vec((1usize..1_024, 1usize..=150), 0..3_000),
        ) {
            let all: Vec<_> =
                shapes.iter().map(|(length, values)| of_length(*length, *values)).collect();
            let requests: Vec<_> = requests(all.iter().cloned()).collect();
            for request in &requests {
                prop_assert!(!request.is_empty() && request.len() <= MAX_DATUMS);
                prop_assert!(request.iter().map(size).sum::<usize>() <= MAX_BYTES);
            }
            prop_assert_eq!(requests.concat(), all);
        }
    }
}
