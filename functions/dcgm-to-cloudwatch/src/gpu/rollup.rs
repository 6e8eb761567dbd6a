//! Rolls readings up into distributions, one for each period, metric and dimension set.

use super::identity::{Fleet, Gpu};
use super::metric::Metric;
use super::reading::Reading;
use crate::due::period::Period;

/// A set of dimensions that every metric is published under. The order is from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DimensionSet {
    /// Instance and GPU, for a MIG instance that too.
    Gpu,
    /// Instance.
    Instance,
    /// None: all GPUs of the cluster together.
    Cluster,
}

/// The readings of one period.
#[derive(Debug)]
pub(crate) struct PeriodReadings<'r> {
    /// The period.
    pub(crate) period: Period,
    /// Number of series with a reading.
    pub(crate) series: u64,
    /// Number of samples that Prometheus has of it, valid or not, copies included.
    pub(crate) raw_samples: u64,
    /// Start of the range that the readings' times count from, in milliseconds since the epoch.
    pub(super) origin: i64,
    pub(super) metrics: Vec<(&'r Metric, &'r [Reading])>,
    /// Values of metrics about the cluster as a whole.
    pub(super) verdicts: Vec<(&'r Metric, Vec<f64>)>,
    /// The GPUs that the readings are of.
    pub(crate) fleet: &'r Fleet,
}

/// All readings of one metric and subject in one period, as distinct values and their counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Distribution<'r> {
    /// What was measured.
    pub(crate) metric: &'r Metric,
    /// What it was measured on.
    pub(crate) subject: Subject<'r>,
    /// Value and count, by rising value.
    pub(crate) values: Vec<(f64, u32)>,
}

/// What a metric is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject<'r> {
    /// One GPU or MIG instance.
    Gpu(&'r Gpu),
    /// All GPUs of one instance.
    Instance(&'r str),
    /// All GPUs.
    Cluster,
}

impl<'r> PeriodReadings<'r> {
    /// Number of readings, without copies.
    pub(crate) fn samples(&self) -> usize {
        self.metrics
            .iter()
            .map(|(_, readings)| readings.len())
            .sum()
    }

    /// Number of physical GPUs with a reading. MIG instances and further names of one count once.
    pub(crate) fn gpus(&self) -> usize {
        let mut boards: Vec<u32> = self
            .metrics
            .iter()
            .flat_map(|(_, readings)| readings.chunk_by(|a, b| a.gpu == b.gpu))
            .map(|of_one| self.fleet.board_of(of_one[0].gpu))
            .collect();
        // Stable, which is quick where sorted lists follow each other, one of each metric.
        boards.sort();
        boards.dedup();
        boards.len()
    }

    /// Whether the rules have found something to report, or at least somebody idle.
    pub(crate) fn has_findings(&self) -> bool {
        self.verdicts
            .iter()
            .any(|(_, values)| values.iter().any(|value| *value > 0.0))
    }

    /// How many metrics there are whatever the dimension sets: `GPUsReporting`, and the verdicts on the cluster.
    pub(crate) fn count_fixed_metrics(&self) -> usize {
        1 + self.verdicts.len()
    }

    /// How many metrics a dimension set makes.
    pub(crate) fn count_metrics(&self, set: DimensionSet) -> usize {
        let of_metric = |readings: &[Reading]| {
            let gpus = readings.chunk_by(|a, b| a.gpu == b.gpu);
            match set {
                DimensionSet::Gpu => gpus.count(),
                DimensionSet::Instance => {
                    let mut instances: Vec<u32> = gpus
                        .map(|of_one| self.fleet.instance_of(of_one[0].gpu))
                        .collect();
                    instances.sort_unstable();
                    instances.dedup();
                    instances.len()
                }
                DimensionSet::Cluster => 1,
            }
        };
        self.metrics
            .iter()
            .map(|(_, readings)| of_metric(readings))
            .sum()
    }

    /// All distributions of the dimension sets, computed one at a time, after those of the verdicts.
    pub(crate) fn distributions(
        &self,
        sets: &[DimensionSet],
    ) -> impl Iterator<Item = Distribution<'r>> + Send + use<'r> {
        let fleet = self.fleet;
        let pairs: Vec<_> = sets
            .iter()
            .flat_map(|set| {
                self.metrics
                    .iter()
                    .map(|(metric, readings)| (*set, *metric, *readings))
            })
            .collect();
        let measured = pairs.into_iter().flat_map(move |(set, metric, readings)| {
            roll_up(set, readings, fleet).map(move |(subject, values)| Distribution {
                metric,
                subject,
                values,
            })
        });
        let verdicts = self.verdicts.iter().map(|(metric, values)| Distribution {
            metric,
            subject: Subject::Cluster,
            values: distinct(values.iter().copied()),
        });
        verdicts.collect::<Vec<_>>().into_iter().chain(measured)
    }
}

type Rolled<'r> = (Subject<'r>, Vec<(f64, u32)>);

