//! Every limit of PutMetricData: accepted just inside, the whole request refused just outside.

use aws_sdk_cloudwatch::error::ProvideErrorMetadata;
use aws_sdk_cloudwatch::types::builders::MetricDatumBuilder;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit, StatisticSet};
use testkit::doubles::cloudwatch::{Failure, Outcome};

use super::*;

fn statistic_set(sample_count: f64, minimum: f64, maximum: f64) -> StatisticSet {
    StatisticSet::builder()
        .sample_count(sample_count)
        .sum(4.0)
        .minimum(minimum)
        .maximum(maximum)
        .build()
}

/// One limit: a request just inside it, one just outside, and what CloudWatch says to that.
struct Limit {
    name: &'static str,
    inside: (String, Vec<MetricDatum>),
    outside: (String, Vec<MetricDatum>),
    failure: Failure,
    says: &'static str,
}

/// A limit of a request as a whole.
fn request_limit(
    name: &'static str,
    inside: (&str, Vec<MetricDatum>),
    outside: (&str, Vec<MetricDatum>),
    failure: Failure,
    says: &'static str,
) -> Limit {
    Limit {
        name,
        inside: (inside.0.to_owned(), inside.1),
        outside: (outside.0.to_owned(), outside.1),
        failure,
        says,
    }
}

/// A limit of one datum. Outside it stands behind a good one, which must be lost with it.
fn datum_limit(
    name: &'static str,
    inside: MetricDatumBuilder,
    outside: MetricDatumBuilder,
    failure: Failure,
    says: &'static str,
) -> Limit {
    Limit {
        name,
        inside: (NAMESPACE.into(), vec![inside.build()]),
        outside: (NAMESPACE.into(), vec![datum().build(), outside.build()]),
        failure,
        says,
    }
}

fn limits_of_requests() -> Vec<Limit> {
    use Failure::{InvalidParameterValue, MissingParameter};
    let one = || vec![datum().build()];
    let name = |length| "n".repeat(length);
    vec![
        request_limit(
            "1,000 datums",
            (NAMESPACE, vec![datum().build(); 1000]),
            (NAMESPACE, vec![datum().build(); 1001]),
            InvalidParameterValue,
            "The collection MetricData must not have a size greater than 1000.",
        ),
        request_limit(
            "some datum",
            (NAMESPACE, one()),
            (NAMESPACE, vec![]),
            MissingParameter,
            "The parameter MetricData is required.",
        ),
        request_limit(
            "namespace present",
            ("n", one()),
            ("", one()),
            MissingParameter,
            "The parameter Namespace is required.",
        ),
        request_limit(
            "namespace length",
            (&name(255), one()),
            (&name(256), one()),
            InvalidParameterValue,
            "The parameter Namespace must be shorter than 256 characters.",
        ),
        request_limit(
            "namespace's leading colon",
            ("a:b", one()),
            (":ab", one()),
            InvalidParameterValue,
            "The value :ab for parameter Namespace is invalid.",
        ),
        request_limit(
            "namespace of AWS",
            ("AWSome/GPU", one()),
            ("AWS/GPU", one()),
            InvalidParameterValue,
            "The value AWS/ for parameter Namespace is invalid.",
        ),
        request_limit(
            "namespace in ASCII",
            ("GPU ~", one()),
            ("GPU \u{e9}", one()),
            InvalidParameterValue,
            "The value for parameter Namespace contains non-ASCII characters.",
        ),
        request_limit(
            "namespace without control characters",
            ("a b", one()),
            ("a\tb", one()),
            InvalidParameterValue,
            "The value for parameter Namespace contains ASCII control characters.",
        ),
    ]
}

