//! What PutMetricData accepts. The numbers are from
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html> and the
//! pages of its types; the messages are CloudWatch's own where users have quoted them.

use std::collections::BTreeMap;
use std::fmt::Arguments;

use super::api::{Dimension, MetricDatum, PutMetricDataInput, StatisticSet, StatisticValues};
use super::failure::{Failure, Refusal};
use super::store::Datum;
use super::wire::Number;

/// "limited to 1 MB in size for HTTP POST requests". CloudWatch counted the older limit of 40 KB in
/// 1024s; the smaller reading, and the body before gzip, are the safe side.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const LARGEST_BODY_BYTES: usize = 1_000_000;
/// "The array can include no more than 1000 metrics per call."
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
const MOST_DATUMS: usize = 1000;
/// "You can include up to 150 unique values".
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const MOST_VALUES: usize = 150;
/// "Maximum number of 30 items."
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const MOST_DIMENSIONS: usize = 30;
/// Namespace, MetricName, and <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>.
const LONGEST_NAME: usize = 255;
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>
const LONGEST_DIMENSION_VALUE: usize = 1024;
/// "Values must be in the range of -2^360 to 2^360."
const LARGEST_VALUE: f64 = f64::from_bits((1023 + 360) << 52);
/// "rejects values that are either too small or too large", the small end as the older text has it:
/// "2e-360 to 2e360 (Base 2)".
const SMALLEST_VALUE: f64 = f64::from_bits((1023 - 360) << 52);
/// "time stamps that are as much as two weeks before the current date"
const LONGEST_PAST_MS: i64 = 14 * 24 * 3600 * 1000;
/// "and as much as 2 hours after the current day and time"
const LONGEST_FUTURE_MS: i64 = 2 * 3600 * 1000;
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const UNITS: &str = "Seconds, Microseconds, Milliseconds, Bytes, Kilobytes, Megabytes, Gigabytes, \
    Terabytes, Bits, Kilobits, Megabits, Gigabits, Terabits, Percent, Count, Bytes/Second, \
    Kilobytes/Second, Megabytes/Second, Gigabytes/Second, Terabytes/Second, Bits/Second, \
    Kilobits/Second, Megabits/Second, Gigabits/Second, Terabits/Second, Count/Second, None";

/// Refuses a body that is too long, gzip taken off.
pub(super) fn check_size(bytes: usize) -> Result<(), Refusal> {
    if bytes <= LARGEST_BODY_BYTES {
        return Ok(());
    }
    Err(Failure::RequestEntityTooLarge.because(format!(
        "Request size {bytes} exceeded {LARGEST_BODY_BYTES} bytes"
    )))
}

/// The datums of a request, or everything that is wrong with it.
pub(super) fn check(input: PutMetricDataInput, now_ms: i64) -> Result<Vec<Datum>, Refusal> {
    let mut check = Check {
        now_ms,
        violations: Vec::new(),
    };
    let namespace = check.namespace(input.namespace);
    let datums = input.metric_data.unwrap_or_default();
    if datums.is_empty() {
        check.missing(format_args!("MetricData"));
    }
    check.size(format_args!("MetricData"), datums.len(), MOST_DATUMS);
    let datums = (1..)
        .zip(datums)
        .map(|(n, datum)| check.datum(&namespace, format_args!("MetricData.member.{n}"), datum))
        .collect();
    check.verdict().map(|()| datums)
}

/// Collects violations, for CloudWatch tells all of a kind together, one a line.
struct Check {
    now_ms: i64,
    violations: Vec<(Failure, String)>,
}

impl Check {
    fn verdict(self) -> Result<(), Refusal> {
        let Some(&(failure, _)) = self.violations.first() else {
            return Ok(());
        };
        let messages: Vec<_> = self
            .violations
            .into_iter()
            .filter_map(|(kind, message)| (kind == failure).then_some(message))
            .collect();
        Err(failure.because(messages.join("\n")))
    }

    fn missing(&mut self, parameter: Arguments<'_>) {
        let message = format!("The parameter {parameter} is required.");
        self.violations.push((Failure::MissingParameter, message));
    }

    fn invalid(&mut self, message: String) {
        self.violations
            .push((Failure::InvalidParameterValue, message));
    }

    fn size(&mut self, collection: Arguments<'_>, size: usize, most: usize) {
        if size > most {
            self.invalid(format!(
                "The collection {collection} must not have a size greater than {most}."
            ));
        }
    }

