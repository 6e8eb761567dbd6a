//! Distributions into datums, datums into requests within every limit, requests to CloudWatch.
//!
//! PutMetricData takes a request whole or not at all, so everything known to be refused is left
//! out before (`sample`, `fleet`, `config`), and a request refused all the same is halved until
//! the bad datum stands alone.

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use aws_smithy_types::DateTime;
use futures_util::future::{BoxFuture, FutureExt};
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

/// One `MetricDatum` to be: names are borrowed, so that a request is cheap to keep until it is
/// accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum<'r> {
    /// `MetricName`.
    pub metric: &'r str,
    /// `Unit`.
    pub unit: &'r StandardUnit,
    /// Its start is the `Timestamp`.
    pub period: Period,
    /// Says the `Dimensions`.
    pub of: Subject<'r>,
    /// `Values` and `Counts`.
    pub values: Vec<(f64, u32)>,
}

/// Every datum of a period, made one at a time: a period of 10,000 nodes has half a million.
pub fn datums<'r>(
    readings: &PeriodReadings<'r>,
    sets: &[DimensionSet],
) -> impl Iterator<Item = Datum<'r>> + Send + use<'r> {
    static COUNT: StandardUnit = StandardUnit::Count;
    let period = readings.period;
    let gpus = readings.gpus();
    let reporting = (gpus > 0).then(|| Datum {
        metric: GPUS_REPORTING,
        unit: &COUNT,
        period,
        of: Subject::Cluster,
        values: vec![(gpus as f64, 1)],
    });
    let measured = readings.distributions(sets).flat_map(move |distribution| {
        let Distribution {
            field,
            of,
            mut values,
        } = distribution;
        std::iter::from_fn(move || {
            let values = match values.len().saturating_sub(MAX_VALUES) {
                0 => std::mem::take(&mut values),
                over => values.split_off(over),
            };
            (!values.is_empty()).then_some(Datum {
                metric: &field.metric,
                unit: &field.unit,
                period,
                of,
                values,
            })
        })
    });
    reporting.into_iter().chain(measured)
}

impl Datum<'_> {
    /// 1 where CloudWatch is to keep the datum by the second.
    pub fn storage_resolution(&self) -> Option<i32> {
        (self.period.end - self.period.start < 60).then_some(1)
    }

    /// `Values`, `Counts`.
    pub fn values_and_counts(&self) -> (Vec<f64>, Vec<f64>) {
        self.values
            .iter()
            .map(|(value, count)| (*value, f64::from(*count)))
            .unzip()
    }

    /// How many samples it stands for.
    fn samples(&self) -> usize {
        self.values.iter().map(|(_, count)| *count as usize).sum()
    }

    /// No less than what it takes in CBOR: a number 9 bytes, a text its length and 3.
    fn size(&self) -> usize {
        const FIELDS: usize = 128;
        let dimensions: usize = self
            .of
            .dimensions()
            .map(|(name, value)| 24 + name.len() + value.len())
            .sum();
        FIELDS + self.metric.len() + dimensions + 2 * 9 * self.values.len()
    }
}

impl From<&Datum<'_>> for MetricDatum {
    fn from(datum: &Datum<'_>) -> Self {
        let dimensions: Vec<Dimension> = datum
            .of
            .dimensions()
            .map(|(name, value)| Dimension::builder().name(name).value(value).build())
            .collect();
        let (values, counts) = datum.values_and_counts();
        Self::builder()
            .metric_name(datum.metric)
            .unit(datum.unit.clone())
            .timestamp(DateTime::from_secs(datum.period.start))
            .set_storage_resolution(datum.storage_resolution())
            .set_dimensions((!dimensions.is_empty()).then_some(dimensions))
            .set_values(Some(values))
            .set_counts(Some(counts))
            .build()
    }
}

/// Datums in the order given, as many to a request as fit.
pub fn requests<'r>(
    datums: impl Iterator<Item = Datum<'r>>,
) -> impl Iterator<Item = Vec<Datum<'r>>> {
    let mut datums = datums.peekable();
    std::iter::from_fn(move || {
        let mut request = Vec::new();
        let mut bytes = 0;
        while request.len() < MAX_DATUMS {
            let fits = |next: &Datum<'_>| request.is_empty() || bytes + next.size() <= MAX_BYTES;
            let Some(next) = datums.next_if(fits) else {
                break;
            };
            bytes += next.size();
            request.push(next);
        }
        (!request.is_empty()).then_some(request)
    })
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
pub fn publish<'a>(
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
        let error = match put(client, namespace, request).await {
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
            let told = startup::error_chain(&error);
            tracing::warn!(
                metric = alone.metric,
                error = told,
                "CloudWatch refuses a datum"
            );
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

async fn put(
    client: &Client,
    namespace: &str,
    datums: &[Datum<'_>],
) -> Result<(), SdkError<PutMetricDataError>> {
    let call = client
        .put_metric_data()
        .namespace(namespace)
        .set_metric_data(Some(datums.iter().map(MetricDatum::from).collect()));
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
            RunError::Throttled(format!("CloudWatch: {}", startup::error_chain(error)).into())
        }
        _ => RunError::PublishFailed(startup::error_chain(error).into()),
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

    fn of_instance(id: &str, values: usize) -> Datum<'_> {
        Datum {
            metric: "GPUUtilization",
            unit: &StandardUnit::Percent,
            period: MINUTE,
            of: Subject::Instance(id),
            values: (0..values).map(|value| (value as f64, 1)).collect(),
        }
    }

    #[test]
    fn a_thousand_and_one_datums_are_two_requests() {
        let datums = (0..1_001).map(|_| of_instance("i-0123456789abcdef0", 4));
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
            let datum = Datum {
                period,
                ..of_instance("i-0", 1)
            };
            MetricDatum::from(&datum).storage_resolution()
        };
        assert_eq!([1, 5, 30].map(resolution), [Some(1); 3]);
        assert_eq!([60, 300].map(resolution), [None; 2]);
    }

    proptest! {
        // Each case makes and copies some hundred thousand values.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn requests_hold_every_datum_once_in_order_and_keep_the_limits(
            shapes in prop::collection::vec((1usize..1_024, 1usize..=150), 0..3_000),
        ) {
            let longest = "x".repeat(1_024);
            let all: Vec<_> =
                shapes.iter().map(|(length, values)| of_instance(&longest[..*length], *values)).collect();
            let requests: Vec<_> = requests(all.iter().cloned()).collect();
            for request in &requests {
                prop_assert!(!request.is_empty() && request.len() <= MAX_DATUMS);
                prop_assert!(request.iter().map(Datum::size).sum::<usize>() <= MAX_BYTES);
            }
            prop_assert_eq!(requests.concat(), all);
        }
    }
}