fn limits_of_names() -> Vec<Limit> {
    use Failure::{InvalidParameterValue, MissingParameter};
    let text = |length| "n".repeat(length);
    let metric = |name: &str| named(name).value(1.0).timestamp(time(NOW));
    let with = |name: &str, value: &str| datum().dimensions(dimension(name, value));
    vec![
        datum_limit(
            "metric name present",
            metric("n"),
            unvalued().set_metric_name(None).value(1.0),
            MissingParameter,
            "The parameter MetricData.member.2.MetricName is required.",
        ),
        datum_limit(
            "metric name not blank",
            metric(" n "),
            metric("  "),
            MissingParameter,
            "The parameter MetricData.member.2.MetricName is required.",
        ),
        datum_limit(
            "metric name length",
            metric(&text(255)),
            metric(&text(256)),
            InvalidParameterValue,
            "The parameter MetricData.member.2.MetricName must be shorter than 256 characters.",
        ),
        datum_limit(
            "metric name in ASCII",
            metric("~"),
            metric("\u{e9}"),
            InvalidParameterValue,
            "The value for parameter MetricData.member.2.MetricName contains non-ASCII characters.",
        ),
        datum_limit(
            "30 dimensions",
            datum().set_dimensions(Some(dimensions(30))),
            datum().set_dimensions(Some(dimensions(31))),
            InvalidParameterValue,
            "The collection MetricData.member.2.Dimensions must not have a size greater than 30.",
        ),
        datum_limit(
            "dimension names differ",
            with("GPU", "0").dimensions(dimension("gpu", "0")),
            with("GPU", "0").dimensions(dimension("GPU", "1")),
            InvalidParameterValue,
            "No metric may specify the same dimension name twice.",
        ),
        datum_limit(
            "dimension name length",
            with(&text(255), "v"),
            with(&text(256), "v"),
            InvalidParameterValue,
            "The parameter MetricData.member.2.Dimensions.member.1.Name must be shorter than 256 \
             characters.",
        ),
        datum_limit(
            "dimension name's leading colon",
            with("a:", "v"),
            with(":a", "v"),
            InvalidParameterValue,
            "The value :a for parameter MetricData.member.2.Dimensions.member.1.Name is invalid.",
        ),
        datum_limit(
            "dimension name present",
            with("n", "v"),
            with("", "v"),
            MissingParameter,
            "The parameter MetricData.member.2.Dimensions.member.1.Name is required.",
        ),
        datum_limit(
            "dimension value present",
            with("n", "v"),
            datum().dimensions(Dimension::builder().name("n").build()),
            MissingParameter,
            "The parameter MetricData.member.2.Dimensions.member.1.Value is required.",
        ),
        datum_limit(
            "dimension value not blank",
            with("n", " v"),
            with("n", " "),
            MissingParameter,
            "The parameter MetricData.member.2.Dimensions.member.1.Value is required.",
        ),
        datum_limit(
            "dimension value length",
            with("n", &text(1024)),
            with("n", &text(1025)),
            InvalidParameterValue,
            "The parameter MetricData.member.2.Dimensions.member.1.Value must be shorter than 1025 \
             characters.",
        ),
        datum_limit(
            "dimension value in ASCII",
            with("n", ":~"),
            with("n", "node-\u{c5}"),
            InvalidParameterValue,
            "The value for parameter MetricData.member.2.Dimensions.member.1.Value contains \
             non-ASCII characters.",
        ),
        datum_limit(
            "dimension value without control characters",
            with("n", "a b"),
            with("n", "a\u{7f}b"),
            InvalidParameterValue,
            "The value for parameter MetricData.member.2.Dimensions.member.1.Value contains ASCII \
             control characters.",
        ),
    ]
}

fn limits_of_values() -> Vec<Limit> {
    use Failure::{InvalidParameterCombination, InvalidParameterValue, MissingParameter};
    let value = |value| unvalued().value(value);
    let values = |count: u32| unvalued().set_values(Some((0..count).map(f64::from).collect()));
    let counts = |counts: &[f64]| values(2).set_counts(Some(counts.to_vec()));
    let set = |set| unvalued().statistic_values(set);
    let largest = 2f64.powi(360);
    let smallest = 2f64.powi(-360);
    let invalid = |name, inside, outside, says| {
        datum_limit(name, inside, outside, InvalidParameterValue, says)
    };
    vec![
        invalid(
            "150 values",
            values(150),
            values(151),
            "The collection MetricData.member.2.Values must not have a size greater than 150.",
        ),
        invalid(
            "a count for each value",
            counts(&[1.0, 2.0]),
            counts(&[1.0]),
            "The parameters MetricData.member.2.Values and MetricData.member.2.Counts must be of \
             the same size.",
        ),
        invalid(
            "positive counts",
            counts(&[1.0, 0.5]),
            counts(&[1.0, 0.0]),
            "The value 0.0 for parameter MetricData.member.2.Counts.member.2 is invalid.",
        ),
        invalid(
            "finite counts",
            counts(&[1.0, 1e9]),
            counts(&[1.0, f64::INFINITY]),
            "The value inf for parameter MetricData.member.2.Counts.member.2 is invalid.",
        ),
        invalid(
            "numbers",
            value(0.0),
            value(f64::NAN),
            "The value NaN for parameter MetricData.member.2.Value is invalid.",
        ),
        invalid(
            "numbers among values",
            values(1),
            unvalued().values(1.0).values(f64::NEG_INFINITY),
            "The value -inf for parameter MetricData.member.2.Values.member.2 is invalid.",
        ),
        invalid(
            "largest value",
            value(largest),
            value(largest.next_up()),
            "for parameter MetricData.member.2.Value is invalid.",
        ),
        invalid(
            "largest negative value",
            value(-largest),
            value(-largest.next_up()),
            "for parameter MetricData.member.2.Value is invalid.",
        ),
        invalid(
            "smallest value",
            value(smallest),
            value(smallest.next_down()),
            "for parameter MetricData.member.2.Value is invalid.",
        ),
        invalid(
            "statistic set in order",
            set(statistic_set(2.0, 1.0, 3.0)),
            set(statistic_set(2.0, 3.0, 1.0)),
            "The parameter MetricData.member.2.StatisticValues.Maximum must be greater than",
        ),
        invalid(
            "statistic set of some samples",
            set(statistic_set(1.0, 4.0, 4.0)),
            set(statistic_set(0.0, 4.0, 4.0)),
            "for parameter MetricData.member.2.StatisticValues.SampleCount is invalid.",
        ),
        datum_limit(
            "whole statistic set",
            set(statistic_set(1.0, 4.0, 4.0)),
            set(StatisticSet::builder().sum(4.0).build()),
            MissingParameter,
            "The parameter MetricData.member.2.StatisticValues.SampleCount is required.",
        ),
        datum_limit(
            "any value",
            datum(),
            unvalued(),
            MissingParameter,
            "At least one of the parameters MetricData.member.2.Value",
        ),
        datum_limit(
            "value or values",
            datum(),
            datum().values(1.0),
            InvalidParameterCombination,
            "The parameters MetricData.member.2.Value and MetricData.member.2.Values are mutually \
             exclusive and you have specified both.",
        ),
        datum_limit(
            "value or statistic set",
            datum(),
            datum().statistic_values(statistic_set(1.0, 4.0, 4.0)),
            InvalidParameterCombination,
            "The parameters MetricData.member.2.Value and MetricData.member.2.StatisticValues are \
             mutually exclusive and you have specified both.",
        ),
        datum_limit(
            "values or statistic set",
            values(1),
            values(1).statistic_values(statistic_set(1.0, 4.0, 4.0)),
            InvalidParameterCombination,
            "The parameters MetricData.member.2.Values and MetricData.member.2.StatisticValues are \
             mutually exclusive and you have specified both.",
        ),
    ]
}

