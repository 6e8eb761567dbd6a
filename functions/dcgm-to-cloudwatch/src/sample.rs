//! One reading of one GPU: what makes it believable, and what becomes of what is not.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Serialize;

/// What CloudWatch takes as a value: -2^360 to 2^360.
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_MetricDatum.html>
pub const CLOUDWATCH_VALUES: RangeInclusive<f64> = -LARGEST..=LARGEST;
const LARGEST: f64 = 2.348_542_582_773_833_2e108;
/// CloudWatch refuses a value closer to zero than 2^-360.
const SMALLEST: f64 = 1.0 / LARGEST;

/// DCGM's "no value": `DCGM_INT32_BLANK` and the 15 codes after it, and all from
/// `DCGM_FP64_BLANK` on, which takes in `DCGM_INT64_BLANK`.
/// <https://github.com/NVIDIA/DCGM/blob/master/dcgmlib/dcgm_structs.h>
const BLANK_32: RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_647.0;
const BLANK_FROM: f64 = 140_737_488_355_328.0;

/// A value of one field of one GPU. Small on purpose: a run over 10,000 nodes holds millions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Which GPU, as numbered by the fleet.
    pub gpu: u32,
    /// When, in milliseconds since the start of the range that was queried.
    pub at: u32,
    /// In the field's own unit.
    pub value: f64,
}

/// Why samples did not reach CloudWatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum DropReason {
    /// NaN, or no number at all.
    NotANumber,
    /// Plus or minus infinity.
    Infinite,
    /// DCGM's code for a value it does not have.
    DcgmBlank,
    /// A number the field can't have.
    OutOfRange,
    /// The series does not say which GPU.
    NoGpu,
    /// None of the labels that could name the instance is there.
    NoInstanceId,
    /// A label CloudWatch would refuse as a dimension's value.
    UnpublishableLabel,
    /// CloudWatch refused the datum although every known limit was kept.
    RefusedByCloudWatch,
    /// The sample reached AMP after its period was published.
    Late,
}

/// Samples dropped, counted by reason.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Dropped(BTreeMap<DropReason, u64>);

impl Dropped {
    /// Counts `samples` more.
    pub fn add(&mut self, reason: DropReason, samples: usize) {
        if samples > 0 {
            *self.0.entry(reason).or_default() += samples as u64;
        }
    }

    /// Takes in all that another counted.
    pub fn merge(&mut self, other: &Self) {
        for (reason, samples) in &other.0 {
            *self.0.entry(*reason).or_default() += samples;
        }
    }

    /// All samples dropped, whatever the reason.
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

/// The value as it can be published, or why it can't.
///
/// # Errors
/// The reason to drop the sample for.
pub fn believe(value: f64, possible: &RangeInclusive<f64>) -> Result<f64, DropReason> {
    if value.is_nan() {
        return Err(DropReason::NotANumber);
    }
    if value.is_infinite() {
        return Err(DropReason::Infinite);
    }
    if value >= BLANK_FROM || BLANK_32.contains(&value) {
        return Err(DropReason::DcgmBlank);
    }
    if !possible.contains(&value) {
        return Err(DropReason::OutOfRange);
    }
    // Also turns -0 into 0, so that the two don't count as different values.
    Ok(if value.abs() < SMALLEST { 0.0 } else { value })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERCENT: RangeInclusive<f64> = 0.0..=100.0;

    #[test]
    fn garbage_is_dropped_by_its_kind() {
        use DropReason::{DcgmBlank, Infinite, NotANumber, OutOfRange};
        let rows = [
            (f64::NAN, NotANumber),
            (f64::INFINITY, Infinite),
            (f64::NEG_INFINITY, Infinite),
            (9_223_372_036_854_775_794.0, DcgmBlank),
            (140_737_488_355_328.0, DcgmBlank),
            (2_147_483_632.0, DcgmBlank),
            (2_147_483_647.0, DcgmBlank),
            (808_334_905.0, OutOfRange),
            (100.000_1, OutOfRange),
            (-1.0, OutOfRange),
        ];
        for (value, reason) in rows {
            assert_eq!(believe(value, &PERCENT), Err(reason), "{value}");
        }
        assert_eq!(believe(2e15, &CLOUDWATCH_VALUES), Err(DcgmBlank));
    }

    #[test]
    fn believable_values_are_kept_as_they_are() {
        for value in [0.0, 0.5, 99.0, 100.0] {
            assert_eq!(believe(value, &PERCENT), Ok(value));
        }
        assert_eq!(
            believe(2_147_483_648.0, &CLOUDWATCH_VALUES),
            Ok(2_147_483_648.0)
        );
    }

    #[test]
    fn zero_has_one_form() {
        for value in [-0.0, 5e-324, 1e-109, -1e-109] {
            let zero = believe(value, &CLOUDWATCH_VALUES).unwrap();
            assert_eq!(zero.to_bits(), 0, "{value:e}");
        }
    }

    #[test]
    fn the_largest_value_is_two_to_the_360() {
        assert_eq!(LARGEST, 2f64.powi(360));
        assert_eq!(SMALLEST, 2f64.powi(-360));
    }

    proptest! {
        #[test]
        fn what_is_believed_can_always_be_published(bits in any::<u64>()) {
            if let Ok(value) = believe(f64::from_bits(bits), &CLOUDWATCH_VALUES) {
                prop_assert!(CLOUDWATCH_VALUES.contains(&value));
                prop_assert!(value == 0.0 || value.abs() >= SMALLEST);
            }
        }
    }
}
