//! Collects the samples of a range of periods into readings: valid, of identified GPUs, sorted, and without
//! copies.

use std::collections::{BTreeSet, HashMap};

use super::dropped::{DropReason, Dropped};
use super::identity::Fleet;
use super::metric::Metric;
use super::reading::{Reading, Sample, validate};
use super::rollup::PeriodReadings;
use crate::due::period::{Period, Periods};

/// Collects the replies about one range of periods.
#[derive(Debug)]
pub(crate) struct Collector<'a>(Readings<'a>);

/// The readings of a range of periods.
#[derive(Debug)]
pub(crate) struct Readings<'a> {
    range: Periods,
    /// Sorted by period, GPU and time.
    metrics: Vec<(&'a Metric, Vec<Reading>)>,
    /// Number of series with a reading, for each period.
    series: Vec<u64>,
    /// Number of samples, valid or not, for each period.
    raw_samples: Vec<u64>,
    /// Samples that are not readings.
    pub(crate) dropped: Dropped,
    /// GPUs that had two names in one period, as numbers of the fleet: the published name, and the other.
    pub(crate) aliases: BTreeSet<(u32, u32)>,
}

impl<'a> Collector<'a> {
    /// An empty collector.
    pub(crate) fn new(range: Periods, metrics: &'a [Metric]) -> Self {
        Self(Readings {
            range,
            metrics: metrics.iter().map(|metric| (metric, Vec::new())).collect(),
            series: vec![0; range.len()],
            raw_samples: vec![0; range.len()],
            dropped: Dropped::default(),
            aliases: BTreeSet::new(),
        })
    }

    /// Adds one reply about the metric at `index`. `read` calls its argument for every series, with the
    /// number of its GPU, or why it has none, and with its samples.
    pub(crate) fn take_reply<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut dyn FnMut(Result<u32, DropReason>, &[Sample])) -> T,
    ) -> T {
        let read = read(&mut |gpu, samples| self.0.take(index, gpu, samples));
        self.0.sort(index);
        read
    }

    /// Number of readings so far.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The readings, once all replies are in. `fleet` is the one that numbered the GPUs.
    pub(crate) fn finish(self, fleet: &Fleet) -> Readings<'a> {
        let Self(mut readings) = self;
        readings.merge_aliases(fleet);
        readings
    }
}

impl Readings<'_> {
    fn take(&mut self, index: usize, gpu: Result<u32, DropReason>, samples: &[Sample]) {
        let Periods { start, end, length } = self.range;
        let (metric, readings) = &mut self.metrics[index];
        let mut latest = None;
        let inside = samples
            .iter()
            .filter(|(at, _)| (start * 1_000..end * 1_000).contains(at));
        for &(at, value) in inside {
            let at = (at - start * 1_000) as u32;
            let period = (i64::from(at) / (length * 1_000)) as usize;
            self.raw_samples[period] += 1;
            match gpu.and_then(|gpu| Ok((gpu, validate(value, &metric.possible)?))) {
                Ok((gpu, value)) => {
                    readings.push(Reading { gpu, at, value });
                    if latest.replace(period) != Some(period) {
                        self.series[period] += 1;
                    }
                }
                Err(reason) => self.dropped.add(reason, 1),
            }
        }
    }

    /// Sorts the readings of a metric and removes copies. Several series of one GPU are often copies
    /// (dcgm-exporter has one for each job on the GPU), so equal values at one time count once. Different
    /// values all count: their series differ in a label that is not a dimension.
    fn sort(&mut self, index: usize) {
        let length = self.range.length as u32 * 1_000;
        let (_, readings) = &mut self.metrics[index];
        readings.sort_unstable_by(|a, b| {
            (a.at / length, a.gpu, a.at)
                .cmp(&(b.at / length, b.gpu, b.at))
                .then(a.value.total_cmp(&b.value))
        });
        readings.dedup_by_key(|reading| (reading.gpu, reading.at, reading.value.to_bits()));
    }

    /// Puts the readings of a GPU that has several names in one period under the first name.
    fn merge_aliases(&mut self, fleet: &Fleet) {
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
        for index in 0..self.metrics.len() {
            for reading in &mut self.metrics[index].1 {
                let key = ((reading.at / length) as usize, reading.gpu);
                reading.gpu = renamed.get(&key).copied().unwrap_or(reading.gpu);
            }
            self.sort(index);
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

    /// The readings of one period of the range.
    pub(crate) fn of<'r>(&'r self, period: Period, fleet: &'r Fleet) -> PeriodReadings<'r> {
        let metrics = self
            .metrics
            .iter()
            .map(|(metric, readings)| (*metric, self.within(readings, period)))
            .filter(|(_, readings)| !readings.is_empty())
            .collect();
        let index = ((period.start - self.range.start) / self.range.length) as usize;
        PeriodReadings {
            period,
            series: self.series[index],
            raw_samples: self.raw_samples[index],
            metrics,
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
