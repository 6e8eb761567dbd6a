//! Collects the samples of a gauge, which has a reading for every sample.

use super::dropped::{DropReason, Dropped};
use super::generation::{Generation, Generations};
use super::identity::Fleet;
use super::metric::{Metric, Scale, Series};
use super::reading::{ANY, Reading, validate};
use crate::due::period::Periods;

/// The readings of a gauge, apart by the name of their series.
#[derive(Debug)]
pub(crate) struct Gauge {
    /// Those of a name with two scales are as they were exported.
    by_name: Vec<Vec<Reading>>,
}

impl Gauge {
    /// Nothing yet of a metric with so many names.
    pub(crate) fn new(names: usize) -> Self {
        Self {
            by_name: vec![Vec::new(); names],
        }
    }

    /// Adds a sample of the series at `rank`, which may not be a reading.
    pub(crate) fn take(
        &mut self,
        metric: &Metric,
        rank: usize,
        sample: Reading,
    ) -> Result<(), DropReason> {
        let Series {
            scale, older_scale, ..
        } = metric.series[rank];
        let value = if older_scale.is_some() {
            validate(sample.value, &ANY)?
        } else {
            scaled(sample.value, scale, metric)?
        };
        self.by_name[rank].push(Reading { value, ..sample });
        Ok(())
    }

    /// Sorts and removes copies, to hold no more than is needed. Several series of one GPU are often copies
    /// (dcgm-exporter has one for each job on the GPU), so equal values at one time count once. Different
    /// values all count: their series differ in a label that is not a dimension.
    pub(crate) fn compact(&mut self, range: Periods) {
        for readings in &mut self.by_name {
            sort(readings, range);
        }
    }

    /// Number of readings.
    pub(crate) fn len(&self) -> usize {
        self.by_name.iter().map(Vec::len).sum()
    }

    /// The readings whose scale depends on the exporter's generation.
    pub(crate) fn ambiguous(&self, metric: &Metric) -> impl Iterator<Item = &Reading> {
        let names = metric.series.iter().zip(&self.by_name);
        let names = names.filter(|(series, _)| series.older_scale.is_some());
        names.flat_map(|(_, readings)| readings)
    }

    /// The readings that prove the generation of their exporter.
    pub(crate) fn evidence(&self, metric: &Metric) -> impl Iterator<Item = (Generation, &Reading)> {
        let names = metric.series.iter().zip(&self.by_name);
        names
            .filter_map(|(series, readings)| {
                let generation = Generation::of(series, &metric.series)?;
                Some(readings.iter().map(move |reading| (generation, reading)))
            })
            .flatten()
    }

    /// The readings of all names, sorted. Where a GPU has several names at one time, the first one counts.
    pub(crate) fn readings(
        self,
        metric: &Metric,
        range: Periods,
        generations: &Generations,
        fleet: &Fleet,
        dropped: &mut Dropped,
    ) -> Vec<Reading> {
        let names = metric.series.iter().zip(self.by_name);
        let names = names.map(|(series, readings)| {
            let Some(older) = series.older_scale else {
                return readings;
            };
            let scale = |reading: &Reading| match generations
                .at(fleet.instance_of(reading.gpu), reading.at)
            {
                Generation::Newer => series.scale,
                Generation::Older => older,
            };
            let decided = readings.into_iter().filter_map(|reading| {
                let value = scaled(reading.value, scale(&reading), metric);
                let value = value.map_err(|reason| dropped.add(reason, 1)).ok()?;
                Some(Reading { value, ..reading })
            });
            decided.collect()
        });
        names
            .reduce(|first, second| merge(first, second, range))
            .unwrap_or_default()
    }
}

/// The value in the metric's unit. DCGM's codes for "no value" are those of the value as it was exported.
fn scaled(value: f64, scale: Scale, metric: &Metric) -> Result<f64, DropReason> {
    if scale.is_one() {
        return validate(value, &metric.possible);
    }
    validate(scale.apply(validate(value, &ANY)?), &metric.possible)
}

/// Sorts readings by period, GPU and time, and removes copies.
pub(crate) fn sort(readings: &mut Vec<Reading>, range: Periods) {
    let length = range.length as u32 * 1_000;
    readings.sort_unstable_by(|a, b| {
        (a.at / length, a.gpu, a.at)
            .cmp(&(b.at / length, b.gpu, b.at))
            .then(a.value.total_cmp(&b.value))
    });
    readings.dedup_by_key(|reading| (reading.gpu, reading.at, reading.value.to_bits()));
}

/// Adds readings under a further name, but for those of a GPU and time that `first` has already.
fn merge(first: Vec<Reading>, mut second: Vec<Reading>, range: Periods) -> Vec<Reading> {
    if first.is_empty() || second.is_empty() {
        return if first.is_empty() { second } else { first };
    }
    let length = range.length as u32 * 1_000;
    let place = |reading: &Reading| (reading.at / length, reading.gpu, reading.at);
    second.retain(|reading| first.binary_search_by_key(&place(reading), place).is_err());
    let mut merged = first;
    merged.append(&mut second);
    sort(&mut merged, range);
    merged
}
