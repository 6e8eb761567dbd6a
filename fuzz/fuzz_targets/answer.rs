//! Whatever AMP answers: reading it never panics, and what is published of it is within CloudWatch's
//! limits.

#![no_main]
#![allow(dead_code, reason = "the modules are the function's; not all of them is called here")]

#[path = "../../functions/dcgm-to-cloudwatch/src/due/mod.rs"]
mod due;
#[path = "../../functions/dcgm-to-cloudwatch/src/gpu/mod.rs"]
mod gpu;
#[path = "../../functions/dcgm-to-cloudwatch/src/cloudwatch/limits.rs"]
mod limits;
#[path = "../../functions/dcgm-to-cloudwatch/src/prometheus/matrix.rs"]
mod matrix;
#[path = "../../functions/dcgm-to-cloudwatch/src/prometheus/stream.rs"]
mod stream;

use due::period::Periods;
use gpu::collect::{Collector, ReplySeries};
use gpu::identity::Fleet;
use gpu::metric;
use gpu::rollup::DimensionSet;
use gpu::unit::Unit;
use libfuzzer_sys::fuzz_target;
use limits::{VALUES, is_dimension_value};
use stream::Known;

const RANGE: Periods = Periods { start: 1_700_000_040, end: 1_700_000_160, length: 60 };
const SETS: [DimensionSet; 3] = [DimensionSet::Gpu, DimensionSet::Instance, DimensionSet::Cluster];

fuzz_target!(|answer: &[u8]| {
    let labels = ["instance_id".to_owned(), "instance".to_owned()];
    let mut fleet = Fleet::new(&labels, is_dimension_value);
    let labels = [&["__name__".to_owned()], fleet.labels()].concat();
    let metrics = [metric::custom("any", "Any", Unit::None)];
    let mut collector = Collector::new(RANGE, &metrics);
    let mut known = Known::new(answer.len());
    // A damaged answer is an error; the series before the damage are taken in all the same.
    let _ = collector.take_reply(0, |take| {
        let gpu = |values: &[String]| {
            assert_eq!(values.len(), labels.len());
            fleet.identify(&values[1..])
        };
        stream::read(answer, &labels, &mut known, gpu, |name, gpu, samples| {
            take(ReplySeries { name, gpu: *gpu, source: "", detail: "", samples });
        })
    });
    let readings = collector.finish(&fleet);
    for period in RANGE.iter() {
        for distribution in readings.of(period, &fleet).distributions(&SETS) {
            assert!(distribution.values.iter().all(|(value, count)| VALUES.contains(value) && *count > 0));
        }
    }
});
