//! The catalogue of metrics: the name, unit and possible values of each, and every series name that
//! exporters have used for it.
//!
//! DCGM 4.7 (dcgm-exporter 4.9) renamed most fields and changed the units of many to base units. A fleet
//! that is being upgraded has series of both generations; they are one metric.
//! <https://docs.nvidia.com/datacenter/dcgm/latest/dcgm-api/dcgm-api-field-ids.html>

use std::ops::RangeInclusive;

use super::reading::ANY;
use super::unit::Unit;

/// A metric, and the series that it is read from.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The name it is published under, `GPUUtilization`.
    pub name: String,
    /// The unit of its values.
    pub(crate) unit: Unit,
    /// Values outside this range are garbage, or a placeholder for a missing one.
    pub(crate) possible: RangeInclusive<f64>,
    /// What its series count.
    pub(crate) kind: Kind,
    /// Its series. Where a GPU has several of one part at one time, the first one counts.
    pub(crate) series: Vec<Series>,
}

/// What the series of a metric count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value at a time. Every sample is published.
    Gauge,
    /// Events since some start. The increase in each period is published, summed over the metric's parts.
    Counter,
    /// Seconds in a state since some start. The share of each period in per cent is published, that of
    /// the largest of the metric's parts.
    Share,
}

/// A series name, and how its values become the metric's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// `DCGM_FI_DEV_GPU_UTIL`
    pub(crate) name: String,
    /// Converts a value into the metric's unit.
    pub(crate) scale: Scale,
    /// The same name has another scale on nodes of an older DCGM.
    pub(crate) older_scale: Option<Scale>,
    /// Names of one part are the same quantity; different parts are different ones.
    pub(crate) part: u8,
}

/// A factor as a fraction, so that a unit's powers of ten divide exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scale {
    numerator: u32,
    denominator: u32,
}

impl Scale {
    pub(crate) const ONE: Self = Self::new(1, 1);
    const RATIO_TO_PERCENT: Self = Self::new(100, 1);
    const BYTES_TO_MEBIBYTES: Self = Self::new(1, 1 << 20);
    const HERTZ_TO_MEGAHERTZ: Self = Self::new(1, 1_000_000);
    const MILLI_TO_ONE: Self = Self::new(1, 1_000);
    const NANO_TO_ONE: Self = Self::new(1, 1_000_000_000);

    const fn new(numerator: u32, denominator: u32) -> Self {
        Self {
            numerator,
            denominator,
        }
    }

    /// Converts a value. A product is rounded to 9 decimals: 0.29 is 29 per cent, not 28.999999999999996.
    pub(crate) fn apply(self, value: f64) -> f64 {
        if self.is_one() {
            return value;
        }
        let scaled = value * f64::from(self.numerator) / f64::from(self.denominator);
        let rounded = (scaled * 1e9).round() / 1e9;
        if self.numerator == 1 || !rounded.is_finite() {
            scaled
        } else {
            rounded
        }
    }

    /// Whether it leaves values as they are.
    pub(crate) fn is_one(self) -> bool {
        self.numerator == self.denominator
    }

    /// The scale that undoes this one.
    pub(crate) fn inverse(self) -> Self {
        Self::ONE.over(self)
    }

    /// This scale, undone by `other`.
    fn over(self, other: Self) -> Self {
        let (mut a, mut b) = (
            u64::from(self.numerator) * u64::from(other.denominator),
            u64::from(self.denominator) * u64::from(other.numerator),
        );
        let divisor = greatest_common_divisor(a, b);
        (a, b) = (a / divisor, b / divisor);
        let part = |value| {
            u32::try_from(value).expect("BUG: scales of one metric differ by a power of ten")
        };
        Self::new(part(a), part(b))
    }
}

fn greatest_common_divisor(a: u64, b: u64) -> u64 {
    if b == 0 {
        a
    } else {
        greatest_common_divisor(b, a % b)
    }
}

/// The default of `DCGM_FIELDS`, by the names of DCGM before 4.7.
pub const DEFAULT_FIELDS: [&str; 6] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
];

/// Name of the metric that counts the GPUs with a sample in the period.
pub const GPUS_REPORTING: &str = "GPUsReporting";