fn limits_of_time_and_kind() -> Vec<Limit> {
    let at = |seconds| datum().timestamp(time(seconds));
    let resolution = |seconds| datum().storage_resolution(seconds);
    let invalid = |name, inside, outside, says| {
        datum_limit(name, inside, outside, Failure::InvalidParameterValue, says)
    };
    vec![
        invalid(
            "two weeks past",
            at(NOW - TWO_WEEKS),
            at(NOW - TWO_WEEKS - 1),
            "The parameter MetricData.member.2.Timestamp must specify a time within the past two \
             weeks.",
        ),
        invalid(
            "two hours future",
            at(NOW + TWO_HOURS),
            at(NOW + TWO_HOURS + 1),
            "The parameter MetricData.member.2.Timestamp must specify a time within the past two \
             weeks.",
        ),
        invalid(
            "units",
            datum().unit(StandardUnit::TerabitsSecond),
            datum().unit("Watts".into()),
            "The parameter MetricData.member.2.Unit must be a value in the set [ Seconds, ",
        ),
        invalid(
            "high resolution",
            resolution(1),
            resolution(2),
            "The parameter MetricData.member.2.StorageResolution must be a value in the set",
        ),
        invalid(
            "standard resolution",
            resolution(60),
            resolution(59),
            "The parameter MetricData.member.2.StorageResolution must be a value in the set",
        ),
    ]
}

#[tokio::test]
async fn each_limit_holds_and_costs_the_whole_request() {
    let limits = [
        limits_of_requests(),
        limits_of_names(),
        limits_of_values(),
        limits_of_time_and_kind(),
    ];
    for limit in limits.into_iter().flatten() {
        let (cloudwatch, client) = start().await;
        let (name, (namespace, datums)) = (limit.name, limit.inside);
        let stored = datums.len();
        let inside = put(&client, &namespace, datums).await;
        assert!(inside.is_ok(), "inside {name}: {inside:?}");
        assert_eq!(cloudwatch.datums().len(), stored, "inside {name}");

        let (namespace, datums) = limit.outside;
        let error = put(&client, &namespace, datums).await.unwrap_err();
        let error = error.into_service_error();
        let message = error.message().unwrap_or_default();
        assert!(message.contains(limit.says), "outside {name}: {message}");
        assert_eq!(
            error.code(),
            Some(&*format!("{:?}", limit.failure)),
            "outside {name}"
        );
        let is_typed = match limit.failure {
            Failure::InvalidParameterValue => error.is_invalid_parameter_value_exception(),
            Failure::MissingParameter => error.is_missing_required_parameter_exception(),
            _ => error.is_invalid_parameter_combination_exception(),
        };
        assert!(is_typed, "outside {name}: {error:?}");
        assert_eq!(cloudwatch.datums().len(), stored, "outside {name}");
        let outcomes: Vec<_> = cloudwatch
            .requests()
            .into_iter()
            .map(|r| r.outcome)
            .collect();
        let expected = [Outcome::Accepted, Outcome::Refused(limit.failure)];
        assert_eq!(outcomes, expected, "{name}");
    }
}

#[tokio::test]
async fn every_violation_of_a_kind_is_told() {
    let (_cloudwatch, client) = start().await;
    let bad = vec![
        datum().value(f64::NAN).build(),
        datum().build(),
        datum().timestamp(time(0)).build(),
    ];
    let error = put(&client, NAMESPACE, bad).await.unwrap_err();
    assert_eq!(
        error.into_service_error().message(),
        Some(
            "The value NaN for parameter MetricData.member.1.Value is invalid.\nThe parameter \
             MetricData.member.3.Timestamp must specify a time within the past two weeks."
        )
    );
}
