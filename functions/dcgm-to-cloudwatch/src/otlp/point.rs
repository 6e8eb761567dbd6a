//! Readings as OTLP's data points.

use super::labels::Labels;
use super::series::Series;
use crate::gpu::detail::Newest;
use crate::gpu::rollup::PeriodReadings;

/// The points of one metric and GPU, by rising time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Points<'r> {
    /// What was measured.
    pub(crate) series: Series<'r>,
    /// What it was measured on.
    pub(crate) labels: &'r Labels<'r>,
    readings: Newest<'r>,
    count: usize,
}

/// The newest point of each GPU and metric in every interval of `interval_ms`, metric by metric. `labels` are
/// those of the fleet.
pub(crate) fn points<'r>(
    labels: &'r [Labels<'r>],
    readings: &PeriodReadings<'r>,
    interval_ms: u32,
) -> impl Iterator<Item = Points<'r>> + Send + use<'r> {
    let metrics = readings.newest(interval_ms);
    metrics.flat_map(move |(metric, of_each)| {
        let series = Series::of(metric);
        of_each.map(move |readings| Points::new(series, &labels[readings.gpu as usize], readings))
    })
}

impl<'r> Points<'r> {
    fn new(series: Series<'r>, labels: &'r Labels<'r>, readings: Newest<'r>) -> Self {
        Self {
            series,
            labels,
            readings,
            count: readings.iter().count(),
        }
    }

    /// How many they are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Time in milliseconds since the epoch, and value in the series' unit.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, f64)> + use<'r> {
        let scale = self.series.scale;
        let readings = self.readings.iter();
        readings.map(move |(at, value)| (at, scale.apply(value)))
    }

    /// Parts them: the oldest `count`, and the rest.
    pub(crate) fn split_at(self, count: usize) -> (Self, Self) {
        let (first, rest) = self.readings.split_at(count);
        let count = count.min(self.count);
        let part = |readings, count| Self {
            readings,
            count,
            ..self
        };
        (part(first, count), part(rest, self.count - count))
    }

    /// Each of them alone.
    pub(crate) fn alone(self) -> impl Iterator<Item = Self> {
        let mut rest = self;
        std::iter::from_fn(move || {
            let (first, others) = rest.split_at(1);
            rest = others;
            (first.count > 0).then_some(first)
        })
    }

    /// The bytes that are charged at least: of each point the name, the labels, 8 for the time and 8 for the
    /// value. <https://aws.amazon.com/cloudwatch/pricing/>
    pub(crate) fn charged_bytes(&self) -> u64 {
        (self.count * (self.series.name.len() + self.labels.text_len + 8 + 8)) as u64
    }
}

/// How many points these are together.
pub(crate) fn count(points: &[Points<'_>]) -> usize {
    points.iter().map(Points::count).sum()
}

#[cfg(test)]
pub(super) mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::gpu::metric::{Metric, custom, find};
    use crate::gpu::reading::Reading;
    use crate::gpu::unit::Unit;
    use crate::otlp::labels::tests::gpu;

    pub(crate) const ORIGIN: i64 = 1_764_000_000_000;

    static METRICS: LazyLock<[Metric; 3]> = LazyLock::new(|| {
        let [utilization, temperature] =
            ["GPUUtilization", "GPUTemperature"].map(|name| find(name).unwrap());
        [
            utilization,
            temperature,
            custom("fan_speed", "Fan", Unit::None),
        ]
    });

    /// Points of one of three metrics, the last of which has no unit. Times count from [`ORIGIN`].
    pub(crate) fn points<'r>(
        metric: usize,
        labels: &'r Labels<'r>,
        readings: &'r [Reading],
    ) -> Points<'r> {
        points_since(ORIGIN, metric, labels, readings)
    }

    /// The same, whose times count from `origin`.
    pub(crate) fn points_since<'r>(
        origin: i64,
        metric: usize,
        labels: &'r Labels<'r>,
        readings: &'r [Reading],
    ) -> Points<'r> {
        let series = Series::of(&METRICS[metric]);
        Points::new(series, labels, Newest::of(readings, origin))
    }

    /// A reading of the GPU that the points are said to be of.
    pub(crate) fn reading(at: u32, value: f64) -> Reading {
        Reading { gpu: 0, at, value }
    }

    #[test]
    fn names_labels_times_and_values_are_charged() {
        let gpu = gpu("i-0123456789abcdef0", "7", "");
        let labels = Labels::new("p5en", &gpu);
        let readings = [reading(0, 1.0), reading(15_000, 1.0)];
        let points = points(0, &labels, &readings);
        assert_eq!(points.charged_bytes(), 2 * (20 + 11 + 30 + 4 + 16));
    }
}