/// Series that every exporter always has. Beside a counter that only appears with its first event, they show
/// that the exporter was there before without it.
pub(crate) const ALWAYS_THERE: [&str; 2] = ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS"];

/// If a GPU lacks a sensor, DCGM or the driver may report 0 instead. So 0 is possible only for what can be
/// 0 on a working GPU: a share of time, memory in use or free, a transfer rate.
const ABOVE_ZERO: f64 = f64::MIN_POSITIVE;

const PERCENT: (f64, f64) = (0.0, 100.0);
/// A GPU shuts down well below 150 °C.
const CELSIUS: (f64, f64) = (ABOVE_ZERO, 150.0);
/// Several times what one accelerator draws today (B300: 1,400 W).
const WATTS: (f64, f64) = (ABOVE_ZERO, 5_000.0);
/// 4 TiB; a B300 has 288 GiB.
const MEBIBYTES: (f64, f64) = (0.0, 4_194_304.0);
const MEGAHERTZ: (f64, f64) = (ABOVE_ZERO, 20_000.0);
const RATIO: (f64, f64) = (0.0, 1.0);
/// NVLink 5 moves 0.9 TB/s each way.
const BYTES_PER_SECOND: (f64, f64) = (0.0, 1e13);
const INCREASE: (f64, f64) = (0.0, 1e15);

struct Row {
    name: &'static str,
    unit: Unit,
    possible: (f64, f64),
    kind: Kind,
    /// Name, scale and part of each series.
    series: &'static [(&'static str, Scale, u8)],
}

const fn gauge(
    name: &'static str,
    unit: Unit,
    possible: (f64, f64),
    series: &'static [(&'static str, Scale, u8)],
) -> Row {
    Row {
        name,
        unit,
        possible,
        kind: Kind::Gauge,
        series,
    }
}

use Scale as S;

