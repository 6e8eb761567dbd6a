//! Readings as OTLP's data points.

use super::series::Series;
use crate::gpu::identity::Gpu;
use crate::gpu::rollup::PeriodReadings;

/// A value of one GPU at one time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point<'r> {
    /// What was measured.
    pub(crate) series: Series<'r>,
    /// The GPU or MIG instance it was measured on.
    pub(crate) gpu: &'r Gpu,
    /// Milliseconds since the epoch.
    pub(crate) at: i64,
    /// In the series' unit.
    pub(crate) value: f64,
}

/// The newest point of each GPU and metric in every interval of `interval_ms`, metric by metric.
pub(crate) fn points<'r>(
    readings: &PeriodReadings<'r>,
    interval_ms: u32,
) -> impl Iterator<Item = Point<'r>> + Send + use<'r> {
    readings.newest(interval_ms).flat_map(|(metric, readings)| {
        let series = Series::of(metric);
        readings.map(move |reading| Point {
            series,
            gpu: reading.gpu,
            at: reading.at,
            value: series.scale.apply(reading.value),
        })
    })
}

impl<'r> Point<'r> {
    /// Name and value of each label.
    pub(crate) fn labels(&self, cluster: &'r str) -> impl Iterator<Item = (&'static str, &'r str)> {
        let Gpu {
            instance_id,
            gpu,
            gpu_instance,
        } = self.gpu;
        [
            ("cluster", cluster),
            ("instance_id", instance_id),
            ("gpu", gpu),
            ("GPU_I_ID", gpu_instance),
        ]
        .into_iter()
        .filter(|(_, value)| !value.is_empty())
    }

    /// The bytes that are charged at least: the name, the labels, 8 for the time and 8 for the value.
    /// <https://aws.amazon.com/cloudwatch/pricing/>
    pub(crate) fn charged_bytes(&self, cluster: &'r str) -> u64 {
        let labels = self.labels(cluster);
        let labels: usize = labels.map(|(name, value)| name.len() + value.len()).sum();
        (self.series.name.len() + labels + 8 + 8) as u64
    }
}

/// Points of one metric that follow each other.
pub(crate) fn by_metric<'p, 'r>(points: &'p [Point<'r>]) -> impl Iterator<Item = &'p [Point<'r>]> {
    points.chunk_by(|a, b| a.series.is_same(&b.series))
}

/// Points of one GPU that follow each other.
pub(crate) fn by_gpu<'p, 'r>(points: &'p [Point<'r>]) -> impl Iterator<Item = &'p [Point<'r>]> {
    points.chunk_by(|a, b| std::ptr::eq(a.gpu, b.gpu))
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::gpu::metric::{Metric, custom, find};
    use crate::gpu::unit::Unit;

    static METRICS: LazyLock<[Metric; 3]> = LazyLock::new(|| {
        let [utilization, temperature] =
            ["GPUUtilization", "GPUTemperature"].map(|name| find(name).unwrap());
        [
            utilization,
            temperature,
            custom("fan_speed", "Fan", Unit::None),
        ]
    });

    /// A point of one of three metrics, the last of which has no unit.
    pub(crate) fn point(metric: usize, gpu: &Gpu, at: i64, value: f64) -> Point<'_> {
        Point {
            series: Series::of(&METRICS[metric]),
            gpu,
            at,
            value,
        }
    }

    pub(crate) fn gpu(instance_id: &str, gpu: &str, gpu_instance: &str) -> Gpu {
        Gpu {
            instance_id: instance_id.to_owned(),
            gpu: gpu.to_owned(),
            gpu_instance: gpu_instance.to_owned(),
        }
    }

    #[test]
    fn a_point_has_the_labels_that_its_gpu_has() {
        let whole = gpu("i-0123456789abcdef0", "7", "");
        let whole = point(0, &whole, 0, 1.0);
        let expected = [
            ("cluster", "p5en"),
            ("instance_id", "i-0123456789abcdef0"),
            ("gpu", "7"),
        ];
        assert_eq!(whole.labels("p5en").collect::<Vec<_>>(), expected);
        assert_eq!(whole.charged_bytes("p5en"), 20 + 11 + 30 + 4 + 16);
        let mig = gpu("i-0", "7", "3");
        let mig = point(0, &mig, 0, 1.0);
        assert_eq!(mig.labels("p5en").last(), Some(("GPU_I_ID", "3")));
    }
}
