//! What each release of dcgm-exporter names and measures differently.
//!
//! Sources: dcgm-exporter's release notes and pull requests 646, 655 and 700, and go-dcgm's tests of fields
//! in base units. Help texts of 4.9 are this project's own words.

use std::fmt;

use super::field::{Field, Kind};

/// A release of dcgm-exporter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// 4.5: label `Hostname`, and a last XID of 0 on a healthy GPU.
    V4_5,
    /// 4.8.2: what counts events appears with the first event.
    V4_8_2,
    /// 4.8.3: label `hostname`, and XIDs counted by `DCGM_EXP_XID_ERRORS_TOTAL`.
    V4_8_3,
    /// 4.9, with DCGM 4.7: most fields have other names, and many have base units.
    V4_9,
}

/// How a release shows a field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Exported {
    /// Name of the series.
    pub name: &'static str,
    /// The text of `# HELP`.
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// A value in the field's own unit is multiplied by the first and divided by the second.
    scale: (f64, f64),
}

impl Exported {
    /// A value of the field in the unit in which it is exported.
    pub fn scaled(&self, value: f64) -> f64 {
        value * self.scale.0 / self.scale.1
    }

    /// The value of the field that was exported as this.
    pub(super) fn unscaled(&self, exported: f64) -> f64 {
        exported * self.scale.1 / self.scale.0
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4_5 => "4.5",
            Self::V4_8_2 => "4.8.2",
            Self::V4_8_3 => "4.8.3",
            Self::V4_9 => "4.9",
        })
    }
}

impl Release {
    /// How this release shows a field.
    pub fn exported(self, field: Field) -> Exported {
        let renamed = RENAMED.iter().find(|renamed| renamed.0 == field.name);
        match renamed {
            Some((_, name, scale, help)) if self == Self::V4_9 => Exported {
                name,
                help,
                kind: match scale {
                    (1.0, 1.0) => field.kind,
                    (_, 1.0) => Kind::Integer,
                    _ => Kind::Double,
                },
                scale: *scale,
            },
            _ => Exported {
                name: field.name,
                help: field.help,
                kind: field.kind,
                scale: ONE,
            },
        }
    }

    /// The label that names the node (<https://github.com/NVIDIA/dcgm-exporter/pull/655>).
    pub(super) fn hostname_label(self) -> &'static str {
        match self {
            Self::V4_5 | Self::V4_8_2 => "Hostname",
            Self::V4_8_3 | Self::V4_9 => "hostname",
        }
    }

    pub(super) fn driver_label(self) -> &'static str {
        match self {
            Self::V4_9 => "DCGM_FI_SYSTEM_DRIVER_VERSION",
            _ => "DCGM_FI_DRIVER_VERSION",
        }
    }

    /// Whether a GPU without any event has the series of events
    /// (<https://github.com/NVIDIA/dcgm-exporter/issues/700>).
    pub(super) fn shows_no_event(self) -> bool {
        self == Self::V4_5
    }
}

const ONE: (f64, f64) = (1.0, 1.0);
const PERCENT_TO_RATIO: (f64, f64) = (1.0, 100.0);
const MEBIBYTES_TO_BYTES: (f64, f64) = (1_048_576.0, 1.0);
const MEGA_TO_ONE: (f64, f64) = (1_000_000.0, 1.0);
const MILLI_TO_ONE: (f64, f64) = (1.0, 1_000.0);

