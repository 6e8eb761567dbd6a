//! The fields a dcgm-exporter shows by default, and what they read on a GPU that trains a model.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use super::release::Exported;

/// Frame buffer of an H200.
const FB_TOTAL_MIB: f64 = 143_771.0;

/// What the driver keeps of it.
const FB_RESERVED_MIB: f64 = 617.0;

/// All nodes of a job stop for a checkpoint together, this often and this long.
const CHECKPOINT_EVERY_SECONDS: u64 = 600;
const CHECKPOINT_SECONDS: u64 = 25;

/// How DCGM holds a field, which decides how it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Integer,
    Double,
}

/// A DCGM field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name before dcgm-exporter 4.9.
    pub name: &'static str,
    prometheus_type: &'static str,
    pub(super) help: &'static str,
    pub(super) kind: Kind,
    /// It tells of an event, and of nothing before the first one.
    pub(super) is_event: bool,
}

/// What a [`Field`] is asked for: which GPU, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    pub(super) seed: u64,
    pub(super) gpu: u32,
    pub(super) second: u64,
}

impl Moment {
    pub(super) fn new(seed: u64, gpu: u32, time: SystemTime) -> Self {
        let second = time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        Self { seed, gpu, second }
    }

    fn trains(self) -> bool {
        self.second % CHECKPOINT_EVERY_SECONDS >= CHECKPOINT_SECONDS
    }

