//! Units of published values.

use strum::{EnumString, IntoStaticStr, VariantNames};

/// A unit, by CloudWatch's name of it, which users write in `DCGM_FIELDS`. Nothing is converted: a unit
/// only labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
pub(crate) enum Unit {
    Seconds,
    Microseconds,
    Milliseconds,
    Bytes,
    Kilobytes,
    Megabytes,
    Gigabytes,
    Terabytes,
    Bits,
    Kilobits,
    Megabits,
    Gigabits,
    Terabits,
    Percent,
    Count,
    #[strum(serialize = "Bytes/Second")]
    BytesPerSecond,
    #[strum(serialize = "Kilobytes/Second")]
    KilobytesPerSecond,
    #[strum(serialize = "Megabytes/Second")]
    MegabytesPerSecond,
    #[strum(serialize = "Gigabytes/Second")]
    GigabytesPerSecond,
    #[strum(serialize = "Terabytes/Second")]
    TerabytesPerSecond,
    #[strum(serialize = "Bits/Second")]
    BitsPerSecond,
    #[strum(serialize = "Kilobits/Second")]
    KilobitsPerSecond,
    #[strum(serialize = "Megabits/Second")]
    MegabitsPerSecond,
    #[strum(serialize = "Gigabits/Second")]
    GigabitsPerSecond,
    #[strum(serialize = "Terabits/Second")]
    TerabitsPerSecond,
    #[strum(serialize = "Count/Second")]
    CountPerSecond,
    /// No unit, or one that CloudWatch has no name for: °C, W, MHz, a ratio.
    None,
}

impl Unit {
    /// CloudWatch's name, such as `Bytes/Second`.
    pub(crate) fn name(self) -> &'static str {
        self.into()
    }

    /// All names, for an error that lists them.
    pub(crate) fn names() -> &'static [&'static str] {
        Self::VARIANTS
    }
}
