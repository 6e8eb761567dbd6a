//! The readings of each GPU with their own times, for whoever takes them without rolling them up.

use super::identity::Gpu;
use super::metric::Metric;
use super::reading::Reading;
use super::rollup::PeriodReadings;

/// A reading, and the GPU it is of.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct GpuReading<'r> {
    /// The GPU or MIG instance.
    pub(crate) gpu: &'r Gpu,
    /// Milliseconds since the epoch. What a counter counted in a period is a reading at its start.
    pub(crate) at: i64,
    /// In the metric's unit.
    pub(crate) value: f64,
}

impl<'r> PeriodReadings<'r> {
    /// For each metric, the newest reading of each GPU in every interval of `interval_ms`. Intervals count
    /// from the start of the range. Where a GPU has several values at one time, the highest is taken.
    pub(crate) fn newest(
        &self,
        interval_ms: u32,
    ) -> impl Iterator<Item = (&'r Metric, impl Iterator<Item = GpuReading<'r>> + use<'r>)> + use<'r>
    {
        let (fleet, origin) = (self.fleet, self.origin);
        let is_one = move |a: &Reading, b: &Reading| {
            a.gpu == b.gpu && a.at / interval_ms == b.at / interval_ms
        };
        self.metrics
            .clone()
            .into_iter()
            .map(move |(metric, readings)| {
                let newest = readings.chunk_by(is_one).filter_map(<[Reading]>::last);
                let newest = newest.map(move |reading| GpuReading {
                    gpu: fleet.gpu(reading.gpu),
                    at: origin + i64::from(reading.at),
                    value: reading.value,
                });
                (metric, newest)
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
        let newest = of_period
            .newest(interval_ms)
            .flat_map(|(metric, readings)| {
                assert_eq!(metric.name, "GPUTemperature");
                readings
            });
        newest
            .map(|one| (one.gpu.gpu.clone(), one.at - START * 1_000, one.value))
            .collect()
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