fn roll_up<'r>(
    set: DimensionSet,
    readings: &'r [Reading],
    fleet: &'r Fleet,
) -> Box<dyn Iterator<Item = Rolled<'r>> + Send + 'r> {
    let value = |reading: &Reading| reading.value;
    match set {
        DimensionSet::Gpu => {
            Box::new(readings.chunk_by(|a, b| a.gpu == b.gpu).map(move |of_one| {
                let subject = Subject::Gpu(fleet.gpu(of_one[0].gpu));
                (subject, distinct(of_one.iter().map(value)))
            }))
        }
        DimensionSet::Instance => {
            let mut sorted: Vec<&Reading> = readings.iter().collect();
            sorted.sort_by_key(|reading| fleet.instance_of(reading.gpu));
            let instance = |reading: &Reading| fleet.instance_of(reading.gpu);
            let groups: Vec<Rolled<'r>> = sorted
                .chunk_by(|a, b| instance(a) == instance(b))
                .map(|of_one| {
                    let subject = Subject::Instance(&fleet.gpu(of_one[0].gpu).instance_id);
                    (subject, distinct(of_one.iter().copied().map(value)))
                })
                .collect();
            Box::new(groups.into_iter())
        }
        DimensionSet::Cluster => {
            let values = distinct(readings.iter().map(value));
            Box::new(std::iter::once((Subject::Cluster, values)))
        }
    }
}

/// Distinct values and their counts, by rising value.
fn distinct(values: impl IntoIterator<Item = f64>) -> Vec<(f64, u32)> {
    let mut values: Vec<(i64, u32)> = values.into_iter().map(|value| (key(value), 1)).collect();
    values.sort_unstable_by_key(|(key, _)| *key);
    values.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += u32::from(same);
        same
    });
    values
        .into_iter()
        .map(|(key, count)| (value_of(key), count))
        .collect()
}

/// A whole number that is ordered like a value, and compared faster: negative floats have their bits but for the
/// sign turned. Adding 0 makes 0 of -0.
fn key(value: f64) -> i64 {
    turned((value + 0.0).to_bits() as i64)
}

fn value_of(key: i64) -> f64 {
    f64::from_bits(turned(key) as u64)
}

