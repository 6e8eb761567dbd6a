//! Whatever payload comes: reading it never panics, and the periods it names are within bounds.

#![no_main]

use chrono::DateTime;
use dcgm_to_cloudwatch::period::Cadence;
use dcgm_to_cloudwatch::trigger::Trigger;
use libfuzzer_sys::fuzz_target;

const CADENCE: Cadence =
    Cadence { period_seconds: 60, settle_seconds: 60, max_catch_up_seconds: 10_800 };

fuzz_target!(|payload: &[u8]| {
    let Ok(payload) = serde_json::from_slice(payload) else { return };
    let clock = DateTime::from_timestamp(1_795_000_000, 0).expect("a time");
    if let Ok(trigger) = Trigger::read(payload, clock, &CADENCE) {
        let due = trigger.backfill.unwrap_or_else(|| CADENCE.due(trigger.now, None));
        assert!(due.len() <= 24 * 60 + 1);
        assert!(due.iter().count() == due.len());
    }
});
