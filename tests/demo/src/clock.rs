//! Times as the demo counts them: seconds since 1970, in whole periods.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::DateTime;

/// Length of a published period. Under a minute, so that nobody waits for the clock's whole minutes.
pub(crate) const PERIOD: i64 = 10;

/// From `start` to before `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

impl Span {
    pub(crate) fn times(self) -> Range<SystemTime> {
        system_time(self.start)..system_time(self.end)
    }

    pub(crate) fn periods(self) -> impl Iterator<Item = i64> {
        (self.start..self.end).step_by(PERIOD as usize)
    }
}

pub(crate) fn now() -> i64 {
    millis(SystemTime::now()).div_euclid(1000)
}

pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
}

fn system_time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}

pub(crate) fn floor(seconds: i64, length: i64) -> i64 {
    seconds.div_euclid(length) * length
}

/// `2026-11-22T05:44:10Z`
pub(crate) fn rfc3339(seconds: i64) -> String {
    formatted(seconds, "%Y-%m-%dT%H:%M:%SZ")
}

/// `05:44:10`
pub(crate) fn of_day(seconds: i64) -> String {
    formatted(seconds, "%H:%M:%S")
}

fn formatted(seconds: i64, format: &str) -> String {
    let time = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
    time.format(format).to_string()
}