/// Undoes itself.
fn turned(bits: i64) -> i64 {
    bits ^ ((bits >> 63) & i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::due::period::Periods;
    use crate::gpu::collect::{Collector, ReplySeries};
    use crate::gpu::dropped::{DropReason, Dropped};
    use crate::gpu::metric;
    use crate::gpu::reading::Sample;
    use crate::gpu::readings::Readings;

    const START: i64 = 1_700_000_040;
    const TWO_MINUTES: Periods = Periods {
        start: START,
        end: START + 120,
        length: 60,
    };
    const EVERY_SET: [DimensionSet; 3] = [
        DimensionSet::Gpu,
        DimensionSet::Instance,
        DimensionSet::Cluster,
    ];

    /// Labels `gpu`, `GPU_I_ID`, `instance_id`, and samples in milliseconds from the start.
    type Series = ([&'static str; 3], Vec<Sample>);

    fn read(series: &[Series]) -> Read {
        read_with_uuids("", series)
    }

    struct Read {
        readings: Readings<'static>,
        fleet: Fleet,
    }

    /// All series bear the UUID.
    fn read_with_uuids(uuid: &str, series: &[Series]) -> Read {
        let metric = metric::find("DCGM_FI_DEV_GPU_UTIL").unwrap();
        let mut fleet = Fleet::new(&["instance_id".to_owned()], |_| true);
        let mut collector = Collector::new(TWO_MINUTES, Vec::leak(vec![metric]));
        collector.take_reply(0, |take| {
            for ([gpu, mig, instance_id], samples) in series {
                let gpu = fleet.identify(&[gpu, mig, uuid, instance_id].map(str::to_owned));
                let samples: Vec<Sample> = samples
                    .iter()
                    .map(|(at, value)| (START * 1_000 + at, *value))
                    .collect();
                take(ReplySeries {
                    name: "DCGM_FI_DEV_GPU_UTIL",
                    gpu,
                    source: "",
                    detail: "",
                    samples: &samples,
                });
            }
        });
        let readings = collector.finish(&fleet);
        Read { readings, fleet }
    }

    impl Read {
        fn minute(&self, index: i64) -> PeriodReadings<'_> {
            let start = START + index * 60;
            self.readings.of(
                Period {
                    start,
                    end: start + 60,
                },
                &self.fleet,
            )
        }

        fn values(&self, minute: i64, set: DimensionSet) -> Vec<Vec<(f64, u32)>> {
            self.minute(minute)
                .distributions(&[set])
                .map(|one| one.values)
                .collect()
        }
    }

    #[test]
    fn each_sample_counts_in_the_period_of_its_own_time() {
        let samples = [-1, 0, 59_999, 60_000, 119_999, 120_000];
        let samples = samples
            .into_iter()
            .zip(1..)
            .map(|(at, n)| (at, f64::from(n)))
            .collect();
        let read = read(&[(["0", "", "i-a"], samples)]);
        assert_eq!(
            read.values(0, DimensionSet::Cluster),
            [[(2.0, 1), (3.0, 1)]]
        );
        assert_eq!(
            read.values(1, DimensionSet::Cluster),
            [[(4.0, 1), (5.0, 1)]]
        );
        assert_eq!((read.minute(0).series, read.minute(1).samples()), (1, 2));
    }

    #[test]
    fn copies_of_a_gpu_s_series_count_once() {
        let samples = vec![(0, 90.0), (15_000, 95.0)];
        let copies = [
            (["0", "", "i-a"], samples.clone()),
            (["0", "", "i-a"], samples),
        ];
        let read = read(&copies);
        assert_eq!(read.values(0, DimensionSet::Gpu), [[(90.0, 1), (95.0, 1)]]);
        assert_eq!((read.minute(0).series, read.minute(0).samples()), (2, 2));
    }

    #[test]
    fn series_of_one_gpu_that_differ_all_count() {
        let series = [2.0, 1.0, 1.0].map(|value| (["0", "", "i-a"], vec![(0, value)]));
        let read = read(&series);
        assert_eq!(read.values(0, DimensionSet::Gpu), [[(1.0, 1), (2.0, 1)]]);
        assert_eq!((read.minute(0).series, read.minute(0).samples()), (3, 2));
    }

    #[test]
    fn names_of_one_gpu_are_merged_in_the_periods_that_have_both() {
        // The first exporter stops after a minute; the second's copy of 90.0 counts once.
        let series = [
            (["0", "", "b"], vec![(0, 90.0), (15_000, 91.0)]),
            (
                ["0", "", "a"],
                vec![(0, 90.0), (20_000, 92.0), (60_000, 93.0)],
            ),
            (["0", "", "b"], vec![(70_000, 94.0)]),
            (["0", "", "c"], vec![(119_999, 95.0)]),
        ];
        let read = read_with_uuids("GPU-1", &series);
        let minute = |index| read.values(index, DimensionSet::Gpu);
        assert_eq!(minute(0), [[(90.0, 1), (91.0, 1), (92.0, 1)]]);
        assert_eq!(minute(1), [[(93.0, 1), (94.0, 1), (95.0, 1)]]);
        let names: Vec<_> = [0, 1]
            .map(|index| read.minute(index))
            .iter()
            .flat_map(|minute| minute.distributions(&[DimensionSet::Gpu]))
            .map(|one| one.subject)
            .collect();
        let a = Subject::Gpu(read.fleet.gpu(1));
        assert_eq!(names, [a, a]);
        assert_eq!(read.readings.aliases, BTreeSet::from([(1, 0), (1, 2)]));
    }

    #[test]
    fn two_instance_ids_for_one_gpu_are_told_but_not_merged() {
        let ids = ["i-0123456789abcdef0", "i-0123456789abcdef1"];
        let series = ids.map(|id| (["0", "", id], vec![(0, 1.0)]));
        let read = read_with_uuids("GPU-1", &series);
        assert_eq!(read.values(0, DimensionSet::Gpu), [[(1.0, 1)], [(1.0, 1)]]);
        assert_eq!(read.minute(0).gpus(), 1);
        assert_eq!(read.readings.aliases, BTreeSet::from([(0, 1)]));
        // One after the other they may well have had it: EC2 gave the board to another instance.
        let moved = [(0, ids[0]), (60_000, ids[1])];
        let moved = moved.map(|(at, id)| (["0", "", id], vec![(at, 1.0)]));
        assert_eq!(
            read_with_uuids("GPU-1", &moved).readings.aliases,
            BTreeSet::new()
        );
    }

    #[test]
    fn mig_instances_are_apart_but_one_gpu() {
        let read = read(&[
            (["0", "1", "i-a"], vec![(0, 10.0)]),
            (["0", "2", "i-a"], vec![(0, 20.0)]),
            (["1", "", "i-a"], vec![(0, 30.0)]),
        ]);
        assert_eq!(read.minute(0).gpus(), 2);
        assert_eq!(read.minute(0).count_metrics(DimensionSet::Gpu), 3);
        assert_eq!(
            read.values(0, DimensionSet::Instance),
            [[(10.0, 1), (20.0, 1), (30.0, 1)]]
        );
    }

    #[test]
    fn garbage_costs_its_own_samples_and_nothing_else() {
        let read = read(&[
            (
                ["0", "", "i-a"],
                vec![(0, f64::NAN), (15_000, 808_334_905.0), (30_000, 50.0)],
            ),
            (["", "", "i-a"], vec![(0, 1.0), (15_000, 2.0)]),
            (["1", "", "i-a"], vec![(0, 60.0)]),
        ]);
        assert_eq!(
            read.values(0, DimensionSet::Gpu),
            [[(50.0, 1)], [(60.0, 1)]]
        );
        let mut dropped = Dropped::default();
        dropped.add(DropReason::NotANumber, 1);
        dropped.add(DropReason::OutOfRange, 1);
        dropped.add(DropReason::NoGpu, 2);
        assert_eq!(read.readings.dropped(), &dropped);
    }

    #[test]
    fn a_period_without_samples_has_no_distribution() {
        let read = read(&[(["0", "", "i-a"], vec![(0, 1.0)])]);
        assert_eq!(read.minute(1).distributions(&EVERY_SET).count(), 0);
        assert_eq!((read.minute(1).gpus(), read.minute(1).samples()), (0, 0));
        assert_eq!(read.minute(1).count_metrics(DimensionSet::Cluster), 0);
    }

    #[test]
    fn values_of_any_sign_are_counted_by_rising_value() {
        let values = [
            2.5,
            -1.0,
            0.0,
            -0.0,
            2.5,
            f64::INFINITY,
            -3.0,
            f64::MIN_POSITIVE,
        ];
        let expected = [
            (-3.0, 1),
            (-1.0, 1),
            (0.0, 2),
            (f64::MIN_POSITIVE, 1),
            (2.5, 2),
            (f64::INFINITY, 1),
        ];
        assert_eq!(distinct(values), expected);
    }

    proptest! {
        #[test]
        fn every_dimension_set_holds_the_same_samples(
            samples in prop::collection::vec((0u8..4, 0u8..8, 0i64..120_000, 0u8..=100), 0..400),
        ) {
            let names = ["0", "1", "2", "3", "4", "5", "6", "7"];
            let series: Vec<Series> = samples.iter().map(|(node, gpu, at, value)| {
                let labels = [names[usize::from(*gpu)], "", names[usize::from(*node)]];
                (labels, vec![(*at, f64::from(*value))])
            }).collect();
            let read = read(&series);
            for minute in 0..2 {
                let inside = |at: i64| (minute * 60_000..(minute + 1) * 60_000).contains(&at);
                let expected: BTreeSet<_> = samples.iter().filter(|sample| inside(sample.2)).collect();
                let mut values: Vec<f64> = expected.iter().map(|sample| f64::from(sample.3)).collect();
                values.sort_unstable_by(f64::total_cmp);
                for set in EVERY_SET {
                    let of_set: Vec<_> = read.minute(minute).distributions(&[set]).collect();
                    prop_assert_eq!(of_set.len(), read.minute(minute).count_metrics(set));
                    let mut weighed: Vec<f64> = of_set
                        .iter()
                        .flat_map(|one| &one.values)
                        .flat_map(|(value, count)| std::iter::repeat_n(*value, *count as usize))
                        .collect();
                    weighed.sort_unstable_by(f64::total_cmp);
                    prop_assert_eq!(&weighed, &values);
                    for one in of_set {
                        prop_assert!(one.values.is_sorted_by(|a, b| a.0 < b.0));
                    }
                }
                prop_assert_eq!(read.minute(minute).samples(), values.len());
            }
        }
    }
}