/// Gauges of dcgm-exporter's `default-counters.csv` and its commented profiling gauges, and counters that
/// say something about a GPU's health or cost. Names of each metric begin with the oldest.
#[rustfmt::skip]
const CATALOG: [Row; 25] = [
    gauge("GPUUtilization", Unit::Percent, PERCENT, &[
        ("DCGM_FI_DEV_GPU_UTIL", S::ONE, 0),
        (GPU_UTIL_RATIO, S::RATIO_TO_PERCENT, 0),
    ]),
    gauge("GPUMemoryUtilization", Unit::Percent, PERCENT, &[
        ("DCGM_FI_DEV_MEM_COPY_UTIL", S::ONE, 0),
        ("DCGM_FI_DEV_MEMORY_UTIL_RATIO", S::RATIO_TO_PERCENT, 0),
    ]),
    gauge("GPUTemperature", Unit::None, CELSIUS, &[
        ("DCGM_FI_DEV_GPU_TEMP", S::ONE, 0),
        ("DCGM_FI_DEV_GPU_TEMP_CELSIUS", S::ONE, 0),
    ]),
    gauge("GPUPowerUsage", Unit::None, WATTS, &[
        ("DCGM_FI_DEV_POWER_USAGE", S::ONE, 0),
        ("DCGM_FI_DEV_BOARD_POWER_WATTS", S::ONE, 0),
    ]),
    gauge("GPUMemoryUsed", Unit::Megabytes, MEBIBYTES, &[
        ("DCGM_FI_DEV_FB_USED", S::ONE, 0),
        ("DCGM_FI_DEV_FB_USED_BYTES", S::BYTES_TO_MEBIBYTES, 0),
    ]),
    gauge("GPUMemoryFree", Unit::Megabytes, MEBIBYTES, &[
        ("DCGM_FI_DEV_FB_FREE", S::ONE, 0),
        ("DCGM_FI_DEV_FB_FREE_BYTES", S::BYTES_TO_MEBIBYTES, 0),
    ]),
    gauge("GPUMemoryReserved", Unit::Megabytes, MEBIBYTES, &[
        ("DCGM_FI_DEV_FB_RESERVED", S::ONE, 0),
        ("DCGM_FI_DEV_FB_RESERVED_BYTES", S::BYTES_TO_MEBIBYTES, 0),
    ]),
    gauge("GPUMemoryTemperature", Unit::None, CELSIUS, &[
        ("DCGM_FI_DEV_MEMORY_TEMP", S::ONE, 0),
        ("DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", S::ONE, 0),
    ]),
    gauge("GPUSMClock", Unit::None, MEGAHERTZ, &[
        ("DCGM_FI_DEV_SM_CLOCK", S::ONE, 0),
        ("DCGM_FI_DEV_SM_CLOCK_HERTZ", S::HERTZ_TO_MEGAHERTZ, 0),
    ]),
    gauge("GPUMemoryClock", Unit::None, MEGAHERTZ, &[
        ("DCGM_FI_DEV_MEM_CLOCK", S::ONE, 0),
        ("DCGM_FI_DEV_MEMORY_CLOCK_HERTZ", S::HERTZ_TO_MEGAHERTZ, 0),
    ]),
    gauge("GPUEncoderUtilization", Unit::Percent, PERCENT, &[
        ("DCGM_FI_DEV_ENC_UTIL", S::ONE, 0),
        ("DCGM_FI_DEV_ENC_UTIL_RATIO", S::RATIO_TO_PERCENT, 0),
    ]),
    gauge("GPUDecoderUtilization", Unit::Percent, PERCENT, &[
        ("DCGM_FI_DEV_DEC_UTIL", S::ONE, 0),
        ("DCGM_FI_DEV_DEC_UTIL_RATIO", S::RATIO_TO_PERCENT, 0),
    ]),
    gauge("GPUGraphicsEngineActive", Unit::None, RATIO, &[
        ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", S::ONE, 0),
        ("DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", S::ONE, 0),
    ]),
    gauge("GPUSMActive", Unit::None, RATIO, &[
        ("DCGM_FI_PROF_SM_ACTIVE", S::ONE, 0),
        ("DCGM_FI_PROF_SM_UTIL_RATIO", S::ONE, 0),
    ]),
    gauge("GPUSMOccupancy", Unit::None, RATIO, &[
        ("DCGM_FI_PROF_SM_OCCUPANCY", S::ONE, 0),
        ("DCGM_FI_PROF_SM_OCCUPANCY_RATIO", S::ONE, 0),
    ]),
    gauge("GPUTensorActive", Unit::None, RATIO, &[
        ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", S::ONE, 0),
        ("DCGM_FI_PROF_TENSOR_UTIL_RATIO", S::ONE, 0),
    ]),
    gauge("GPUMemoryBandwidthActive", Unit::None, RATIO, &[
        ("DCGM_FI_PROF_DRAM_ACTIVE", S::ONE, 0),
        ("DCGM_FI_PROF_DRAM_UTIL_RATIO", S::ONE, 0),
    ]),
    gauge("GPUPCIeTransmit", Unit::BytesPerSecond, BYTES_PER_SECOND, &[
        ("DCGM_FI_PROF_PCIE_TX_BYTES", S::ONE, 0),
    ]),
    gauge("GPUPCIeReceive", Unit::BytesPerSecond, BYTES_PER_SECOND, &[
        ("DCGM_FI_PROF_PCIE_RX_BYTES", S::ONE, 0),
    ]),
    gauge("GPUNVLinkTransmit", Unit::BytesPerSecond, BYTES_PER_SECOND, &[
        ("DCGM_FI_PROF_NVLINK_TX_BYTES", S::ONE, 0),
    ]),
    Row { name: "GPUPCIeReplays", unit: Unit::Count, possible: INCREASE, kind: Kind::Counter, series: &[
        ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", S::ONE, 0),
        ("DCGM_FI_DEV_PCIE_REPLAY_TOTAL", S::ONE, 0),
    ] },
    // The volatile count begins anew when the driver is loaded, the aggregate one never.
    Row { name: "GPUECCDoubleBitErrors", unit: Unit::Count, possible: INCREASE, kind: Kind::Counter, series: &[
        ("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", S::ONE, 0),
        ("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", S::ONE, 0),
    ] },
    Row { name: "GPUNVLinkErrors", unit: Unit::Count, possible: INCREASE, kind: Kind::Counter, series: &[
        ("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", S::ONE, 0),
        ("DCGM_FI_DEV_NVLINK_REPLAY_TOTAL", S::ONE, 0),
        ("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", S::ONE, 1),
        ("DCGM_FI_DEV_NVLINK_RECOVERY_TOTAL", S::ONE, 1),
        ("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", S::ONE, 2),
        ("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", S::ONE, 3),
        ("DCGM_FI_DEV_NVLINK_CRC_ERROR_TOTAL", S::ONE, 3),
    ] },
    Row { name: "GPUEnergy", unit: Unit::None, possible: INCREASE, kind: Kind::Counter, series: &[
        ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", S::MILLI_TO_ONE, 0),
        ("DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", S::ONE, 0),
    ] },
    // Slowed down by heat or by the power brake. A GPU at its power cap is at work, so that is not here.
    Row { name: "GPUThrottled", unit: Unit::Percent, possible: PERCENT, kind: Kind::Share, series: &[
        ("DCGM_FI_DEV_THERMAL_VIOLATION", S::NANO_TO_ONE, 0),
        ("DCGM_FI_DEV_GPU_THERMAL_THROTTLE_SECONDS_TOTAL", S::ONE, 0),
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS", S::NANO_TO_ONE, 1),
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS", S::NANO_TO_ONE, 2),
        ("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS", S::NANO_TO_ONE, 3),
    ] },
];

