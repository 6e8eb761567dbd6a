//! Collects replies about a range of periods into readings: valid, of identified GPUs, sorted, and without
//! copies.

use std::collections::BTreeSet;

use super::counter::{CounterSeries, Lines};
use super::dropped::{DropReason, Dropped};
use super::gauge::{Gauge, sort};
use super::generation::{EVIDENCE, Generations};
use super::identity::Fleet;
use super::metric::{Kind, Metric};
use super::reading::{Reading, Sample, validate_count};
use super::readings::{Readings, Tally};
use crate::due::period::Periods;

/// Collects the replies about one range of periods.
#[derive(Debug)]
pub(crate) struct Collector<'a> {
    range: Periods,
    metrics: Vec<(&'a Metric, Collected)>,
    /// Names of the metrics that have no series yet.
    absent: BTreeSet<&'a str>,
    generations: Generations,
    tally: Tally,
}

/// What was collected of one metric.
#[derive(Debug)]
enum Collected {
    Gauge(Gauge),
    Counter(Lines),
}

/// One series of a reply.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReplySeries<'s> {
    /// Its name.
    pub(crate) name: &'s str,
    /// Number of its GPU, or why it has none.
    pub(crate) gpu: Result<u32, DropReason>,
    /// The scrape target, of a counter.
    pub(crate) source: &'s str,
    /// What else tells a counter's series apart.
    pub(crate) detail: &'s str,
    /// Oldest first.
    pub(crate) samples: &'s [Sample],
}

impl<'a> Collector<'a> {
    /// An empty collector.
    pub(crate) fn new(range: Periods, metrics: &'a [Metric]) -> Self {
        // A share of time may be absent until it is over 0 for the first time.
        let expected = metrics.iter().filter(|metric| metric.kind != Kind::Share);
        let absent = expected.map(|metric| metric.name.as_str()).collect();
        let metrics = metrics.iter().map(|metric| {
            let collected = match metric.kind {
                Kind::Gauge => Collected::Gauge(Gauge::new(metric.series.len())),
                Kind::Counter | Kind::Share => Collected::Counter(Lines::default()),
            };
            (metric, collected)
        });
        Self {
            range,
            metrics: metrics.collect(),
            absent,
            generations: Generations::default(),
            tally: Tally {
                series: vec![0; range.len()],
                raw_samples: vec![0; range.len()],
                dropped: Dropped::default(),
            },
        }
    }

