//! The catalogue of metrics: the DCGM field of each, its unit, and the values that a GPU can report.

use std::ops::RangeInclusive;

use super::reading::ANY;
use super::unit::Unit;

/// One DCGM gauge and the metric it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// The series' name in Prometheus, `DCGM_FI_DEV_GPU_UTIL`.
    pub(crate) field: String,
    /// The name it is published under, `GPUUtilization`.
    pub name: String,
    /// The unit of its values.
    pub(crate) unit: Unit,
    /// Values outside this range are garbage, or a placeholder for a missing one.
    pub(crate) possible: RangeInclusive<f64>,
}

/// The default of `DCGM_FIELDS`.
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

/// Gauges of dcgm-exporter's `default-counters.csv` and its commented profiling gauges. Counters
/// are not here: they need a rate before anybody can use them.
#[rustfmt::skip]
const CATALOG: [(&str, &str, Unit, (f64, f64)); 20] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization", Unit::Percent, PERCENT),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "GPUMemoryUtilization", Unit::Percent, PERCENT),
    ("DCGM_FI_DEV_GPU_TEMP", "GPUTemperature", Unit::None, CELSIUS),
    ("DCGM_FI_DEV_POWER_USAGE", "GPUPowerUsage", Unit::None, WATTS),
    ("DCGM_FI_DEV_FB_USED", "GPUMemoryUsed", Unit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_FB_FREE", "GPUMemoryFree", Unit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_FB_RESERVED", "GPUMemoryReserved", Unit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_MEMORY_TEMP", "GPUMemoryTemperature", Unit::None, CELSIUS),
    ("DCGM_FI_DEV_SM_CLOCK", "GPUSMClock", Unit::None, MEGAHERTZ),
    ("DCGM_FI_DEV_MEM_CLOCK", "GPUMemoryClock", Unit::None, MEGAHERTZ),
    ("DCGM_FI_DEV_ENC_UTIL", "GPUEncoderUtilization", Unit::Percent, PERCENT),
    ("DCGM_FI_DEV_DEC_UTIL", "GPUDecoderUtilization", Unit::Percent, PERCENT),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "GPUGraphicsEngineActive", Unit::None, RATIO),
    ("DCGM_FI_PROF_SM_ACTIVE", "GPUSMActive", Unit::None, RATIO),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "GPUSMOccupancy", Unit::None, RATIO),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "GPUTensorActive", Unit::None, RATIO),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "GPUMemoryBandwidthActive", Unit::None, RATIO),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", "GPUPCIeTransmit", Unit::BytesPerSecond, BYTES_PER_SECOND),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", "GPUPCIeReceive", Unit::BytesPerSecond, BYTES_PER_SECOND),
    ("DCGM_FI_PROF_NVLINK_TX_BYTES", "GPUNVLinkTransmit", Unit::BytesPerSecond, BYTES_PER_SECOND),
];

/// The metric of a DCGM field.
pub fn find(field: &str) -> Option<Metric> {
    CATALOG
        .iter()
        .find(|row| row.0 == field)
        .map(|(field, name, unit, (min, max))| Metric {
            field: (*field).to_owned(),
            name: (*name).to_owned(),
            unit: *unit,
            possible: *min..=*max,
        })
}

/// A field published under a name and unit of the user's choice. One of the catalogue keeps its
/// possible range.
pub(crate) fn custom(field: &str, name: &str, unit: Unit) -> Metric {
    Metric {
        field: field.to_owned(),
        name: name.to_owned(),
        unit,
        possible: find(field).map_or(ANY, |known| known.possible),
    }
}

/// All fields of the catalogue, for an error that lists them.
pub(crate) fn fields() -> impl Iterator<Item = &'static str> {
    CATALOG.iter().map(|row| row.0)
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
    fn no_two_fields_share_a_name_or_a_metric() {
        let fields: HashSet<_> = CATALOG.iter().map(|row| row.0).collect();
        let metrics: HashSet<_> = CATALOG.iter().map(|row| row.1).collect();
        assert_eq!(
            (fields.len(), metrics.len()),
            (CATALOG.len(), CATALOG.len())
        );
        assert!(!metrics.contains(GPUS_REPORTING));
    }

    #[test]
    fn zero_is_possible_only_for_what_a_gpu_at_work_can_read() {
        let may_be_zero = |name: &&str| find(name).unwrap().possible.contains(&0.0);
        let never_zero: Vec<_> = fields().filter(|name| !may_be_zero(name)).collect();
        assert_eq!(
            never_zero,
            [
                "DCGM_FI_DEV_GPU_TEMP",
                "DCGM_FI_DEV_POWER_USAGE",
                "DCGM_FI_DEV_MEMORY_TEMP",
                "DCGM_FI_DEV_SM_CLOCK",
                "DCGM_FI_DEV_MEM_CLOCK",
            ]
        );
    }

    #[test]
    fn a_renamed_field_keeps_its_possible_range() {
        let renamed = custom("DCGM_FI_DEV_GPU_UTIL", "Utilisation", Unit::Percent);
        assert_eq!(renamed.possible, 0.0..=100.0);
        assert_eq!(custom("X", "Y", Unit::None).possible, ANY);
    }
}
