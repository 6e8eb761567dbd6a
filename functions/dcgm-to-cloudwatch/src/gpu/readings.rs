//! The readings of a range of periods, metric by metric.

use std::collections::{BTreeSet, HashMap};

use super::dropped::Dropped;
use super::gauge::sort;
use super::identity::Fleet;
use super::metric::{Kind, Metric};
use super::reading::{Reading, Sample};
use super::rollup::PeriodReadings;
use crate::due::period::{Period, Periods};

/// Everything that was read of a range of periods.
#[derive(Debug)]
pub(crate) struct Readings<'a> {
    pub(super) range: Periods,
    /// Sorted by period, GPU and time.
    pub(super) metrics: Vec<(&'a Metric, Vec<Reading>)>,
    pub(super) tally: Tally,
    /// What the rules record of the whole cluster, as values at moments in milliseconds.
    pub(crate) verdicts: Vec<(&'a Metric, Vec<Sample>)>,
    /// GPUs that had two names in one period, as numbers of the fleet: the published name, and the other.
    pub(crate) aliases: BTreeSet<(u32, u32)>,
    /// Names of the metrics that had no series.
    pub(crate) absent: BTreeSet<&'a str>,
}

/// Counts of the samples of a range.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    /// Number of series with a reading, for each period.
    pub(super) series: Vec<u64>,
    /// Number of samples, valid or not, for each period.
    pub(super) raw_samples: Vec<u64>,
    /// Samples that are not readings.
    pub(super) dropped: Dropped,
}

impl<'a> Readings<'a> {
    /// Puts the readings of a GPU that has several names in one period under the first name.
    pub(super) fn merge_aliases(&mut self, fleet: &Fleet) {
        let mut renamed = HashMap::new();
        for names in fleet.aliases() {
            for (index, period) in self.range.iter().enumerate() {
                let mut present = names.iter().filter(|name| self.has(period, **name));
                let Some(first) = present.next() else {
                    continue;
                };
                let others: Vec<u32> = present.copied().collect();
                for other in others {
                    self.aliases.insert((*first, other));
                    if !fleet.has_instance_id(other) {
                        renamed.insert((index, other), *first);
                    }
                }
            }
        }
        if renamed.is_empty() {
            return;
        }
        let length = self.range.length as u32 * 1_000;
        for (metric, readings) in &mut self.metrics {
            for reading in readings.iter_mut() {
                let key = ((reading.at / length) as usize, reading.gpu);
                reading.gpu = renamed.get(&key).copied().unwrap_or(reading.gpu);
            }
            sort(readings, self.range);
            if metric.kind != Kind::Gauge {
                // Both names count the same events.
                readings.reverse();
                readings.dedup_by_key(|reading| (reading.gpu, reading.at));
                readings.reverse();
            }
        }
    }

    fn has(&self, period: Period, gpu: u32) -> bool {
        self.metrics.iter().any(|(_, readings)| {
            let of_period = self.within(readings, period);
            of_period
                .binary_search_by_key(&gpu, |reading| reading.gpu)
                .is_ok()
        })
    }

    /// Number of readings.
    pub(crate) fn len(&self) -> usize {
        self.metrics
            .iter()
            .map(|(_, readings)| readings.len())
            .sum()
    }

    /// Samples that are not readings.
    pub(crate) fn dropped(&self) -> &Dropped {
        &self.tally.dropped
    }

    /// The readings of one period of the range.
    pub(crate) fn of<'r>(&'r self, period: Period, fleet: &'r Fleet) -> PeriodReadings<'r> {
        let metrics = self
            .metrics
            .iter()
            .map(|(metric, readings)| (*metric, self.within(readings, period)))
            .filter(|(_, readings)| !readings.is_empty())
            .collect();
        let is_inside = |at: i64| (period.start * 1_000..period.end * 1_000).contains(&at);
        let verdicts = self.verdicts.iter().map(|(metric, values)| {
            let inside = values.iter().filter(|(at, _)| is_inside(*at));
            (*metric, inside.map(|(_, value)| *value).collect::<Vec<_>>())
        });
        let index = ((period.start - self.range.start) / self.range.length) as usize;
        PeriodReadings {
            period,
            series: self.tally.series[index],
            raw_samples: self.tally.raw_samples[index],
            origin: self.range.start * 1_000,
            metrics,
            verdicts: verdicts.filter(|(_, values)| !values.is_empty()).collect(),
            fleet,
        }
    }

    fn within<'r>(&self, readings: &'r [Reading], period: Period) -> &'r [Reading] {
        let before = |time: i64| {
            let offset = (time - self.range.start) * 1_000;
            readings.partition_point(|reading| i64::from(reading.at) < offset)
        };
        &readings[before(period.start)..before(period.end)]
    }
}
