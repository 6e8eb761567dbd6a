//! Whatever AMP answers: reading it never panics, and what is read of it can be published.

#![no_main]

use aws_limits::check;
use dcgm_to_cloudwatch::catalog;
use dcgm_to_cloudwatch::cloudwatch::{datums, requests};
use dcgm_to_cloudwatch::config::DimensionSet;
use dcgm_to_cloudwatch::fleet::Fleet;
use dcgm_to_cloudwatch::matrix;
use dcgm_to_cloudwatch::period::Periods;
use dcgm_to_cloudwatch::rollup::Readings;
use dcgm_to_cloudwatch::sample::Dropped;
use libfuzzer_sys::fuzz_target;

const RANGE: Periods = Periods { start: 1_700_000_040, end: 1_700_000_160, length: 60 };

fuzz_target!(|answer: &[u8]| {
    let field = catalog::find("DCGM_FI_DEV_GPU_UTIL").expect("a default field");
    let mut fleet = Fleet::new(&["instance_id".to_owned(), "instance".to_owned()]);
    let mut dropped = Dropped::default();
    let mut readings = Readings::new(RANGE);
    let mut of_field = readings.field(&field);
    let labels = fleet.labels().to_vec();
    let read = matrix::read(answer, &labels, |values, samples| {
        of_field.series(fleet.identify(values), samples, &mut dropped);
    });
    if read.is_err() {
        return;
    }
    of_field.finish();
    let sets = [DimensionSet::Gpu, DimensionSet::Instance, DimensionSet::Cluster];
    for period in RANGE.iter() {
        let of_period = readings.of(period, &fleet);
        let all: Vec<_> = datums(&of_period, &sets).collect();
        all.iter().for_each(check);
        let sent: usize = requests(all.iter().cloned()).map(|request| request.len()).sum();
        assert_eq!(sent, all.len());
    }
});

/// What CloudWatch refuses a whole request for.
mod aws_limits {
    use dcgm_to_cloudwatch::cloudwatch::MetricDatum;

    pub(crate) fn check(datum: &MetricDatum) {
        assert!((1..=150).contains(&datum.values().len()));
        assert_eq!(datum.values().len(), datum.counts().len());
        assert!(datum.values().iter().all(|value| value.is_finite()));
        assert!(datum.counts().iter().all(|count| *count >= 1.0));
        for dimension in datum.dimensions() {
            let value = dimension.value().expect("a dimension has a value");
            assert!((1..=1024).contains(&value.len()) && value.is_ascii());
            assert!(!value.trim().is_empty() && !value.bytes().any(|byte| byte.is_ascii_control()));
        }
    }
}
