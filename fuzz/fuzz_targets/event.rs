//! Whatever payload comes: reading it never panics, and the periods it names are within bounds.

#![no_main]
#![allow(dead_code, reason = "the modules are the function's; not all of them is called here")]

#[path = "../../functions/dcgm-to-cloudwatch/src/due/mod.rs"]
mod due;

use chrono::DateTime;
use due::period::Cadence;
use due::trigger::Trigger;
use libfuzzer_sys::fuzz_target;

const CADENCE: Cadence =
    Cadence { period_seconds: 60, settle_seconds: 60, max_catch_up_seconds: 10_800 };

fuzz_target!(|payload: &[u8]| {
    let Ok(payload) = serde_json::from_slice(payload) else { return };
    let clock = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
    let oldest = clock.timestamp() - 14 * 86_400;
    if let Ok(trigger) = Trigger::read(payload, clock, oldest, &CADENCE) {
        let due = trigger.backfill.unwrap_or_else(|| CADENCE.due(trigger.now, oldest, None));
        assert!(due.len() <= 24 * 60 + 1);
        assert!(due.iter().count() == due.len());
    }
});
