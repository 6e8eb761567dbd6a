//! All that CloudWatch accepts, in one place.

use std::ops::RangeInclusive;

/// Datums of one request.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
pub(crate) const MAX_DATUMS: usize = 1_000;

/// Bytes of one request before compression: 1 MB, less 1 % for what is around the datums.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricData.html>
pub(crate) const MAX_BYTES: usize = 990_000;

/// Distinct values of one datum.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
pub(crate) const MAX_VALUES: usize = 150;

/// Requests under way at once. 8 of them at 20 ms each are 400 a second; the quota of an account and
/// region is 500. <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_limits.html>
pub(crate) const PARALLEL_REQUESTS: usize = 8;

/// A value, from -2^360 to 2^360; 0, or no closer to it than 2^-360.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
pub(crate) const VALUES: RangeInclusive<f64> =
    -2.348_542_582_773_833_2e108..=2.348_542_582_773_833_2e108;

/// Seconds of a period under which a datum is stored in high resolution.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/publishingMetrics.html#high-resolution-metrics>
pub(crate) const STANDARD_RESOLUTION_SECONDS: i64 = 60;

/// Samples may be two weeks old. The 15 minutes are for the run, which may take that long until it comes
/// to send them.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
const MAX_AGE_SECONDS: i64 = 14 * 86_400 - 900;

/// The oldest time that is accepted, whenever a run that begins at `clock` sends it. Both in seconds since
/// the epoch.
pub(crate) fn oldest_accepted(clock: i64) -> i64 {
    clock - MAX_AGE_SECONDS
}

/// Whether a text may be a dimension's value: 1 to 1,024 ASCII characters, no control character, not all
/// blank.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_Dimension.html>
pub(crate) fn is_dimension_value(text: &str) -> bool {
    text.len() <= 1_024
        && text
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
        && text.bytes().any(|byte| byte != b' ')
}

/// Whether a text may name a metric: 1 to 255 ASCII characters, no control character, not all blank.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
pub(crate) fn is_metric_name(text: &str) -> bool {
    text.len() <= 255 && is_dimension_value(text)
}

/// Whether a text may be a namespace: at most 255 of `A-Z a-z 0-9 . - _ / # :` and blanks, beginning
/// neither with `:` nor with `AWS/`.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch_concepts.html#Namespace>
pub(crate) fn is_namespace(text: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/#: ".contains(&byte);
    text.len() <= 255
        && text.bytes().all(is_allowed)
        && !text.starts_with(':')
        && !text.to_ascii_uppercase().starts_with("AWS/")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::reading::{ANY, validate};

    #[test]
    fn a_dimension_s_value_is_short_printable_ascii() {
        let long = "x".repeat(1_025);
        let refused = [
            "",
            " ",
            "nœud-1",
            "i-1\n2026 ERROR forged line",
            "0\u{7f}",
            &long,
        ];
        for text in refused {
            assert!(!is_dimension_value(text), "{text:?}");
        }
        for text in ["0", " 0", "i-0123456789abcdef0", &long[1..]] {
            assert!(is_dimension_value(text), "{text:?}");
        }
        assert!(is_metric_name(&long[..255]) && !is_metric_name(&long[..256]));
    }

    #[test]
    fn values_are_bounded_by_two_to_the_360() {
        assert_eq!(*VALUES.end(), 2f64.powi(360));
        assert_eq!(*VALUES.start(), -2f64.powi(360));
    }

    proptest! {
        #[test]
        fn every_valid_reading_can_be_published(bits in any::<u64>()) {
            if let Ok(value) = validate(f64::from_bits(bits), &ANY) {
                prop_assert!(VALUES.contains(&value));
                prop_assert!(value == 0.0 || value.abs() >= 2f64.powi(-360));
            }
        }
    }
}
