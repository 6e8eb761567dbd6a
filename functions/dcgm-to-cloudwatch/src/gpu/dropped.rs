//! Samples that are not published, counted by reason.

use std::collections::BTreeMap;

use serde::Serialize;

/// Why samples did not reach CloudWatch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum DropReason {
    /// NaN, or no number at all.
    NotANumber,
    /// Plus or minus infinity.
    Infinite,
    /// DCGM's code for a value it does not have.
    DcgmBlank,
    /// A number the field can't have.
    OutOfRange,
    /// The series has no label `gpu`.
    NoGpu,
    /// The series has none of the labels that may name the instance.
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
pub(crate) struct Dropped(BTreeMap<DropReason, u64>);

impl Dropped {
    /// Counts `samples` more.
    pub(crate) fn add(&mut self, reason: DropReason, samples: usize) {
        if samples > 0 {
            *self.0.entry(reason).or_default() += samples as u64;
        }
    }

    /// Adds the counts of another.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (reason, samples) in &other.0 {
            *self.0.entry(*reason).or_default() += samples;
        }
    }

    /// All samples dropped, whatever the reason.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }
}
