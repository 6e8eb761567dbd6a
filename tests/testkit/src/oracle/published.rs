//! What is published, by metric and period, and how two of them compare.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::Dimensions;
use crate::doubles::cloudwatch::Datum;

/// Values by rising size, and how often each occurred.
pub type Values = Vec<(f64, f64)>;

/// Unit and values by metric, dimensions and start of the period.
pub type Published = BTreeMap<(String, Dimensions, SystemTime), (String, Values)>;

/// How what is held compares with what has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Values there have to be.
    pub expected: u64,
    /// Those of them that are there.
    pub found: u64,
    /// Copies of them beyond the one.
    pub doubled: u64,
    /// Values that nobody measured.
    pub foreign: u64,
}

/// What CloudWatch holds; a metric in several datums as one.
pub fn published(datums: &[Datum]) -> Published {
    let mut all = Published::new();
    for datum in datums {
        let time = UNIX_EPOCH + Duration::from_millis(datum.timestamp_ms.unsigned_abs());
        let key = (datum.name.clone(), datum.dimensions.clone(), time);
        let (_, values) = all
            .entry(key)
            .or_insert_with(|| (datum.unit.clone(), Values::new()));
        values.extend(&datum.values);
    }
    for (_, values) in all.values_mut() {
        *values = counted(std::mem::take(values));
    }
    all
}

/// By rising value, each once.
pub(super) fn counted(mut values: Values) -> Values {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values.dedup_by(|(value, count), (kept, sum)| {
        let is_same = value == kept;
        if is_same {
            *sum += *count;
        }
        is_same
    });
    values
}

impl Tally {
    /// Holds what is `found` against what is `expected`.
    pub fn of(expected: &Published, found: &Published) -> Self {
        let mut tally = Self::default();
        for (key, (unit, values)) in expected {
            for (value, expected) in values {
                let count = count(found, key, unit, *value);
                let expected = *expected as u64;
                tally.expected += expected;
                tally.found += count.min(expected);
                tally.doubled += count.saturating_sub(expected);
            }
        }
        for (key, (unit, values)) in found {
            let foreign = values.iter();
            let foreign = foreign.filter(|(value, _)| count(expected, key, unit, *value) == 0);
            tally.foreign += foreign.map(|(_, count)| *count as u64).sum::<u64>();
        }
        tally
    }

    /// Values that are not there.
    pub fn lost(&self) -> u64 {
        self.expected - self.found
    }
}

fn count(of: &Published, key: &(String, Dimensions, SystemTime), unit: &str, value: f64) -> u64 {
    let Some((_, values)) = of.get(key).filter(|(own, _)| own == unit) else {
        return 0;
    };
    let at = values.binary_search_by(|(other, _)| other.total_cmp(&value));
    at.map_or(0, |at| values[at].1 as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_too_often_or_unknown_is_counted() {
        let published = |all: &[(&str, &str, f64, f64)]| {
            let mut published = Published::new();
            for (metric, unit, value, count) in all {
                let key = ((*metric).to_owned(), Dimensions::new(), UNIX_EPOCH);
                let (_, values) = published
                    .entry(key)
                    .or_insert_with(|| ((*unit).to_owned(), Values::new()));
                values.push((*value, *count));
            }
            published
        };
        let measured = published(&[
            ("A", "None", 1.0, 4.0),
            ("A", "None", 2.0, 1.0),
            ("B", "None", 1.0, 1.0),
            ("D", "None", 1.0, 1.0),
        ]);
        let held = published(&[
            ("A", "None", 1.0, 3.0),
            ("A", "None", 2.0, 3.0),
            ("A", "None", 3.0, 2.0),
            ("C", "None", 1.0, 1.0),
            ("D", "Percent", 1.0, 1.0),
        ]);
        let tally = Tally::of(&measured, &held);
        let expected = Tally {
            expected: 7,
            found: 4,
            doubled: 2,
            foreign: 4,
        };
        assert_eq!((tally, tally.lost()), (expected, 3));
    }
}
