//! What CloudWatch has to hold: every raw sample, once for its GPU and once for the cluster, and how
//! many GPUs sent one. It takes nothing from the function under test.

mod otlp;
mod published;
mod statistic;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;

pub use self::otlp::published_by_otlp;
use self::published::counted;
pub use self::published::{Published, Tally, Values, published};
pub use self::statistic::Statistic;
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

/// What the rules count in the whole cluster.
pub const COUNTED_BY_RULES: [&str; 6] = [
    "GPUIdleCostPerHour",
    "GPUsIdle",
    "GPUsMissing",
    "GPUsThrottled",
    "GPUsUnhealthy",
    "NodesStraggling",
];

/// Names and values; none for a metric of the cluster.
pub type Dimensions = BTreeMap<String, String>;

/// A CloudWatch metric: of one GPU, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Metric {
    /// As CloudWatch calls it.
    pub name: String,
    /// None for the cluster.
    pub dimensions: Dimensions,
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
}
