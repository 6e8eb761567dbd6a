//! The DCGM fields known by name: what CloudWatch calls each, its unit, and the values a GPU can
//! truly report.

use std::ops::RangeInclusive;

use aws_sdk_cloudwatch::types::StandardUnit;

use crate::sample::CLOUDWATCH_VALUES;

/// One DCGM gauge and the CloudWatch metric it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The series' name in Prometheus, `DCGM_FI_DEV_GPU_UTIL`.
    pub name: String,
    /// The metric's name in CloudWatch, `GPUUtilization`.
    pub metric: String,
    /// The metric's unit; CloudWatch converts nothing, it labels.
    pub unit: StandardUnit,
    /// Readings outside of it are garbage, or a placeholder for one that is not there.
    pub possible: RangeInclusive<f64>,
}

/// What `DCGM_FIELDS` stands for when it is not set.
pub const DEFAULT_FIELDS: [&str; 6] = [
    "DCGM_FI_DEV_GPU_UTIL",
    "DCGM_FI_DEV_MEM_COPY_UTIL",
    "DCGM_FI_DEV_GPU_TEMP",
    "DCGM_FI_DEV_POWER_USAGE",
    "DCGM_FI_DEV_FB_USED",
    "DCGM_FI_DEV_FB_FREE",
];

/// How many GPUs sent a sample in the period.
pub const GPUS_REPORTING: &str = "GPUsReporting";

/// Where a GPU lacks a sensor, DCGM or the driver may report 0 in its place. So 0 is possible only for
/// what a GPU at work can truly read: a share of time, memory in use or free, a transfer rate.
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
/// are not here: they need a rate before CloudWatch can use them.
#[rustfmt::skip]
const CATALOG: [(&str, &str, StandardUnit, (f64, f64)); 20] = [
    ("DCGM_FI_DEV_GPU_UTIL", "GPUUtilization", StandardUnit::Percent, PERCENT),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "GPUMemoryUtilization", StandardUnit::Percent, PERCENT),
    ("DCGM_FI_DEV_GPU_TEMP", "GPUTemperature", StandardUnit::None, CELSIUS),
    ("DCGM_FI_DEV_POWER_USAGE", "GPUPowerUsage", StandardUnit::None, WATTS),
    ("DCGM_FI_DEV_FB_USED", "GPUMemoryUsed", StandardUnit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_FB_FREE", "GPUMemoryFree", StandardUnit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_FB_RESERVED", "GPUMemoryReserved", StandardUnit::Megabytes, MEBIBYTES),
    ("DCGM_FI_DEV_MEMORY_TEMP", "GPUMemoryTemperature", StandardUnit::None, CELSIUS),
    ("DCGM_FI_DEV_SM_CLOCK", "GPUSMClock", StandardUnit::None, MEGAHERTZ),
    ("DCGM_FI_DEV_MEM_CLOCK", "GPUMemoryClock", StandardUnit::None, MEGAHERTZ),
    ("DCGM_FI_DEV_ENC_UTIL", "GPUEncoderUtilization", StandardUnit::Percent, PERCENT),
    ("DCGM_FI_DEV_DEC_UTIL", "GPUDecoderUtilization", StandardUnit::Percent, PERCENT),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "GPUGraphicsEngineActive", StandardUnit::None, RATIO),
    ("DCGM_FI_PROF_SM_ACTIVE", "GPUSMActive", StandardUnit::None, RATIO),
    ("DCGM_FI_PROF_SM_OCCUPANCY", "GPUSMOccupancy", StandardUnit::None, RATIO),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "GPUTensorActive", StandardUnit::None, RATIO),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "GPUMemoryBandwidthActive", StandardUnit::None, RATIO),
    ("DCGM_FI_PROF_PCIE_TX_BYTES", "GPUPCIeTransmit", StandardUnit::BytesSecond, BYTES_PER_SECOND),
    ("DCGM_FI_PROF_PCIE_RX_BYTES", "GPUPCIeReceive", StandardUnit::BytesSecond, BYTES_PER_SECOND),
    ("DCGM_FI_PROF_NVLINK_TX_BYTES", "GPUNVLinkTransmit", StandardUnit::BytesSecond, BYTES_PER_SECOND),
];

/// The field of that name.
pub fn find(name: &str) -> Option<Field> {
    CATALOG
        .iter()
        .find(|row| row.0 == name)
        .map(|(name, metric, unit, (least, most))| Field {
            name: (*name).to_owned(),
            metric: (*metric).to_owned(),
            unit: unit.clone(),
            possible: *least..=*most,
        })
}

/// A field published under a metric name and unit of the user's choice. One of the catalogue keeps
/// its possible range; of any other no more is known than what CloudWatch takes.
pub fn custom(name: &str, metric: &str, unit: StandardUnit) -> Field {
    Field {
        name: name.to_owned(),
        metric: metric.to_owned(),
        unit,
        possible: find(name).map_or(CLOUDWATCH_VALUES, |known| known.possible),
    }
}

/// All names of the catalogue, for an error that lists them.
pub fn names() -> impl Iterator<Item = &'static str> {
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
        let never_zero: Vec<_> = names().filter(|name| !may_be_zero(name)).collect();
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
        let renamed = custom("DCGM_FI_DEV_GPU_UTIL", "Utilisation", StandardUnit::Percent);
        assert_eq!(renamed.possible, 0.0..=100.0);
        assert_eq!(
            custom("X", "Y", StandardUnit::None).possible,
            CLOUDWATCH_VALUES
        );
    }
}