/// A ratio in DCGM 4.7. In 4.6 it is an alias of `DCGM_FI_DEV_GPU_UTIL`, in per cent.
const GPU_UTIL_RATIO: &str = "DCGM_FI_DEV_GPU_UTIL_RATIO";

/// The metric of that name, or with a series of that name.
pub fn find(name: &str) -> Option<Metric> {
    CATALOG
        .iter()
        .find(|row| row.name == name || row.series.iter().any(|(series, ..)| *series == name))
        .map(Row::metric)
}

impl Row {
    fn metric(&self) -> Metric {
        let series = self.series.iter().map(|(name, scale, part)| Series {
            name: (*name).to_owned(),
            scale: *scale,
            older_scale: (*name == GPU_UTIL_RATIO).then_some(S::ONE),
            part: *part,
        });
        Metric {
            name: self.name.to_owned(),
            unit: self.unit,
            possible: self.possible.0..=self.possible.1,
            kind: self.kind,
            series: series.collect(),
        }
    }
}

/// A series published under a name and unit of the user's choice. One of the catalogue keeps its possible
/// range, and brings along the names that other exporters have for it, in its own unit.
pub(crate) fn custom(field: &str, name: &str, unit: Unit) -> Metric {
    let known = find(field).and_then(|metric| {
        let own = metric.series.iter().find(|series| series.name == field)?;
        let own = own.scale;
        Some((metric, own))
    });
    let Some((metric, own)) = known else {
        return Metric {
            name: name.to_owned(),
            unit,
            possible: ANY,
            kind: Kind::Gauge,
            series: vec![Series {
                name: field.to_owned(),
                scale: Scale::ONE,
                older_scale: None,
                part: 0,
            }],
        };
    };
    let back = Scale::ONE.over(own);
    let series = metric.series.into_iter().map(|series| Series {
        scale: series.scale.over(own),
        older_scale: series.older_scale.map(|scale| scale.over(own)),
        ..series
    });
    Metric {
        name: name.to_owned(),
        unit,
        possible: back.apply(*metric.possible.start())..=back.apply(*metric.possible.end()),
        kind: metric.kind,
        series: series.collect(),
    }
}

/// The names of all metrics, for an error that lists them.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|row| row.name)
}

