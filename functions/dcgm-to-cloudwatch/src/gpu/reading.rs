//! One reading of one GPU: whether its value can be true.

use std::ops::RangeInclusive;

use super::dropped::DropReason;

/// A raw sample of a series: milliseconds since the epoch, and the value (NaN where it is no number).
pub(crate) type Sample = (i64, f64);

/// Values that a gauge may have of which no more is known. No sensor measures beyond, and every service
/// that metrics go to takes them.
pub(crate) const ANY: RangeInclusive<f64> = -1e100..=1e100;
/// What is closer to zero than this is rounding noise, and counts as 0.
const NOISE: f64 = 1e-100;

/// DCGM's "no value": `DCGM_INT32_BLANK` and the 15 codes after it, and all from
/// `DCGM_FP64_BLANK` on, which takes in `DCGM_INT64_BLANK`.
/// <https://github.com/NVIDIA/DCGM/blob/master/dcgmlib/dcgm_structs.h>
const BLANK_32: RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_647.0;
const BLANK_FROM: f64 = 140_737_488_355_328.0;

/// A value of one field of one GPU. Small on purpose: a run over 10,000 nodes holds millions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Which GPU, as numbered by the fleet.
    pub(crate) gpu: u32,
    /// When, in milliseconds since the start of the range that was queried.
    pub(crate) at: u32,
    /// In the field's own unit.
    pub(crate) value: f64,
}

/// The value to publish.
///
/// # Errors
/// Why the sample can't be a reading.
pub(crate) fn validate(value: f64, possible: &RangeInclusive<f64>) -> Result<f64, DropReason> {
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
    Ok(if value.abs() < NOISE { 0.0 } else { value })
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
            assert_eq!(validate(value, &PERCENT), Err(reason), "{value}");
        }
        assert_eq!(validate(2e15, &ANY), Err(DcgmBlank));
    }

    #[test]
    fn possible_values_are_kept_as_they_are() {
        for value in [0.0, 0.5, 99.0, 100.0] {
            assert_eq!(validate(value, &PERCENT), Ok(value));
        }
        assert_eq!(validate(2_147_483_648.0, &ANY), Ok(2_147_483_648.0));
    }

    #[test]
    fn zero_has_one_form() {
        for value in [-0.0, 5e-324, 1e-109, -1e-109] {
            let zero = validate(value, &ANY).unwrap();
            assert_eq!(zero.to_bits(), 0, "{value:e}");
        }
    }

    proptest! {
        #[test]
        fn what_is_valid_is_in_range_and_no_noise(bits in any::<u64>()) {
            if let Ok(value) = validate(f64::from_bits(bits), &ANY) {
                prop_assert!(ANY.contains(&value));
                prop_assert!(value == 0.0 || value.abs() >= NOISE);
            }
        }
    }
}