    /// From 0 to 1, always the same for the same moment and `salt`.
    fn noise(self, salt: u64) -> f64 {
        let mut hash = self.seed ^ (u64::from(self.gpu) << 48) ^ (salt << 40) ^ self.second;
        // The finaliser of SplitMix64.
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((hash ^ (hash >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn between(self, salt: u64, training: (f64, f64), checkpoint: (f64, f64)) -> f64 {
        let (low, high) = if self.trains() { training } else { checkpoint };
        low + (high - low) * self.noise(salt)
    }

    fn fb_used(self) -> f64 {
        (129_400.0 + 40.0 * f64::from(self.gpu) + 900.0 * self.noise(3)).round()
    }

    fn temperature(self) -> f64 {
        55.0 + 1.5 * f64::from(self.gpu % 4) + self.between(4, (4.0, 9.0), (0.0, 3.0))
    }
}

impl Kind {
    /// As the exporter prints it: integers by `%d`, doubles by `%f`.
    pub(super) fn print(self, value: f64) -> String {
        match self {
            Self::Integer => format!("{value:.0}"),
            Self::Double => format!("{value:.6}"),
        }
    }
}

impl Field {
    /// A field by its name before dcgm-exporter 4.9.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|field| field.name == name)
    }

    /// All that an exporter with this project's counters file has.
    pub fn all() -> impl Iterator<Item = Self> {
        DEFAULT.into_iter().chain(HEALTH)
    }

    /// The six fields published by default.
    pub fn published() -> [Self; 6] {
        [
            GPU_UTIL,
            MEM_COPY_UTIL,
            GPU_TEMP,
            POWER_USAGE,
            FB_USED,
            FB_FREE,
        ]
    }

    /// The two lines above a metric's series.
    pub(super) fn write_head(&self, exported: &Exported, text: &mut String) {
        let Exported { name, help, .. } = exported;
        let prometheus_type = self.prometheus_type;
        let written = writeln!(
            text,
            "# HELP {name} {help}\n# TYPE {name} {prometheus_type}"
        );
        written.expect("a string takes all that is written");
    }

    /// What the exporter shows of a training GPU.
    pub(super) fn load(&self, at: Moment) -> f64 {
        match self.kind {
            Kind::Integer => self.exact_load(at).round(),
            Kind::Double => (self.exact_load(at) * 1e6).round() / 1e6,
        }
    }

    fn exact_load(&self, at: Moment) -> f64 {
        let since_boot = (at.second % 10_000_000) as f64;
        match self.name {
            "DCGM_FI_DEV_SM_CLOCK" => at.between(1, (1755.0, 1980.0), (1980.0, 1980.0)),
            "DCGM_FI_DEV_MEM_CLOCK" => 3201.0,
            "DCGM_FI_DEV_MEMORY_TEMP" => at.temperature() + 7.0,
            "DCGM_FI_DEV_GPU_TEMP" => at.temperature(),
            "DCGM_FI_DEV_POWER_USAGE" => at.between(2, (560.0, 690.0), (118.0, 190.0)),
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION" => since_boot * 600_000.0,
            "DCGM_FI_DEV_GPU_UTIL" => at.between(5, (90.0, 100.0), (0.0, 12.0)),
            "DCGM_FI_DEV_MEM_COPY_UTIL" => at.between(6, (41.0, 63.0), (0.0, 3.0)),
            "DCGM_FI_DEV_FB_FREE" => FB_TOTAL_MIB - FB_RESERVED_MIB - at.fb_used(),
            "DCGM_FI_DEV_FB_USED" => at.fb_used(),
            "DCGM_FI_DEV_FB_RESERVED" => FB_RESERVED_MIB,
            "DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL" => since_boot * 250_000.0,
            "DCGM_FI_PROF_GR_ENGINE_ACTIVE" => at.between(7, (0.93, 0.99), (0.0, 0.05)),
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" => at.between(8, (0.38, 0.52), (0.0, 0.0)),
            "DCGM_FI_PROF_DRAM_ACTIVE" => at.between(9, (0.29, 0.41), (0.0, 0.02)),
            "DCGM_FI_PROF_PCIE_TX_BYTES" => at.between(10, (1.1e9, 2.4e9), (6.0e9, 9.0e9)),
            "DCGM_FI_PROF_SM_ACTIVE" => at.between(12, (0.86, 0.97), (0.0, 0.04)),
            "DCGM_FI_DEV_GPU_TEMP_LIMIT" => 87.0 - at.temperature(),
            "DCGM_FI_DEV_POWER_MGMT_LIMIT" => 700.0,
            "DCGM_FI_PROF_PCIE_RX_BYTES" => at.between(11, (1.4e9, 3.0e9), (2.0e7, 8.0e7)),
            // Errors, replays, remapped rows, encoders: nothing to tell on a healthy GPU.
            _ => 0.0,
        }
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Field {
    Field {
        name,
        prometheus_type: "gauge",
        help,
        kind: Kind::Integer,
        is_event: false,
    }
}

const fn counter(name: &'static str, help: &'static str) -> Field {
    Field {
        prometheus_type: "counter",
        ..gauge(name, help)
    }
}

const fn double(name: &'static str, help: &'static str) -> Field {
    Field {
        kind: Kind::Double,
        ..gauge(name, help)
    }
}

/// What is only there once something has happened.
const fn event(field: Field) -> Field {
    Field {
        is_event: true,
        ..field
    }
}

const GPU_UTIL: Field = gauge("DCGM_FI_DEV_GPU_UTIL", "GPU utilization (in %).");
const MEM_COPY_UTIL: Field = gauge("DCGM_FI_DEV_MEM_COPY_UTIL", "Memory utilization (in %).");
const GPU_TEMP: Field = gauge("DCGM_FI_DEV_GPU_TEMP", "GPU temperature (in C).");
const POWER_USAGE: Field = double("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).");
const FB_USED: Field = gauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).");
const FB_FREE: Field = gauge("DCGM_FI_DEV_FB_FREE", "Framebuffer memory free (in MiB).");

/// <https://github.com/NVIDIA/dcgm-exporter/blob/main/etc/default-counters.csv>
#[rustfmt::skip]
pub(super) const DEFAULT: [Field; 25] = [
    gauge("DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz)."),
    gauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz)."),
    gauge("DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature (in C)."),
    GPU_TEMP,
    POWER_USAGE,
    counter("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "Total energy consumption since boot (in mJ)."),
    counter("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "Total number of PCIe retries."),
    GPU_UTIL,
    MEM_COPY_UTIL,
    gauge("DCGM_FI_DEV_ENC_UTIL", "Encoder utilization (in %)."),
    gauge("DCGM_FI_DEV_DEC_UTIL", "Decoder utilization (in %)."),
    event(gauge("DCGM_FI_DEV_XID_ERRORS", "Value of the last XID error encountered.")),
    FB_FREE,
    FB_USED,
    gauge("DCGM_FI_DEV_FB_RESERVED", "Framebuffer memory reserved (in MiB)."),
    counter("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "Total number of NVLink bandwidth counters for all lanes."),
    gauge("DCGM_FI_DEV_VGPU_LICENSE_STATUS", "vGPU License status"),
    counter("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "Number of remapped rows for uncorrectable errors"),
    counter("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "Number of remapped rows for correctable errors"),
    gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", "Whether remapping of rows has failed"),
    double("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "Ratio of time the graphics engine is active."),
    double("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "Ratio of cycles the tensor (HMMA) pipe is active."),
    double("DCGM_FI_PROF_DRAM_ACTIVE", "Ratio of cycles the device memory interface is active sending or receiving data."),
    gauge("DCGM_FI_PROF_PCIE_TX_BYTES", "The rate of data transmitted over the PCIe bus - including both protocol headers and data payloads - in bytes per second."),
    gauge("DCGM_FI_PROF_PCIE_RX_BYTES", "The rate of data received over the PCIe bus - including both protocol headers and data payloads - in bytes per second."),
];

/// What this project's counters file adds to the default (`compute-node.sh`).
#[rustfmt::skip]
pub(super) const HEALTH: [Field; 17] = [
    gauge("DCGM_FI_DEV_GPU_TEMP_LIMIT", "Degrees left until the GPU slows down (in C)."),
    double("DCGM_FI_DEV_POWER_MGMT_LIMIT", "Power limit (in W)."),
    double("DCGM_FI_PROF_SM_ACTIVE", "Ratio of time an SM has at least one warp."),
    counter("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "Single-bit ECC errors since the driver was loaded."),
    counter("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "Double-bit ECC errors since the driver was loaded."),
    gauge("DCGM_FI_DEV_ROW_REMAP_PENDING", "Whether remapped rows wait for a reset of the GPU."),
    event(counter("DCGM_EXP_XID_ERRORS_TOTAL", "XID errors since the exporter was started.")),
    gauge("DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION", "What the driver asks for to recover the GPU."),
    counter("DCGM_FI_DEV_POWER_VIOLATION", "Time throttled for power (in ns)."),
    counter("DCGM_FI_DEV_THERMAL_VIOLATION", "Time throttled for heat (in ns)."),
    event(counter("DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS", "Time slowed down for heat by software (in ns).")),
    event(counter("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_THERM_SLOWDOWN_NS", "Time slowed down for heat by hardware (in ns).")),
    event(counter("DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS", "Time slowed down by the power brake (in ns).")),
    counter("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "NVLink flow-control CRC errors."),
    counter("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "NVLink data CRC errors."),
    counter("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "NVLink retries."),
    counter("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "NVLink recovery errors."),
];