    /// Adds one reply about the metric at `index`. `read` calls its argument for every series.
    pub(crate) fn take_reply<T>(
        &mut self,
        index: usize,
        read: impl FnOnce(&mut dyn FnMut(ReplySeries<'_>)) -> T,
    ) -> T {
        let read = read(&mut |series| self.take(index, series));
        if let (_, Collected::Gauge(gauge)) = &mut self.metrics[index] {
            gauge.compact(self.range);
        }
        read
    }

    fn take(&mut self, index: usize, series: ReplySeries<'_>) {
        let (metric, collected) = &mut self.metrics[index];
        let rank = metric.series.iter().position(|one| one.name == series.name);
        if rank.is_some() {
            self.absent.remove(metric.name.as_str());
        }
        match (collected, rank) {
            (Collected::Gauge(gauge), Some(rank)) => {
                take_gauge(gauge, metric, rank, series, self.range, &mut self.tally);
            }
            (Collected::Counter(lines), Some(rank)) => {
                take_counter(lines, metric, rank, series, self.range, &mut self.tally);
            }
            // A series that is always there, beside a counter.
            (Collected::Counter(lines), None) => {
                if let Ok(gpu) = series.gpu {
                    lines.see(gpu, series.samples.iter().map(|(at, _)| *at));
                }
            }
            (Collected::Gauge(_), None) => {}
        }
    }

    /// Number of readings so far.
    pub(crate) fn len(&self) -> usize {
        let of_metric = |(_, collected): &(_, Collected)| match collected {
            Collected::Gauge(gauge) => gauge.len(),
            Collected::Counter(lines) => lines.len(),
        };
        self.metrics.iter().map(of_metric).sum()
    }

    /// Once all replies are in: whether the scale of some reading depends on the generation of its exporter,
    /// and nothing collected tells that.
    pub(crate) fn lacks_generations(&mut self, fleet: &Fleet) -> bool {
        let ambiguous = self.gather_evidence(fleet);
        !ambiguous
            .iter()
            .all(|instance| self.generations.knows(*instance))
    }

    /// Notes the generations that readings prove, if any reading needs that. Returns the instances of those
    /// readings.
    fn gather_evidence(&mut self, fleet: &Fleet) -> BTreeSet<u32> {
        let gauges = || {
            self.metrics
                .iter()
                .filter_map(|(metric, collected)| match collected {
                    Collected::Gauge(gauge) => Some((*metric, gauge)),
                    Collected::Counter(_) => None,
                })
        };
        let ambiguous: BTreeSet<u32> = gauges()
            .flat_map(|(metric, gauge)| gauge.ambiguous(metric))
            .map(|reading| fleet.instance_of(reading.gpu))
            .collect();
        if !ambiguous.is_empty() {
            let evidence = gauges().flat_map(|(metric, gauge)| gauge.evidence(metric));
            for (generation, reading) in evidence {
                let instance = fleet.instance_of(reading.gpu);
                self.generations.note(instance, reading.at, generation);
            }
        }
        ambiguous
    }

    /// Adds a series of [`EVIDENCE`].
    pub(crate) fn take_evidence(&mut self, name: &str, instance: u32, samples: &[Sample]) {
        let Some((_, generation)) = EVIDENCE.iter().find(|(one, _)| *one == name) else {
            return;
        };
        let start = self.range.start * 1_000;
        for at in samples
            .iter()
            .filter_map(|(at, _)| u32::try_from(at - start).ok())
        {
            self.generations.note(instance, at, *generation);
        }
    }

    /// The readings, once all replies are in. `fleet` is the one that numbered the GPUs.
    pub(crate) fn finish(mut self, fleet: &Fleet) -> Readings<'a> {
        self.gather_evidence(fleet);
        let Self {
            range,
            metrics,
            absent,
            generations,
            mut tally,
        } = self;
        let metrics = metrics.into_iter().map(|(metric, collected)| {
            let readings = match collected {
                Collected::Gauge(gauge) => {
                    gauge.readings(metric, range, &generations, fleet, &mut tally.dropped)
                }
                Collected::Counter(lines) => {
                    let mut readings = lines.readings(metric, range);
                    sort(&mut readings, range);
                    readings
                }
            };
            (metric, readings)
        });
        let mut readings = Readings {
            range,
            metrics: metrics.collect(),
            tally,
            verdicts: Vec::new(),
            aliases: BTreeSet::new(),
            absent,
        };
        readings.merge_aliases(fleet);
        readings
    }
}

fn take_gauge(
    gauge: &mut Gauge,
    metric: &Metric,
    rank: usize,
    series: ReplySeries<'_>,
    range: Periods,
    tally: &mut Tally,
) {
    let mut latest = None;
    for &(at, value) in series.samples {
        let Some(period) = range.index_at(at) else {
            continue;
        };
        tally.raw_samples[period] += 1;
        let reading = series.gpu.map(|gpu| Reading {
            gpu,
            at: range.offset(at),
            value,
        });
        match reading.and_then(|reading| gauge.take(metric, rank, reading)) {
            Ok(()) if latest.replace(period) != Some(period) => tally.series[period] += 1,
            Ok(()) => {}
            Err(reason) => tally.dropped.add(reason, 1),
        }
    }
}

fn take_counter(
    lines: &mut Lines,
    metric: &Metric,
    rank: usize,
    series: ReplySeries<'_>,
    range: Periods,
    tally: &mut Tally,
) {
    let one = &metric.series[rank];
    // Of the samples before the range only the last one is needed, as a base.
    let first = series
        .samples
        .partition_point(|(at, _)| *at < range.start * 1_000);
    let mut valid = Vec::new();
    let mut latest = None;
    for &(at, value) in &series.samples[first.saturating_sub(1)..] {
        let value = series.gpu.and_then(|_| validate_count(value));
        if let Some(period) = range.index_at(at) {
            tally.raw_samples[period] += 1;
            match value {
                Ok(_) if latest.replace(period) != Some(period) => tally.series[period] += 1,
                Ok(_) => {}
                Err(reason) => tally.dropped.add(reason, 1),
            }
        }
        valid.extend(value.ok().map(|value| (at, one.scale.apply(value))));
    }
    let Ok(gpu) = series.gpu else {
        return;
    };
    let counter = CounterSeries {
        gpu,
        part: one.part,
        rank: rank as u8,
        source: series.source,
        detail: series.detail,
    };
    lines.take(counter, valid);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::metric::find;

    const START: i64 = 1_700_000_040;
    const MINUTE: Periods = Periods {
        start: START,
        end: START + 60,
        length: 60,
    };

    /// Node, name, and samples in seconds from the start.
    type Exported<'s> = (&'s str, &'s str, &'s [(i64, f64)]);