/// Whether an exporter's series is one of the catalogue.
pub(crate) fn is_known(series: &str) -> bool {
    CATALOG
        .iter()
        .any(|row| row.series.iter().any(|(name, ..)| *name == series))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_default_field_is_known() {
        for name in DEFAULT_FIELDS {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_metric_is_found_by_its_name_and_by_each_of_its_series() {
        for row in &CATALOG {
            let metric = find(row.name).unwrap();
            for series in &metric.series {
                assert_eq!(
                    find(&series.name).as_ref(),
                    Some(&metric),
                    "{}",
                    series.name
                );
            }
        }
        assert_eq!(find("DCGM_FI_DEV_GPU_UTILIZATION"), None);
    }

    #[test]
    fn no_two_metrics_share_a_name_or_a_series() {
        let names: HashSet<_> = names().collect();
        let series: Vec<_> = CATALOG.iter().flat_map(|row| row.series).collect();
        let distinct: HashSet<_> = series.iter().map(|(name, ..)| name).collect();
        assert_eq!((names.len(), distinct.len()), (CATALOG.len(), series.len()));
        assert!(!names.contains(GPUS_REPORTING));
    }

    #[test]
    fn what_a_newer_exporter_counts_in_base_units_is_converted() {
        let rows = [
            ("GPUUtilization", "DCGM_FI_DEV_GPU_UTIL_RATIO", 0.29, 29.0),
            (
                "GPUMemoryUtilization",
                "DCGM_FI_DEV_MEMORY_UTIL_RATIO",
                0.07,
                7.0,
            ),
            (
                "GPUMemoryUsed",
                "DCGM_FI_DEV_FB_USED_BYTES",
                85_899_345_920.0,
                81_920.0,
            ),
            ("GPUSMClock", "DCGM_FI_DEV_SM_CLOCK_HERTZ", 1.98e9, 1_980.0),
            (
                "GPUEnergy",
                "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
                1_234_567.0,
                1_234.567,
            ),
            (
                "GPUEnergy",
                "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL",
                1_234.0,
                1_234.0,
            ),
        ];
        for (metric, series, exported, published) in rows {
            let metric = find(metric).unwrap();
            let series = metric.series.iter().find(|one| one.name == series).unwrap();
            assert_eq!(series.scale.apply(exported), published, "{}", series.name);
        }
    }

    /// Every per cent that an exporter writes as a ratio is that per cent again.
    #[test]
    fn a_ratio_is_the_per_cent_that_it_was() {
        for percent in 0..=1_000 {
            let percent = f64::from(percent) / 10.0;
            let ratio: f64 = format!("{}", percent / 100.0).parse().unwrap();
            assert_eq!(Scale::RATIO_TO_PERCENT.apply(ratio), percent);
        }
    }

    #[test]
    fn zero_is_possible_only_for_what_a_gpu_at_work_can_read() {
        let may_be_zero = |name: &&str| find(name).unwrap().possible.contains(&0.0);
        let never_zero: Vec<_> = names().filter(|name| !may_be_zero(name)).collect();
        assert_eq!(
            never_zero,
            [
                "GPUTemperature",
                "GPUPowerUsage",
                "GPUMemoryTemperature",
                "GPUSMClock",
                "GPUMemoryClock",
            ]
        );
    }

    #[test]
    fn a_renamed_series_keeps_its_unit_range_and_other_names() {
        let renamed = custom("DCGM_FI_DEV_GPU_UTIL", "Utilisation", Unit::Percent);
        assert_eq!(renamed.possible, 0.0..=100.0);
        assert_eq!(renamed.series, find("GPUUtilization").unwrap().series);

        let bytes = custom("DCGM_FI_DEV_FB_USED_BYTES", "Used", Unit::Bytes);
        assert_eq!(bytes.possible, 0.0..=4_194_304.0 * 1_048_576.0);
        let converted: Vec<_> = bytes
            .series
            .iter()
            .map(|one| one.scale.apply(3.0))
            .collect();
        assert_eq!(converted, [3_145_728.0, 3.0]);

        let ratio = custom(GPU_UTIL_RATIO, "Utilisation", Unit::None);
        let converted = |series: &Series| {
            (
                series.scale.apply(50.0),
                series.older_scale.map(|scale| scale.apply(50.0)),
            )
        };
        let converted: Vec<_> = ratio.series.iter().map(converted).collect();
        assert_eq!(converted, [(0.5, None), (50.0, Some(0.5))]);
        assert_eq!(ratio.possible, 0.0..=1.0);

        let unknown = custom("X", "Y", Unit::None);
        assert_eq!((unknown.possible, unknown.series.len()), (ANY, 1));
    }
}
