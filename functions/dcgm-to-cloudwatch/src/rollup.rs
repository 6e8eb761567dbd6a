//! Samples into distributions, one for each period, metric and dimension set. Pure.

use std::collections::{BTreeSet, HashMap};

use crate::catalog::Field;
use crate::config::DimensionSet;
use crate::fleet::{Fleet, Gpu};
use crate::matrix::Sample;
use crate::period::{Period, Periods};
use crate::sample::{DropReason, Dropped, Reading, believe};

/// All that was read of a range of periods, field by field.
#[derive(Debug)]
pub struct Readings<'a> {
    range: Periods,
    fields: Vec<(&'a Field, Vec<Reading>)>,
    /// For each period, how many series had a sample in it.
    series: Vec<u64>,
    /// For each period, how many samples there were, believable or not.
    raw_samples: Vec<u64>,
    /// What was not believed.
    pub dropped: Dropped,
}

impl<'a> Readings<'a> {
    /// Nothing yet.
    pub fn new(range: Periods, fields: &'a [Field]) -> Self {
        Self {
            range,
            fields: fields.iter().map(|field| (field, Vec::new())).collect(),
            series: vec![0; range.len()],
            raw_samples: vec![0; range.len()],
            dropped: Dropped::default(),
        }
    }

    /// Takes in one series of the field with that index: what is believable of its samples within
    /// the range.
    pub fn take(&mut self, field: usize, gpu: Result<u32, DropReason>, samples: &[Sample]) {
        let Periods { start, end, length } = self.range;
        let (field, readings) = &mut self.fields[field];
        let mut latest = None;
        let inside = samples
            .iter()
            .filter(|(at, _)| (start * 1_000..end * 1_000).contains(at));
        for &(at, value) in inside {
            let at = (at - start * 1_000) as u32;
            let period = (i64::from(at) / (length * 1_000)) as usize;
            self.raw_samples[period] += 1;
            match gpu.and_then(|gpu| Ok((gpu, believe(value, &field.possible)?))) {
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

    /// A reply about the field with that index is read: puts the readings in order of period, GPU
    /// and time. Series of one GPU are often copies of one another (dcgm-exporter shows one for each
    /// job on the GPU), so equal values at one time count once. Values that differ all count: the
    /// series tell them apart by a label that is no dimension.
    pub fn sort(&mut self, field: usize) {
        let length = self.range.length as u32 * 1_000;
        let (_, readings) = &mut self.fields[field];
        readings.sort_unstable_by(|a, b| {
            (a.at / length, a.gpu, a.at)
                .cmp(&(b.at / length, b.gpu, b.at))
                .then(a.value.total_cmp(&b.value))
        });
        readings.dedup_by_key(|reading| (reading.gpu, reading.at, reading.value.to_bits()));
    }

    /// All fields are read and sorted: where a GPU has several names in one period, its readings go
    /// under the first of them. Returns those names, two by two: the one that is published, and the
    /// other.
    pub fn merge_aliases(&mut self, fleet: &Fleet) -> BTreeSet<(u32, u32)> {
        let mut pairs = BTreeSet::new();
        let mut renamed = HashMap::new();
        for names in fleet.aliases() {
            for (index, period) in self.range.iter().enumerate() {
                let mut present = names.iter().filter(|name| self.has(period, **name));
                let Some(first) = present.next() else {
                    continue;
                };
                for other in present {
                    pairs.insert((*first, *other));
                    if !fleet.has_instance_id(*other) {
                        renamed.insert((index, *other), *first);
                    }
                }
            }
        }
        if !renamed.is_empty() {
            let length = self.range.length as u32 * 1_000;
            for field in 0..self.fields.len() {
                for reading in &mut self.fields[field].1 {
                    let key = ((reading.at / length) as usize, reading.gpu);
                    reading.gpu = renamed.get(&key).copied().unwrap_or(reading.gpu);
                }
                self.sort(field);
            }
        }
        pairs
    }

    fn has(&self, period: Period, gpu: u32) -> bool {
        self.fields.iter().any(|(_, readings)| {
            let of_period = self.within(readings, period);
            of_period
                .binary_search_by_key(&gpu, |reading| reading.gpu)
                .is_ok()
        })
    }

    /// How many readings are held.
    pub fn len(&self) -> usize {
        self.fields.iter().map(|(_, readings)| readings.len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What fell into one of the periods.
    pub fn of<'r>(&'r self, period: Period, fleet: &'r Fleet) -> PeriodReadings<'r> {
        let fields = self
            .fields
            .iter()
            .map(|(field, readings)| (*field, self.within(readings, period)))
            .filter(|(_, readings)| !readings.is_empty())
            .collect();
        let index = (period.start - self.range.start) / self.range.length;
        PeriodReadings {
            period,
            series: self.series[index as usize],
            raw_samples: self.raw_samples[index as usize],
            fields,
            fleet,
        }
    }

    fn within<'r>(&self, readings: &'r [Reading], period: Period) -> &'r [Reading] {
        let offset = |time: i64| (time - self.range.start) * 1_000;
        let before = |time: i64| {
            let offset = offset(time);
            readings.partition_point(|reading| i64::from(reading.at) < offset)
        };
        &readings[before(period.start)..before(period.end)]
    }
}

/// The readings of one period.
#[derive(Debug)]
pub struct PeriodReadings<'r> {
    /// Which.
    pub period: Period,
    /// How many series had a sample in it.
    pub series: u64,
    /// How many samples AMP has of it, believable or not, copies too.
    pub raw_samples: u64,
    fields: Vec<(&'r Field, &'r [Reading])>,
    fleet: &'r Fleet,
}

/// One metric of one period: every sample, as distinct values and how often each came.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution<'r> {
    /// What was measured.
    pub field: &'r Field,
    /// What it was measured on.
    pub of: Subject<'r>,
    /// Value and count, by rising value.
    pub values: Vec<(f64, u32)>,
}

/// What a metric is about, which says its dimensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'r> {
    /// One GPU or MIG instance.
    Gpu(&'r Gpu),
    /// All GPUs of one instance.
    Instance(&'r str),
    /// All GPUs.
    Cluster,
}

impl<'r> Subject<'r> {
    /// Name and value of each CloudWatch dimension.
    pub fn dimensions(self) -> impl Iterator<Item = (&'static str, &'r str)> {
        let (instance, gpu, gpu_instance) = match self {
            Self::Cluster => ("", "", ""),
            Self::Instance(id) => (id, "", ""),
            Self::Gpu(gpu) => (&*gpu.instance_id, &*gpu.gpu, &*gpu.gpu_instance),
        };
        [
            ("InstanceId", instance),
            ("GPU", gpu),
            ("GPUInstance", gpu_instance),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }
}

impl<'r> PeriodReadings<'r> {
    /// Samples, after merging.
    pub fn samples(&self) -> usize {
        self.fields.iter().map(|(_, readings)| readings.len()).sum()
    }

    /// Physical GPUs that sent a sample; MIG instances and further names of one count once.
    pub fn gpus(&self) -> usize {
        let mut boards: Vec<u32> = self
            .fields
            .iter()
            .flat_map(|(_, readings)| readings.chunk_by(|a, b| a.gpu == b.gpu))
            .map(|of_one| self.fleet.board_of(of_one[0].gpu))
            .collect();
        boards.sort_unstable();
        boards.dedup();
        boards.len()
    }

    /// How many metrics a dimension set makes.
    pub fn metrics(&self, set: DimensionSet) -> usize {
        let of_field = |readings: &[Reading]| {
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
        self.fields
            .iter()
            .map(|(_, readings)| of_field(readings))
            .sum()
    }

    /// Every distribution of those dimension sets, made one at a time.
    pub fn distributions(
        &self,
        sets: &[DimensionSet],
    ) -> impl Iterator<Item = Distribution<'r>> + Send + use<'r> {
        let fleet = self.fleet;
        let pairs: Vec<_> = sets
            .iter()
            .flat_map(|set| {
                self.fields
                    .iter()
                    .map(|(field, readings)| (*set, *field, *readings))
            })
            .collect();
        pairs.into_iter().flat_map(move |(set, field, readings)| {
            roll_up(set, readings, fleet).map(move |(of, values)| Distribution {
                field,
                of,
                values,
            })
        })
    }
}

type Rolled<'r> = (Subject<'r>, Vec<(f64, u32)>);

fn roll_up<'r>(
    set: DimensionSet,
    readings: &'r [Reading],
    fleet: &'r Fleet,
) -> Box<dyn Iterator<Item = Rolled<'r>> + Send + 'r> {
    match set {
        DimensionSet::Gpu => Box::new(
            readings
                .chunk_by(|a, b| a.gpu == b.gpu)
                .map(|of_one| (Subject::Gpu(fleet.gpu(of_one[0].gpu)), distinct(of_one))),
        ),
        DimensionSet::Instance => {
            let mut sorted: Vec<&Reading> = readings.iter().collect();
            sorted.sort_by_key(|reading| fleet.instance_of(reading.gpu));
            let instance = |reading: &Reading| fleet.instance_of(reading.gpu);
            let groups: Vec<Rolled<'r>> = sorted
                .chunk_by(|a, b| instance(a) == instance(b))
                .map(|of_one| {
                    let subject = Subject::Instance(&fleet.gpu(of_one[0].gpu).instance_id);
                    (subject, distinct(of_one.iter().copied()))
                })
                .collect();
            Box::new(groups.into_iter())
        }
        DimensionSet::Cluster => Box::new(std::iter::once((Subject::Cluster, distinct(readings)))),
    }
}

/// Distinct values and their counts, by rising value.
fn distinct<'r>(readings: impl IntoIterator<Item = &'r Reading>) -> Vec<(f64, u32)> {
    let mut values: Vec<(f64, u32)> = readings
        .into_iter()
        .map(|reading| (reading.value, 1))
        .collect();
    values.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    values.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        kept.1 += u32::from(same);
        same
    });
    values
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::catalog;

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
        merged: BTreeSet<(u32, u32)>,
    }

    /// All series bear the UUID.
    fn read_with_uuids(uuid: &str, series: &[Series]) -> Read {
        let field = catalog::find("DCGM_FI_DEV_GPU_UTIL").unwrap();
        let mut fleet = Fleet::new(&["instance_id".to_owned()]);
        let mut readings = Readings::new(TWO_MINUTES, Vec::leak(vec![field]));
        for ([gpu, mig, instance_id], samples) in series {
            let gpu = fleet.identify(&[gpu, mig, uuid, instance_id].map(str::to_owned));
            let samples: Vec<Sample> = samples
                .iter()
                .map(|(at, value)| (START * 1_000 + at, *value))
                .collect();
            readings.take(0, gpu, &samples);
        }
        readings.sort(0);
        let merged = readings.merge_aliases(&fleet);
        Read {
            readings,
            fleet,
            merged,
        }
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
            .map(|one| one.of)
            .collect();
        let a = Subject::Gpu(read.fleet.gpu(1));
        assert_eq!(names, [a, a]);
        assert_eq!(read.merged, BTreeSet::from([(1, 0), (1, 2)]));
    }

    #[test]
    fn two_instance_ids_for_one_gpu_are_told_but_not_merged() {
        let ids = ["i-0123456789abcdef0", "i-0123456789abcdef1"];
        let series = ids.map(|id| (["0", "", id], vec![(0, 1.0)]));
        let read = read_with_uuids("GPU-1", &series);
        assert_eq!(read.values(0, DimensionSet::Gpu), [[(1.0, 1)], [(1.0, 1)]]);
        assert_eq!(read.minute(0).gpus(), 1);
        assert_eq!(read.merged, BTreeSet::from([(0, 1)]));
        // One after the other they may well have had it: EC2 gave the board to another instance.
        let moved = [(0, ids[0]), (60_000, ids[1])];
        let moved = moved.map(|(at, id)| (["0", "", id], vec![(at, 1.0)]));
        assert_eq!(read_with_uuids("GPU-1", &moved).merged, BTreeSet::new());
    }

    #[test]
    fn mig_instances_are_apart_but_one_gpu() {
        let read = read(&[
            (["0", "1", "i-a"], vec![(0, 10.0)]),
            (["0", "2", "i-a"], vec![(0, 20.0)]),
            (["1", "", "i-a"], vec![(0, 30.0)]),
        ]);
        assert_eq!(read.minute(0).gpus(), 2);
        assert_eq!(read.minute(0).metrics(DimensionSet::Gpu), 3);
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
        assert_eq!(read.readings.dropped, dropped);
    }

    #[test]
    fn a_period_without_samples_has_no_distribution() {
        let read = read(&[(["0", "", "i-a"], vec![(0, 1.0)])]);
        assert_eq!(read.minute(1).distributions(&EVERY_SET).count(), 0);
        assert_eq!((read.minute(1).gpus(), read.minute(1).samples()), (0, 0));
        assert_eq!(read.minute(1).metrics(DimensionSet::Cluster), 0);
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
                    prop_assert_eq!(of_set.len(), read.minute(minute).metrics(set));
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
