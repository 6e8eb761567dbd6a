//! What CloudWatch has to hold: every raw sample that Prometheus holds, once for its GPU and once
//! for the cluster, and how many GPUs there were. It takes nothing from the function under test.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use serde_json::Value;

use crate::doubles::cloudwatch::Datum;

/// Metric of each published field, as the documents have it.
pub const METRICS: [(&str, &str); 6] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization"),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "GPUMemoryUtilization"),
    ("DCGM_FI_DEV_GPU_TEMP", "GPUTemperature"),
    ("DCGM_FI_DEV_POWER_USAGE", "GPUPowerUsage"),
    ("DCGM_FI_DEV_FB_USED", "GPUMemoryUsed"),
    ("DCGM_FI_DEV_FB_FREE", "GPUMemoryFree"),
];

/// The metric of how many GPUs sent a sample in a period.
pub const GPUS_REPORTING: &str = "GPUsReporting";

type Dimensions = BTreeMap<String, String>;

/// How often there is each value, by its bits, in each period, by its start in milliseconds.
type Periods = BTreeMap<i64, BTreeMap<u64, u64>>;

/// The values of every metric.
#[derive(Debug, Default)]
pub struct Values(BTreeMap<(String, Dimensions), Periods>);

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

impl Tally {
    /// Values that are not there.
    pub fn lost(&self) -> u64 {
        self.expected - self.found
    }
}

impl Values {
    /// What a Prometheus holds of that span, in periods of that length.
    ///
    /// # Errors
    /// It does not answer, or holds what is no number of a GPU.
    pub async fn measured(
        prometheus: &str,
        span: Range<SystemTime>,
        period: Duration,
    ) -> anyhow::Result<Self> {
        let span = millis(span.start)..millis(span.end);
        let period = period.as_millis() as i64;
        let mut values = Self::default();
        let mut reporting = BTreeMap::<i64, BTreeSet<Dimensions>>::new();
        for (field, metric) in METRICS {
            let answer = raw_samples(prometheus, field, &span).await?;
            for series in answer["data"]["result"].as_array().context("a matrix")? {
                let gpu = gpu(&series["metric"])?;
                let mut of_gpu = Periods::new();
                for sample in series["values"].as_array().context("samples")? {
                    let (at, value) = read(sample)?;
                    if span.contains(&at) {
                        add(&mut of_gpu, at.div_euclid(period) * period, value, 1);
                    }
                }
                let mut board = gpu.clone();
                board.remove("GPUInstance");
                for start in of_gpu.keys() {
                    reporting.entry(*start).or_default().insert(board.clone());
                }
                values.merge(metric, Dimensions::new(), &of_gpu);
                values.merge(metric, gpu, &of_gpu);
            }
        }
        let mut counts = Periods::new();
        for (start, gpus) in reporting {
            add(&mut counts, start, gpus.len() as f64, 1);
        }
        values.merge(GPUS_REPORTING, Dimensions::new(), &counts);
        Ok(values)
    }

    /// What a CloudWatch holds.
    pub fn published(datums: &[Datum]) -> Self {
        let mut values = Self::default();
        for datum in datums {
            let mut of_datum = Periods::new();
            for (value, count) in &datum.values {
                add(&mut of_datum, datum.timestamp_ms, *value, *count as u64);
            }
            values.merge(&datum.name, datum.dimensions.clone(), &of_datum);
        }
        values
    }

    /// Holds what is `published` against this.
    pub fn tally(&self, published: &Self) -> Tally {
        let mut tally = Tally::default();
        for (metric, start, value, expected) in self.all() {
            let count = published.count(metric, start, value);
            tally.expected += expected;
            tally.found += count.min(expected);
            tally.doubled += count.saturating_sub(expected);
        }
        for (metric, start, value, count) in published.all() {
            if self.count(metric, start, value) == 0 {
                tally.foreign += count;
            }
        }
        tally
    }

    fn all(&self) -> impl Iterator<Item = (&(String, Dimensions), i64, u64, u64)> {
        self.0.iter().flat_map(|(metric, periods)| {
            periods.iter().flat_map(move |(start, values)| {
                let values = values.iter();
                values.map(move |(value, count)| (metric, *start, *value, *count))
            })
        })
    }

    fn count(&self, metric: &(String, Dimensions), start: i64, value: u64) -> u64 {
        let periods = self.0.get(metric);
        let values = periods.and_then(|periods| periods.get(&start));
        values
            .and_then(|values| values.get(&value))
            .copied()
            .unwrap_or_default()
    }

    fn merge(&mut self, metric: &str, dimensions: Dimensions, more: &Periods) {
        let periods = self.0.entry((metric.to_owned(), dimensions)).or_default();
        for (start, values) in more {
            for (value, count) in values {
                add(periods, *start, f64::from_bits(*value), *count);
            }
        }
    }
}

fn add(periods: &mut Periods, start: i64, value: f64, count: u64) {
    let values = periods.entry(start).or_default();
    *values.entry(value.to_bits()).or_default() += count;
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

fn gpu(labels: &Value) -> anyhow::Result<Dimensions> {
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

/// Milliseconds and value of `[seconds, "value"]`.
fn read(sample: &Value) -> anyhow::Result<(i64, f64)> {
    let seconds = sample[0].as_f64().context("a time")?;
    let value = sample[1].as_str().context("a value")?;
    Ok(((seconds * 1_000.0).round() as i64, value.parse()?))
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
        let values = |all: &[(&str, f64, u64)]| {
            let mut values = Values::default();
            for (metric, value, count) in all {
                let mut periods = Periods::new();
                add(&mut periods, 0, *value, *count);
                values.merge(metric, Dimensions::new(), &periods);
            }
            values
        };
        let measured = values(&[("A", 1.0, 4), ("A", 2.0, 1), ("B", 1.0, 1)]);
        let published = values(&[("A", 1.0, 3), ("A", 2.0, 3), ("A", 3.0, 2), ("C", 1.0, 1)]);
        let tally = measured.tally(&published);
        let expected = Tally {
            expected: 6,
            found: 4,
            doubled: 2,
            foreign: 3,
        };
        assert_eq!((tally, tally.lost()), (expected, 2));
    }
}
