//! What CloudWatch has to hold: every raw sample, once for its GPU and once for the cluster, and how
//! many GPUs sent one. It takes nothing from the function under test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;

use crate::doubles::cloudwatch::Datum;
use crate::doubles::dcgm_exporter::{Field, Node};

/// Metric and unit of each published field, as the documents have them.
pub const METRICS: [(&str, &str, &str); 6] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization", "Percent"),
    (
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "GPUMemoryUtilization",
        "Percent",
    ),
    ("DCGM_FI_DEV_GPU_TEMP", "GPUTemperature", "None"),
    ("DCGM_FI_DEV_POWER_USAGE", "GPUPowerUsage", "None"),
    ("DCGM_FI_DEV_FB_USED", "GPUMemoryUsed", "Megabytes"),
    ("DCGM_FI_DEV_FB_FREE", "GPUMemoryFree", "Megabytes"),
];

/// The metric of how many GPUs sent a sample in a period.
pub const GPUS_REPORTING: &str = "GPUsReporting";

/// Names and values; none for a metric of the cluster.
pub type Dimensions = BTreeMap<String, String>;

/// Values by rising size, and how often each occurred.
pub type Values = Vec<(f64, f64)>;

/// Unit and values by metric, dimensions and start of the period.
pub type Published = BTreeMap<(String, Dimensions, SystemTime), (String, Values)>;

/// A CloudWatch metric: of one GPU, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// As CloudWatch calls it.
    pub name: String,
    /// None for the cluster.
    pub dimensions: Dimensions,
}

/// CloudWatch's statistics of the samples of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Statistic {
    /// The mean.
    Average,
    /// The smallest.
    Minimum,
    /// The largest.
    Maximum,
    /// All added up.
    Sum,
    /// How many.
    SampleCount,
    /// The smallest that nine in ten do not exceed.
    P90,
}

/// Samples that count, of a span of time.
#[derive(Debug)]
pub struct Oracle {
    span_ms: Range<i64>,
    period_ms: i64,
    /// By metric, GPU and time in milliseconds.
    samples: BTreeMap<&'static str, BTreeMap<Dimensions, BTreeMap<i64, f64>>>,
    not_a_number: usize,
}

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

impl Metric {
    /// A metric of all GPUs together.
    pub fn of_cluster(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            dimensions: Dimensions::new(),
        }
    }
}

/// The dimensions of a whole GPU.
pub fn gpu(instance_id: &str, gpu: u32) -> Dimensions {
    [("InstanceId", instance_id), ("GPU", &gpu.to_string())]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

impl Statistic {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Average,
        Self::Minimum,
        Self::Maximum,
        Self::Sum,
        Self::SampleCount,
        Self::P90,
    ];

    /// As CloudWatch calls it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Average => "Average",
            Self::Minimum => "Minimum",
            Self::Maximum => "Maximum",
            Self::Sum => "Sum",
            Self::SampleCount => "SampleCount",
            Self::P90 => "p90",
        }
    }

    /// Of samples by rising value, of which there is at least one.
    fn of(self, samples: &[f64]) -> f64 {
        let count = samples.len();
        let sum: f64 = samples.iter().sum();
        match self {
            Self::Average => sum / count as f64,
            Self::Minimum => samples[0],
            Self::Maximum => samples[count - 1],
            Self::Sum => sum,
            Self::SampleCount => count as f64,
            // The nearest rank.
            Self::P90 => samples[(90 * count).div_ceil(100) - 1],
        }
    }
}

impl Oracle {
    /// Knows no sample yet, and will count those of this span, published in periods of this length.
    pub fn new(span: Range<SystemTime>, period: Duration) -> Self {
        Self {
            span_ms: millis(span.start)..millis(span.end),
            period_ms: period.as_millis() as i64,
            samples: BTreeMap::new(),
            not_a_number: 0,
        }
    }

    /// Adds a sample, if its field is published and its time is in the span.
    pub fn add(&mut self, field: &str, gpu: &Dimensions, at_ms: i64, value: f64) {
        let metric = METRICS.iter().find(|(of, ..)| *of == field);
        let Some((_, metric, _)) = metric.filter(|_| self.span_ms.contains(&at_ms)) else {
            return;
        };
        if !value.is_finite() {
            self.not_a_number += 1;
            return;
        }
        let gpus = self.samples.entry(metric).or_default();
        let samples = gpus.entry(gpu.clone()).or_default();
        samples.insert(at_ms, value);
    }