/// Name before 4.9, name since, what values are multiplied and divided by, and the help text since.
#[rustfmt::skip]
const RENAMED: [(&str, &str, (f64, f64), &str); 24] = [
    ("DCGM_FI_DEV_SM_CLOCK", "DCGM_FI_DEV_SM_CLOCK_HERTZ", MEGA_TO_ONE, "SM clock frequency in hertz."),
    ("DCGM_FI_DEV_MEM_CLOCK", "DCGM_FI_DEV_MEMORY_CLOCK_HERTZ", MEGA_TO_ONE, "Memory clock frequency in hertz."),
    ("DCGM_FI_DEV_MEMORY_TEMP", "DCGM_FI_DEV_MEMORY_TEMP_CELSIUS", ONE, "Memory temperature in degrees Celsius."),
    ("DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_GPU_TEMP_CELSIUS", ONE, "GPU temperature in degrees Celsius."),
    ("DCGM_FI_DEV_POWER_USAGE", "DCGM_FI_DEV_BOARD_POWER_WATTS", ONE, "Power draw in watts."),
    ("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "DCGM_FI_DEV_GPU_ENERGY_JOULES_TOTAL", MILLI_TO_ONE, "Energy consumed since boot in joules."),
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "DCGM_FI_DEV_PCIE_REPLAY_TOTAL", ONE, "Total number of PCIe retries."),
    ("DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_GPU_UTIL_RATIO", PERCENT_TO_RATIO, "GPU utilization as a ratio."),
    ("DCGM_FI_DEV_MEM_COPY_UTIL", "DCGM_FI_DEV_MEMORY_UTIL_RATIO", PERCENT_TO_RATIO, "Memory utilization as a ratio."),
    ("DCGM_FI_DEV_ENC_UTIL", "DCGM_FI_DEV_ENC_UTIL_RATIO", PERCENT_TO_RATIO, "Encoder utilization as a ratio."),
    ("DCGM_FI_DEV_DEC_UTIL", "DCGM_FI_DEV_DEC_UTIL_RATIO", PERCENT_TO_RATIO, "Decoder utilization as a ratio."),
    ("DCGM_FI_DEV_XID_ERRORS", "DCGM_FI_DEV_XID_ERROR", ONE, "Value of the last XID error encountered."),
    ("DCGM_FI_DEV_FB_FREE", "DCGM_FI_DEV_FB_FREE_BYTES", MEBIBYTES_TO_BYTES, "Framebuffer memory free in bytes."),
    ("DCGM_FI_DEV_FB_USED", "DCGM_FI_DEV_FB_USED_BYTES", MEBIBYTES_TO_BYTES, "Framebuffer memory used in bytes."),
    ("DCGM_FI_DEV_FB_RESERVED", "DCGM_FI_DEV_FB_RESERVED_BYTES", MEBIBYTES_TO_BYTES, "Framebuffer memory reserved in bytes."),
    ("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "DCGM_FI_DEV_NVLINK_THROUGHPUT_BYTES_PER_SECOND", MEGA_TO_ONE, "NVLink throughput of all lanes in bytes a second."),
    ("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_UNCORRECTABLE_TOTAL", ONE, "Rows remapped for uncorrectable errors."),
    ("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "DCGM_FI_DEV_ROW_REMAP_CORRECTABLE_TOTAL", ONE, "Rows remapped for correctable errors."),
    ("DCGM_FI_DEV_ROW_REMAP_FAILURE", "DCGM_FI_DEV_ROW_REMAP_FAILED", ONE, "Whether remapping of rows has failed."),
    ("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "DCGM_FI_PROF_GR_ENGINE_UTIL_RATIO", ONE, "Ratio of time the graphics engine is active."),
    ("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "DCGM_FI_PROF_TENSOR_UTIL_RATIO", ONE, "Ratio of cycles the tensor pipe is active."),
    ("DCGM_FI_PROF_DRAM_ACTIVE", "DCGM_FI_PROF_DRAM_UTIL_RATIO", ONE, "Ratio of cycles the memory interface is active."),
    ("DCGM_FI_PROF_SM_ACTIVE", "DCGM_FI_PROF_SM_UTIL_RATIO", ONE, "Ratio of cycles an SM has a warp."),
    ("DCGM_FI_DEV_THERMAL_VIOLATION", "DCGM_FI_DEV_GPU_THERMAL_THROTTLE_SECONDS_TOTAL", (1.0, 1e9), "Time throttled for heat in seconds."),
];