    fn namespace(&mut self, namespace: Option<String>) -> String {
        let namespace = self.text(format_args!("Namespace"), namespace, LONGEST_NAME);
        self.no_leading_colon(format_args!("Namespace"), &namespace);
        // "you should not specify a namespace that begins with AWS/"
        if namespace.starts_with("AWS/") {
            self.invalid("The value AWS/ for parameter Namespace is invalid.".into());
        }
        namespace
    }

    fn datum(&mut self, namespace: &str, at: Arguments<'_>, mut datum: MetricDatum) -> Datum {
        Datum {
            namespace: namespace.to_owned(),
            name: self.text(
                format_args!("{at}.MetricName"),
                datum.metric_name.take(),
                LONGEST_NAME,
            ),
            dimensions: self.dimensions(at, datum.dimensions.take().unwrap_or_default()),
            timestamp_ms: self.timestamp(at, datum.timestamp.map_or(self.now_ms, |t| t.0)),
            values: self.values(at, &datum),
            statistics: datum
                .statistic_values
                .map(|set| self.statistic_set(format_args!("{at}.StatisticValues"), &set)),
            storage_resolution: self.storage_resolution(at, datum.storage_resolution),
            unit: self.unit(at, datum.unit),
        }
    }

    fn dimensions(
        &mut self,
        at: Arguments<'_>,
        dimensions: Vec<Dimension>,
    ) -> BTreeMap<String, String> {
        self.size(
            format_args!("{at}.Dimensions"),
            dimensions.len(),
            MOST_DIMENSIONS,
        );
        let mut by_name = BTreeMap::new();
        for (n, dimension) in (1..).zip(dimensions) {
            let at = format_args!("{at}.Dimensions.member.{n}");
            let name = self.text(format_args!("{at}.Name"), dimension.name, LONGEST_NAME);
            self.no_leading_colon(format_args!("{at}.Name"), &name);
            let value = self.text(
                format_args!("{at}.Value"),
                dimension.value,
                LONGEST_DIMENSION_VALUE,
            );
            if by_name.insert(name, value).is_some() {
                self.invalid("No metric may specify the same dimension name twice.".into());
            }
        }
        by_name
    }

    fn timestamp(&mut self, at: Arguments<'_>, timestamp_ms: i64) -> i64 {
        let age_ms = self.now_ms - timestamp_ms;
        if !(-LONGEST_FUTURE_MS..=LONGEST_PAST_MS).contains(&age_ms) {
            self.invalid(format!(
                "The parameter {at}.Timestamp must specify a time within the past two weeks."
            ));
        }
        timestamp_ms
    }

    /// Value, or Values with Counts, as values and how often each occurred.
    fn values(&mut self, at: Arguments<'_>, datum: &MetricDatum) -> Vec<(f64, f64)> {
        let values = datum.values.as_deref().unwrap_or_default();
        let counts = datum.counts.as_deref().unwrap_or_default();
        self.one_kind_of_value(at, datum, !values.is_empty());
        self.size(format_args!("{at}.Values"), values.len(), MOST_VALUES);
        if !counts.is_empty() && counts.len() != values.len() {
            self.invalid(format!(
                "The parameters {at}.Values and {at}.Counts must be of the same size."
            ));
        }
        for (n, count) in (1..).zip(counts) {
            self.count(format_args!("{at}.Counts.member.{n}"), count.0);
        }
        for (n, value) in (1..).zip(values) {
            self.value(format_args!("{at}.Values.member.{n}"), value.0);
        }
        match datum.value {
            Some(Number(value)) => {
                self.value(format_args!("{at}.Value"), value);
                vec![(value, 1.0)]
            }
            // "If you omit the Counts array, the default of 1 is used"
            None => {
                let counts = counts.iter().map(|count| count.0);
                let counts = counts.chain(std::iter::repeat(1.0));
                values.iter().map(|value| value.0).zip(counts).collect()
            }
        }
    }