    /// Adds what these nodes' exporters show at each of `times`.
    pub fn add_load(&mut self, nodes: &[Node], times: &[SystemTime]) {
        for node in nodes {
            for series in node.series() {
                let mut gpu = gpu(&node.instance_id, series.gpu);
                let mig = series.mig.iter();
                gpu.extend(mig.map(|mig| ("GPUInstance".to_owned(), mig.id.to_string())));
                for field in Field::published() {
                    for time in times {
                        let value = node.load(&series, field, *time);
                        self.add(field.name, &gpu, millis(*time), value);
                    }
                }
            }
        }
    }

    /// Adds what a Prometheus holds of the span.
    ///
    /// # Errors
    /// It does not answer, or holds what is no number of a GPU.
    pub async fn add_stored(&mut self, prometheus: &str) -> anyhow::Result<()> {
        for (field, ..) in METRICS {
            let answer = raw_samples(prometheus, field, &self.span_ms).await?;
            for series in answer["data"]["result"].as_array().context("a matrix")? {
                let gpu = labelled(&series["metric"])?;
                for sample in series["values"].as_array().context("samples")? {
                    let seconds = sample[0].as_f64().context("a time")?;
                    let value = sample[1].as_str().context("a value")?;
                    let at_ms = (seconds * 1_000.0).round() as i64;
                    self.add(field, &gpu, at_ms, value.parse()?);
                }
            }
        }
        Ok(())
    }

    /// How many samples were left out because they are no numbers.
    pub fn not_a_number(&self) -> usize {
        self.not_a_number
    }

