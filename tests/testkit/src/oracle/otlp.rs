//! What has to come by OTLP: every raw sample with its own time, under the name and in the unit of its series.

use std::time::{Duration, UNIX_EPOCH};

use super::{Dimensions, METRICS, Oracle, Published, Values, published};
use crate::doubles::cloudwatch::CloudWatch;

/// Unit of each published field, by the Unified Code for Units of Measure.
const UNITS: [(&str, &str); 6] = [
    ("DCGM_FI_DEV_GPU_UTIL", "%"),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "%"),
    ("DCGM_FI_DEV_GPU_TEMP", "Cel"),
    ("DCGM_FI_DEV_POWER_USAGE", "W"),
    ("DCGM_FI_DEV_FB_USED", "MiBy"),
    ("DCGM_FI_DEV_FB_FREE", "MiBy"),
];

/// Label of a sample, and the dimension of a metric that says the same.
const LABELS: [(&str, &str); 3] = [
    ("instance_id", "InstanceId"),
    ("gpu", "GPU"),
    ("GPU_I_ID", "GPUInstance"),
];

impl Oracle {
    /// All that there has to be where each GPU is sent by OTLP: the metrics of the cluster, and every sample.
    pub fn expected_by_otlp(&self, cluster: &str) -> Published {
        let mut all = self.expected();
        all.retain(|(_, dimensions, _), _| dimensions.is_empty());
        for (field, unit) in UNITS {
            let metric = METRICS.iter().find(|(of, ..)| *of == field);
            let gpus = metric.and_then(|(_, metric, _)| self.samples.get(metric));
            for (gpu, samples) in gpus.into_iter().flatten() {
                let labels = labels(cluster, gpu);
                for (at_ms, value) in samples {
                    add(&mut all, (field, unit), &labels, *at_ms, *value);
                }
            }
        }
        all
    }
}

/// The metrics that CloudWatch holds, and every sample that came by OTLP. A sample that came with different
/// values has all of them.
pub fn published_by_otlp(cloudwatch: &CloudWatch) -> Published {
    let mut all = published(&cloudwatch.datums());
    let units = cloudwatch.otlp_units();
    for ((name, labels), samples) in cloudwatch.otlp_samples() {
        for (at_ms, value) in samples {
            add(&mut all, (&name, &units[&name]), &labels, at_ms, value);
        }
    }
    for point in cloudwatch.otlp_conflicts() {
        let (name, labels) = &point.series;
        add(
            &mut all,
            (name, &point.unit),
            labels,
            point.at_ms,
            point.value,
        );
    }
    all
}

fn add(
    all: &mut Published,
    (name, unit): (&str, &str),
    labels: &Dimensions,
    at_ms: i64,
    value: f64,
) {
    let time = UNIX_EPOCH + Duration::from_millis(at_ms.unsigned_abs());
    let key = (name.to_owned(), labels.clone(), time);
    let (_, values) = all
        .entry(key)
        .or_insert_with(|| (unit.to_owned(), Values::new()));
    let at = values.partition_point(|(other, _)| other.total_cmp(&value).is_lt());
    values.insert(at, (value, 1.0));
}

fn labels(cluster: &str, gpu: &Dimensions) -> Dimensions {
    let of_gpu = LABELS.iter().filter_map(|(label, dimension)| {
        let value = gpu.get(*dimension)?;
        Some(((*label).to_owned(), value.clone()))
    });
    [("cluster".to_owned(), cluster.to_owned())]
        .into_iter()
        .chain(of_gpu)
        .collect()
}