    /// CloudWatch has been seen to accept Values together with StatisticValues, undocumented and
    /// without a meaning; nobody should send it, so it is refused like the other pairs.
    /// <https://github.com/localstack/localstack/blob/main/tests/aws/services/cloudwatch/test_cloudwatch.py>
    fn one_kind_of_value(&mut self, at: Arguments<'_>, datum: &MetricDatum, has_values: bool) {
        let kinds = [
            ("Value", datum.value.is_some()),
            ("Values", has_values),
            ("StatisticValues", datum.statistic_values.is_some()),
        ];
        let mut given = kinds.iter().filter_map(|&(kind, is)| is.then_some(kind));
        match (given.next(), given.next()) {
            (None, _) => self.violations.push((
                Failure::MissingParameter,
                format!(
                    "At least one of the parameters {at}.Value, {at}.Values or \
                     {at}.StatisticValues must be specified."
                ),
            )),
            (Some(one), Some(other)) => self.violations.push((
                Failure::InvalidParameterCombination,
                format!(
                    "The parameters {at}.{one} and {at}.{other} are mutually exclusive and you \
                     have specified both."
                ),
            )),
            (Some(_), None) => {}
        }
    }

    fn statistic_set(&mut self, at: Arguments<'_>, set: &StatisticValues) -> StatisticSet {
        let mut member = |name: &str, number: Option<Number>| {
            let parameter = format_args!("{at}.{name}");
            match number {
                Some(Number(value)) => self.value(parameter, value),
                None => self.missing(parameter),
            }
            number.map_or(f64::NAN, |number| number.0)
        };
        let set = StatisticSet {
            sample_count: member("SampleCount", set.sample_count),
            sum: member("Sum", set.sum),
            minimum: member("Minimum", set.minimum),
            maximum: member("Maximum", set.maximum),
        };
        self.count(format_args!("{at}.SampleCount"), set.sample_count);
        if set.maximum < set.minimum {
            self.invalid(format!(
                "The parameter {at}.Maximum must be greater than {at}.Minimum."
            ));
        }
        set
    }

    fn value(&mut self, parameter: Arguments<'_>, value: f64) {
        let in_range = value == 0.0 || (SMALLEST_VALUE..=LARGEST_VALUE).contains(&value.abs());
        if !in_range {
            self.invalid(format!(
                "The value {value:?} for parameter {parameter} is invalid."
            ));
        }
    }

    fn count(&mut self, parameter: Arguments<'_>, count: f64) {
        if !(count > 0.0 && count.is_finite()) {
            self.invalid(format!(
                "The value {count:?} for parameter {parameter} is invalid."
            ));
        }
    }

    fn unit(&mut self, at: Arguments<'_>, unit: Option<String>) -> String {
        let unit = unit.unwrap_or_else(|| "None".into());
        if !UNITS.split(", ").any(|known| known == unit) {
            self.invalid(format!(
                "The parameter {at}.Unit must be a value in the set [ {UNITS} ]."
            ));
        }
        unit
    }

    /// "Valid values are 1 and 60. [...] if you do not specify it the default of 60 is used."
    fn storage_resolution(&mut self, at: Arguments<'_>, seconds: Option<i64>) -> i64 {
        let seconds = seconds.unwrap_or(60);
        if ![1, 60].contains(&seconds) {
            self.invalid(format!(
                "The parameter {at}.StorageResolution must be a value in the set [ 1, 60 ]."
            ));
        }
        seconds
    }

    /// "must contain only ASCII characters, must include at least one non-whitespace character [...]
    /// ASCII control characters are not supported". Blank counts as absent:
    /// <https://github.com/awslabs/amazon-kinesis-producer/pull/594>.
    fn text(&mut self, parameter: Arguments<'_>, text: Option<String>, longest: usize) -> String {
        let text = text.unwrap_or_default();
        if text.trim().is_empty() {
            self.missing(parameter);
        }
        if !text.is_ascii() {
            self.invalid(format!(
                "The value for parameter {parameter} contains non-ASCII characters."
            ));
        }
        if text.contains(|c: char| c.is_ascii_control()) {
            self.invalid(format!(
                "The value for parameter {parameter} contains ASCII control characters."
            ));
        }
        if text.chars().count() > longest {
            let limit = longest + 1;
            self.invalid(format!(
                "The parameter {parameter} must be shorter than {limit} characters."
            ));
        }
        text
    }

    /// Pattern `[^:].*` of a namespace; a dimension name "cannot start with a colon (:)".
    fn no_leading_colon(&mut self, parameter: Arguments<'_>, text: &str) {
        if text.starts_with(':') {
            self.invalid(format!(
                "The value {text} for parameter {parameter} is invalid."
            ));
        }
    }
}