    /// Every metric that there has to be.
    pub fn metrics(&self) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for (name, gpus) in &self.samples {
            metrics.push(Metric::of_cluster(name));
            metrics.extend(gpus.keys().map(|gpu| Metric {
                dimensions: gpu.clone(),
                ..Metric::of_cluster(name)
            }));
        }
        if !self.samples.is_empty() {
            metrics.push(Metric::of_cluster(GPUS_REPORTING));
        }
        metrics
    }

    /// The data points of a metric by the start of their period in seconds, no point for a period
    /// without any sample. `period`, in seconds, may differ from that of publishing.
    pub fn points(&self, metric: &Metric, statistic: Statistic, period: i64) -> BTreeMap<i64, f64> {
        let periods = self.values(metric, period * 1_000).into_iter();
        let points = periods.map(|(start, samples)| (start / 1_000, statistic.of(&samples)));
        points.collect()
    }

    /// All that has to be published.
    pub fn expected(&self) -> Published {
        let mut all = Published::new();
        for metric in self.metrics() {
            let unit = METRICS.iter().find(|(_, name, _)| *name == metric.name);
            let unit = unit.map_or("Count", |(.., unit)| unit);
            for (start, samples) in self.values(&metric, self.period_ms) {
                let start = UNIX_EPOCH + Duration::from_millis(start.unsigned_abs());
                let values = counted(samples.into_iter().map(|value| (value, 1.0)).collect());
                let key = (metric.name.clone(), metric.dimensions.clone(), start);
                all.insert(key, (unit.to_owned(), values));
            }
        }
        all
    }

    /// By rising value, for each period by its start in milliseconds.
    fn values(&self, metric: &Metric, period_ms: i64) -> BTreeMap<i64, Vec<f64>> {
        let mut periods = BTreeMap::<i64, Vec<f64>>::new();
        let mut add = |at_ms: i64, value| {
            let start = at_ms.div_euclid(period_ms) * period_ms;
            periods.entry(start).or_default().push(value);
        };
        if metric.name == GPUS_REPORTING {
            for (start, gpus) in self.reporting() {
                add(start, gpus.len() as f64);
            }
        }
        for (gpu, samples) in self.samples.get(&*metric.name).into_iter().flatten() {
            if metric.dimensions.is_empty() || metric.dimensions == *gpu {
                samples
                    .iter()
                    .for_each(|(at_ms, value)| add(*at_ms, *value));
            }
        }
        for values in periods.values_mut() {
            values.sort_by(f64::total_cmp);
        }
        periods
    }

    /// The GPUs with a sample of any metric, MIG instances as the GPU they are on.
    fn reporting(&self) -> BTreeMap<i64, BTreeSet<Dimensions>> {
        let mut reporting = BTreeMap::<i64, BTreeSet<Dimensions>>::new();
        for (gpu, samples) in self.samples.values().flatten() {
            let mut gpu = gpu.clone();
            gpu.remove("GPUInstance");
            let periods = samples.keys().map(|at_ms| at_ms.div_euclid(self.period_ms));
            for period in periods.collect::<BTreeSet<_>>() {
                let gpus = reporting.entry(period * self.period_ms).or_default();
                gpus.insert(gpu.clone());
            }
        }
        reporting
    }
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
fn counted(mut values: Values) -> Values {
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

/// Prometheus 2 takes the left edge of a range in, and a millisecond before its right edge is its
/// resolution.
async fn raw_samples(prometheus: &str, field: &str, span: &Range<i64>) -> anyhow::Result<Value> {
    let query = format!("{field}[{}ms]", span.end - span.start);
    let time = (span.end - 1) as f64 / 1_000.0;
    let url = reqwest::Url::parse_with_params(
        &format!("{prometheus}/api/v1/query"),
        [("query", query), ("time", format!("{time:.3}"))],
    )?;
    let reply = reqwest::get(url).await?.error_for_status()?;
    Ok(serde_json::from_slice(&reply.bytes().await?)?)
}

fn labelled(labels: &Value) -> anyhow::Result<Dimensions> {
    let dimension = |name: &str, label: &str| {
        let value = labels[label].as_str();
        value.map(|value| (name.to_owned(), value.to_owned()))
    };
    let instance =
        dimension("InstanceId", "instance_id").context("a series without instance_id")?;
    let gpu = dimension("GPU", "gpu").context("a series without gpu")?;
    let mig = dimension("GPUInstance", "GPU_I_ID");
    Ok([instance, gpu].into_iter().chain(mig).collect())
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
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

    #[test]
    fn a_sample_counts_for_its_gpu_and_the_cluster_in_its_period() {
        let minute = Duration::from_secs(60);
        let mut oracle = Oracle::new(UNIX_EPOCH..UNIX_EPOCH + 2 * minute, minute);
        let mut slice = gpu("i-1", 0);
        slice.insert("GPUInstance".to_owned(), "1".to_owned());
        for (gpu, at_ms, value) in [
            (&gpu("i-1", 0), 0, 1.0),
            (&gpu("i-1", 0), 59_999, 1.0),
            (&slice, 1_000, 3.0),
            (&gpu("i-2", 0), 60_000, 2.0),
            (&gpu("i-2", 0), 61_000, f64::NAN),
            (&gpu("i-2", 0), 120_000, 9.0),
        ] {
            oracle.add("DCGM_FI_DEV_GPU_TEMP", gpu, at_ms, value);
        }
        oracle.add("DCGM_FI_DEV_SM_CLOCK", &gpu("i-1", 0), 0, 9.0);

        let at = |name: &str, dimensions: &Dimensions, minutes: u32, unit: &str, values: &[_]| {
            let key = (
                name.to_owned(),
                dimensions.clone(),
                UNIX_EPOCH + minutes * minute,
            );
            (key, (unit.to_owned(), values.to_vec()))
        };
        let (cluster, temperature) = (Dimensions::new(), "GPUTemperature");
        let expected = Published::from([
            at(temperature, &cluster, 0, "None", &[(1.0, 2.0), (3.0, 1.0)]),
            at(temperature, &cluster, 1, "None", &[(2.0, 1.0)]),
            at(temperature, &gpu("i-1", 0), 0, "None", &[(1.0, 2.0)]),
            at(temperature, &slice, 0, "None", &[(3.0, 1.0)]),
            at(temperature, &gpu("i-2", 0), 1, "None", &[(2.0, 1.0)]),
            at(GPUS_REPORTING, &cluster, 0, "Count", &[(1.0, 1.0)]),
            at(GPUS_REPORTING, &cluster, 1, "Count", &[(1.0, 1.0)]),
        ]);
        assert_eq!(oracle.expected(), expected);
        assert_eq!(oracle.not_a_number(), 1);
        let sum = |period| oracle.points(&Metric::of_cluster(temperature), Statistic::Sum, period);
        assert_eq!(sum(60), BTreeMap::from([(0, 5.0), (60, 2.0)]));
        assert_eq!(sum(120), BTreeMap::from([(0, 7.0)]));
    }

    #[test]
    fn statistics_are_those_of_the_samples() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let of = |samples: &[f64]| Statistic::ALL.map(|statistic| statistic.of(samples));
        assert_eq!(of(&ten), [5.5, 1.0, 10.0, 55.0, 10.0, 9.0]);
        assert_eq!(of(&[7.0]), [7.0, 7.0, 7.0, 7.0, 1.0, 7.0]);
        let eleven: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(Statistic::P90.of(&eleven), 10.0);
    }
}
