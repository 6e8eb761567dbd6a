//! The name and the unit that a metric's points have.

use crate::gpu::metric::{self, Kind, Metric, Scale};
use crate::gpu::unit::Unit;

/// What the points of one metric have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series<'r> {
    /// `DCGM_FI_DEV_GPU_UTIL`
    pub(crate) name: &'r str,
    /// By the Unified Code for Units of Measure, as OpenTelemetry has it; empty for an unknown one.
    /// <https://ucum.org/ucum>
    pub(crate) unit: &'static str,
    /// Converts a value from the metric's unit into this one.
    pub(crate) scale: Scale,
}

impl<'r> Series<'r> {
    /// A gauge's points have the name and the unit of its first series, which is that of the oldest exporters,
    /// whatever the exporter. What a counter counted in a period is not what its series count, so it has
    /// the metric's name.
    pub(crate) fn of(metric: &'r Metric) -> Self {
        let first = metric.series.first().filter(|_| metric.kind == Kind::Gauge);
        let Some(first) = first else {
            return Self {
                name: &metric.name,
                unit: known_unit(&metric.name).unwrap_or(ucum(metric.unit)),
                scale: Scale::ONE,
            };
        };
        Self {
            name: &first.name,
            unit: known_unit(&first.name).unwrap_or(ucum(metric.unit)),
            scale: first.scale.inverse(),
        }
    }

    /// Whether both are of one metric, which keeps the name.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self.name, other.name)
    }
}

/// The unit of a metric of the catalogue, found by its name or one of its series. CloudWatch has no name
/// for several of them, and calls a mebibyte a megabyte.
fn known_unit(name: &str) -> Option<&'static str> {
    let metric = metric::find(name)?;
    Some(match metric.name.as_str() {
        "GPUTemperature" | "GPUMemoryTemperature" => "Cel",
        "GPUPowerUsage" => "W",
        "GPUSMClock" | "GPUMemoryClock" => "MHz",
        "GPUMemoryUsed" | "GPUMemoryFree" | "GPUMemoryReserved" => "MiBy",
        "GPUEnergy" => "J",
        // The other ones without a unit are ratios.
        _ if metric.unit == Unit::None => "1",
        _ => ucum(metric.unit),
    })
}

/// A unit of CloudWatch.
fn ucum(unit: Unit) -> &'static str {
    match unit {
        Unit::Seconds => "s",
        Unit::Microseconds => "us",
        Unit::Milliseconds => "ms",
        Unit::Bytes => "By",
        Unit::Kilobytes => "kBy",
        Unit::Megabytes => "MBy",
        Unit::Gigabytes => "GBy",
        Unit::Terabytes => "TBy",
        Unit::Bits => "bit",
        Unit::Kilobits => "kbit",
        Unit::Megabits => "Mbit",
        Unit::Gigabits => "Gbit",
        Unit::Terabits => "Tbit",
        Unit::Percent => "%",
        Unit::Count => "1",
        Unit::BytesPerSecond => "By/s",
        Unit::KilobytesPerSecond => "kBy/s",
        Unit::MegabytesPerSecond => "MBy/s",
        Unit::GigabytesPerSecond => "GBy/s",
        Unit::TerabytesPerSecond => "TBy/s",
        Unit::BitsPerSecond => "bit/s",
        Unit::KilobitsPerSecond => "kbit/s",
        Unit::MegabitsPerSecond => "Mbit/s",
        Unit::GigabitsPerSecond => "Gbit/s",
        Unit::TerabitsPerSecond => "Tbit/s",
        Unit::CountPerSecond => "1/s",
        Unit::None => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_named_as_exporters_have_always_named_them() {
        let rows = [
            ("GPUUtilization", "DCGM_FI_DEV_GPU_UTIL", "%"),
            (
                "DCGM_FI_DEV_GPU_TEMP_CELSIUS",
                "DCGM_FI_DEV_GPU_TEMP",
                "Cel",
            ),
            ("GPUPowerUsage", "DCGM_FI_DEV_POWER_USAGE", "W"),
            ("DCGM_FI_DEV_FB_USED_BYTES", "DCGM_FI_DEV_FB_USED", "MiBy"),
            ("GPUSMClock", "DCGM_FI_DEV_SM_CLOCK", "MHz"),
            ("GPUSMActive", "DCGM_FI_PROF_SM_ACTIVE", "1"),
            ("GPUPCIeReceive", "DCGM_FI_PROF_PCIE_RX_BYTES", "By/s"),
            ("GPUEnergy", "GPUEnergy", "J"),
            ("GPUPCIeReplays", "GPUPCIeReplays", "1"),
            ("GPUThrottled", "GPUThrottled", "%"),
        ];
        for (metric, name, unit) in rows {
            let metric = metric::find(metric).unwrap();
            let series = Series::of(&metric);
            assert_eq!((series.name, series.unit), (name, unit));
            assert_eq!(series.scale.apply(37.0), 37.0, "{name}");
        }
    }

    #[test]
    fn a_unit_of_the_user_s_choice_does_not_change_the_point() {
        let bytes = metric::custom("DCGM_FI_DEV_FB_USED_BYTES", "Used", Unit::Bytes);
        let series = Series::of(&bytes);
        assert_eq!((series.name, series.unit), ("DCGM_FI_DEV_FB_USED", "MiBy"));
        assert_eq!(series.scale.apply(3_145_728.0), 3.0);
        let ratio = metric::custom("DCGM_FI_DEV_GPU_UTIL_RATIO", "Used", Unit::None);
        let series = Series::of(&ratio);
        assert_eq!((series.name, series.unit), ("DCGM_FI_DEV_GPU_UTIL", "%"));
        assert_eq!(series.scale.apply(0.29), 29.0);
        let other = metric::custom("fan_speed", "Fan", Unit::CountPerSecond);
        let series = Series::of(&other);
        assert_eq!((series.name, series.unit), ("fan_speed", "1/s"));
        let nothing = metric::custom("fan_speed", "Fan", Unit::None);
        assert_eq!(Series::of(&nothing).unit, "");
    }
}
