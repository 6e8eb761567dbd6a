//! A reading of a GPU, and whether a sample's value can be one.

use std::ops::RangeInclusive;

use super::dropped::DropReason;

/// A raw sample of a series: milliseconds since the epoch, and the value (NaN where it is no number).
pub(crate) type Sample = (i64, f64);

/// The possible range of a gauge that the catalogue does not know. No sensor exceeds it, and every service
/// that metrics are sent to accepts it.
pub(crate) const ANY: RangeInclusive<f64> = -1e100..=1e100;
/// Smaller absolute values are rounding noise and count as 0.
const NOISE: f64 = 1e-100;

/// DCGM's codes for "no value": `DCGM_INT32_BLANK` and the 15 codes after it, and everything from
/// `DCGM_FP64_BLANK` on, including `DCGM_INT64_BLANK`.
/// <https://github.com/NVIDIA/DCGM/blob/master/dcgmlib/dcgm_structs.h>
const BLANK_32: RangeInclusive<f64> = 2_147_483_632.0..=2_147_483_647.0;
const BLANK_FROM: f64 = 140_737_488_355_328.0;
/// `DCGM_INT64_BLANK`, and `DCGM_FP64_BLANK` with the 15 codes after it.
const BLANK_64_FROM: f64 = 9_223_372_036_854_775_792.0;
const BLANK_FLOAT: RangeInclusive<f64> = BLANK_FROM..=140_737_488_355_343.0;

/// A value of one metric of one GPU. It is small on purpose: a run over 10,000 nodes holds millions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Reading {
    /// Number of the GPU in the fleet.
    pub(crate) gpu: u32,
    /// Time in milliseconds since the start of the range.
    pub(crate) at: u32,
    /// In the metric's unit.
    pub(crate) value: f64,
}

/// The value to publish.
///
/// # Errors
/// Why the value can't be a reading.
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

/// The value of a counter.
///
/// # Errors
/// Why the value can't be one. A counter of nanoseconds exceeds the codes of other types within hours, so
/// that only those of its own types are codes for "no value".
pub(crate) fn validate_count(value: f64) -> Result<f64, DropReason> {
    if value.is_nan() {
        Err(DropReason::NotANumber)
    } else if value.is_infinite() {
        Err(DropReason::Infinite)
    } else if value >= BLANK_64_FROM || BLANK_FLOAT.contains(&value) {
        Err(DropReason::DcgmBlank)
    } else if value < 0.0 {
        Err(DropReason::OutOfRange)
    } else {
        Ok(value)
    }
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
    fn a_counter_may_be_large_but_no_code() {
        use DropReason::{DcgmBlank, Infinite, NotANumber, OutOfRange};
        for value in [0.0, 2_147_483_640.0, 2e14, 9e18] {
            assert_eq!(validate_count(value), Ok(value));
        }
        let rows = [
            (f64::NAN, NotANumber),
            (f64::INFINITY, Infinite),
            (-1.0, OutOfRange),
            (9_223_372_036_854_775_794.0, DcgmBlank),
            (140_737_488_355_330.0, DcgmBlank),
        ];
        for (value, reason) in rows {
            assert_eq!(validate_count(value), Err(reason), "{value}");
        }
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
