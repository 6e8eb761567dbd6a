//! The readings of each GPU with their own times, for whoever takes them without rolling them up.

use super::metric::Metric;
use super::reading::Reading;
use super::rollup::PeriodReadings;

/// The newest reading in each interval, of one metric and GPU and by rising time. Where a GPU has several
/// values at one time, the highest is taken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newest<'r> {
    /// Number of the GPU or MIG instance in the fleet.
    pub(crate) gpu: u32,
    /// By rising time; those of one time by rising value.
    readings: &'r [Reading],
    /// Intervals count from here, as the readings' times do. Milliseconds since the epoch.
    origin: i64,
    interval_ms: u32,
}

impl<'r> Newest<'r> {
    /// All readings, whatever their times.
    #[cfg(test)]
    pub(crate) fn of(readings: &'r [Reading], origin: i64) -> Self {
        Self {
            gpu: 0,
            readings,
            origin,
            interval_ms: 1,
        }
    }

    /// Milliseconds since the epoch, and the value in the metric's unit. What a counter counted in a period is
    /// a reading at its start.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (i64, f64)> + use<'r> {
        let origin = self.origin;
        let newest = self.intervals().filter_map(<[Reading]>::last);
        newest.map(move |reading| (origin + i64::from(reading.at), reading.value))
    }

    /// Parts it: the oldest `count` readings, and the rest.
    pub(crate) fn split_at(self, count: usize) -> (Self, Self) {
        let first = self.intervals().take(count).map(<[Reading]>::len).sum();
        let (first, rest) = self.readings.split_at(first);
        let part = |readings| Self { readings, ..self };
        (part(first), part(rest))
    }

    fn intervals(&self) -> impl Iterator<Item = &'r [Reading]> + use<'r> {
        let interval_ms = self.interval_ms;
        self.readings.chunk_by(move |a, b| {
            // Without the first condition each sample of an interval of 1 ms would cost two divisions.
            b.at - a.at < interval_ms && a.at / interval_ms == b.at / interval_ms
        })
    }
}

impl<'r> PeriodReadings<'r> {
    /// For each metric, the newest readings of each GPU in every interval of `interval_ms`. Intervals count
    /// from the start of the range.
    pub(crate) fn newest(
        &self,
        interval_ms: u32,
    ) -> impl Iterator<Item = (&'r Metric, impl Iterator<Item = Newest<'r>> + use<'r>)> + use<'r>
    {
        let origin = self.origin;
        let metrics = self.metrics.clone().into_iter();
        metrics.map(move |(metric, readings)| {
            let of_each = readings.chunk_by(|a, b| a.gpu == b.gpu);
            let of_each = of_each.map(move |readings| Newest {
                gpu: readings[0].gpu,
                readings,
                origin,
                interval_ms,
            });
            (metric, of_each)
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::due::period::{Period, Periods};
    use crate::gpu::collect::{Collector, ReplySeries};
    use crate::gpu::identity::Fleet;
    use crate::gpu::metric::find;
    use crate::gpu::reading::Sample;

    const START: i64 = 1_700_000_040;
    const RANGE: Periods = Periods {
        start: START,
        end: START + 240,
        length: 120,
    };

    /// GPU index, milliseconds from the start of the range, and value of what is newest in the second period.
    fn newest(interval_ms: u32, series: &[(&str, &[(i64, f64)])]) -> Vec<(String, i64, f64)> {
        let metrics = [find("GPUTemperature").unwrap()];
        let mut fleet = Fleet::new(&["instance_id".to_owned()], |_| true);
        let mut collector = Collector::new(RANGE, &metrics);
        collector.take_reply(0, |take| {
            for (gpu, samples) in series {
                let samples = samples
                    .iter()
                    .map(|(at, value)| (START * 1_000 + at, *value));
                let samples: Vec<Sample> = samples.collect();
                take(ReplySeries {
                    name: "DCGM_FI_DEV_GPU_TEMP",
                    gpu: fleet.identify(&[gpu, "", "", "i-1"].map(str::to_owned)),
                    source: "",
                    detail: "",
                    samples: &samples,
                });
            }
        });
        let readings = collector.finish(&fleet);
        let period = Period {
            start: START + 120,
            end: START + 240,
        };
        let of_period = readings.of(period, &fleet);
        let newest = of_period.newest(interval_ms).flat_map(|(metric, of_each)| {
            assert_eq!(metric.name, "GPUTemperature");
            of_each
        });
        let fleet = &fleet;
        let newest = newest.flat_map(|newest| {
            for count in 0..5 {
                let (first, rest) = newest.split_at(count);
                let parts = first.iter().chain(rest.iter());
                assert!(first.iter().count() == count || rest.iter().next().is_none());
                assert!(parts.eq(newest.iter()));
            }
            newest.iter().map(move |(at, value)| {
                (fleet.gpu(newest.gpu).gpu.clone(), at - START * 1_000, value)
            })
        });
        newest.collect()
    }

    #[test]
    fn every_reading_keeps_its_own_time() {
        let series: [(&str, &[(i64, f64)]); 2] = [
            ("0", &[(119_999, 1.0), (120_001, 2.0), (239_999, 3.0)]),
            ("1", &[(120_007, 4.0), (240_000, 5.0)]),
        ];
        let expected = [
            ("0", 120_001, 2.0),
            ("0", 239_999, 3.0),
            ("1", 120_007, 4.0),
        ];
        let expected = expected.map(|(gpu, at, value)| (gpu.to_owned(), at, value));
        assert_eq!(newest(1, &series), expected);
    }

    #[test]
    fn a_minute_has_its_newest_reading() {
        let series: [(&str, &[(i64, f64)]); 2] = [
            ("0", &[(120_000, 1.0), (179_999, 2.0), (180_000, 3.0)]),
            ("1", &[(150_000, 4.0)]),
        ];
        let expected = [
            ("0", 179_999, 2.0),
            ("0", 180_000, 3.0),
            ("1", 150_000, 4.0),
        ];
        let expected = expected.map(|(gpu, at, value)| (gpu.to_owned(), at, value));
        assert_eq!(newest(60_000, &series), expected);
    }

    #[test]
    fn a_time_has_one_value_whatever_the_order_of_the_series() {
        let mut series: [(&str, &[(i64, f64)]); 2] =
            [("0", &[(130_000, 50.0)]), ("0", &[(130_000, 60.0)])];
        for _ in 0..2 {
            assert_eq!(newest(1, &series), [("0".to_owned(), 130_000, 60.0)]);
            series.reverse();
        }
    }
}