    /// The values of the first metric, of each node in the order of appearance, and whether the nodes have to
    /// be asked for their generation.
    fn values(metrics: &[&str], exported: &[Exported<'_>]) -> (Vec<(u32, f64)>, bool) {
        let metrics: Vec<_> = metrics.iter().map(|name| find(name).unwrap()).collect();
        let mut fleet = Fleet::new(&["instance_id".to_owned()], |_| true);
        let mut collector = Collector::new(MINUTE, &metrics);
        for (index, metric) in metrics.iter().enumerate() {
            let of_metric = exported
                .iter()
                .filter(|(_, name, _)| metric.series.iter().any(|one| one.name == *name));
            collector.take_reply(index, |take| {
                for (node, name, samples) in of_metric {
                    let samples = samples.iter();
                    let samples: Vec<Sample> = samples
                        .map(|(at, value)| ((START + at) * 1_000, *value))
                        .collect();
                    take(ReplySeries {
                        name,
                        gpu: fleet.identify(&["0", "", "", node].map(str::to_owned)),
                        source: "",
                        detail: "",
                        samples: &samples,
                    });
                }
            });
        }
        let lacks_generations = collector.lacks_generations(&fleet);
        let readings = collector.finish(&fleet);
        let (_, readings) = &readings.metrics[0];
        let values = readings.iter().map(|reading| (reading.gpu, reading.value));
        (values.collect(), lacks_generations)
    }

    const UTIL: &str = "DCGM_FI_DEV_GPU_UTIL";
    const RATIO: &str = "DCGM_FI_DEV_GPU_UTIL_RATIO";
    const USED: &str = "DCGM_FI_DEV_FB_USED";
    const BYTES: &str = "DCGM_FI_DEV_FB_USED_BYTES";

    #[test]
    fn old_and_new_exporters_are_one_metric_in_one_unit() {
        let exported: [Exported<'_>; 2] = [
            ("old", USED, &[(0, 1_000.0)]),
            ("new", BYTES, &[(0, 1_048_576_000.0)]),
        ];
        let (values, _) = values(&["GPUMemoryUsed"], &exported);
        assert_eq!(values, [(0, 1_000.0), (1, 1_000.0)]);
    }

    #[test]
    fn a_node_that_exports_both_names_is_read_once() {
        let exported: [Exported<'_>; 2] = [
            ("node", USED, &[(0, 1_000.0), (15, 1_001.0)]),
            ("node", BYTES, &[(0, 1_048_576_001.0), (30, 2_097_152.0)]),
        ];
        let (values, _) = values(&["GPUMemoryUsed"], &exported);
        assert_eq!(values, [(0, 1_000.0), (0, 1_001.0), (0, 2.0)]);
    }

    #[test]
    fn what_1_means_is_decided_by_what_else_the_node_exports() {
        let one: &[(i64, f64)] = &[(0, 1.0)];
        let both = ["GPUUtilization", "GPUMemoryUsed"];
        let rows: [(&[Exported<'_>], f64, bool); 4] = [
            (&[("a", RATIO, one), ("a", USED, one)], 1.0, false),
            (&[("a", RATIO, one), ("a", BYTES, one)], 100.0, false),
            (&[("a", RATIO, one), ("a", UTIL, one)], 1.0, false),
            (&[("a", RATIO, one)], 100.0, true),
        ];
        for (exported, expected, must_ask) in rows {
            let (values, lacks_generations) = values(&both, exported);
            assert_eq!(values, [(0, expected)], "{exported:?}");
            assert_eq!(lacks_generations, must_ask, "{exported:?}");
        }
    }

    #[test]
    fn an_upgrade_in_the_middle_of_a_minute_changes_no_value() {
        let both = ["GPUUtilization", "GPUMemoryUsed"];
        let exported: [Exported<'_>; 3] = [
            ("a", RATIO, &[(0, 37.0), (15, 37.0), (30, 0.37), (45, 0.37)]),
            ("a", USED, &[(0, 1.0), (15, 1.0)]),
            ("a", BYTES, &[(30, 1.0), (45, 1.0)]),
        ];
        let (values, _) = values(&both, &exported);
        assert_eq!(values, [(0, 37.0); 4]);
    }
}
