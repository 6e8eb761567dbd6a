//! Points into requests within the limits.

use super::encode::{METRIC_BYTES, REQUEST_BYTES, point_len};
use super::limits::{MAX_BYTES, MAX_POINTS};
use super::point::{Points, count};

/// Points in the order given, as many to a request as fit. A point has a few kilobytes at most, so one always
/// fits.
pub(crate) fn batches<'r>(
    mut points: impl Iterator<Item = Points<'r>>,
) -> impl Iterator<Item = Vec<Points<'r>>> {
    let mut left_over = None;
    std::iter::from_fn(move || {
        let mut batch: Vec<Points<'r>> = Vec::new();
        let (mut points_left, mut bytes_left) = (MAX_POINTS, MAX_BYTES - REQUEST_BYTES);
        while let Some(next) = left_over.take().or_else(|| points.next()) {
            let before = batch.last();
            if !before.is_some_and(|before| before.series.is_same(&next.series)) {
                let head = METRIC_BYTES + next.series.name.len();
                bytes_left = bytes_left.saturating_sub(head);
            }
            let bytes = point_len(&next);
            let (fitting, rest) = next.split_at(points_left.min(bytes_left / bytes));
            points_left -= fitting.count();
            bytes_left -= fitting.count() * bytes;
            batch.extend((fitting.count() > 0).then_some(fitting));
            if rest.count() > 0 {
                left_over = Some(rest);
                break;
            }
        }
        (!batch.is_empty()).then_some(batch)
    })
}

/// Two halves of the points, in the same order.
pub(super) fn halves<'r>(points: &[Points<'r>]) -> [Vec<Points<'r>>; 2] {
    let mut left = count(points) / 2;
    let mut halves = [Vec::new(), Vec::new()];
    for points in points {
        let (first, second) = points.split_at(left);
        left -= first.count();
        for (half, points) in halves.iter_mut().zip([first, second]) {
            half.extend((points.count() > 0).then_some(points));
        }
    }
    halves
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::encode::encode;
    use crate::otlp::labels::Labels;
    use crate::otlp::labels::tests::gpu;
    use crate::otlp::point::tests::{points, reading};

    /// Metric, GPU, time and value of each point.
    fn flat<'r>(points: &[Points<'r>]) -> Vec<(&'r str, *const Labels<'r>, i64, f64)> {
        let flat = points.iter().flat_map(|points| {
            let of = points.series.name;
            let gpu = std::ptr::from_ref(points.labels);
            points.iter().map(move |(at, value)| (of, gpu, at, value))
        });
        flat.collect()
    }

    #[test]
    fn a_thousand_and_one_points_are_two_requests() {
        let gpu = gpu("i-0123456789abcdef0", "0", "");
        let labels = Labels::new("p5en", &gpu);
        let readings: Vec<_> = (0..1_001).map(|at| reading(at, 1.0)).collect();
        for step in [1, 4, 1_001] {
            let points = readings.chunks(step).map(|part| points(0, &labels, part));
            let sizes: Vec<usize> = batches(points).map(|batch| count(&batch)).collect();
            assert_eq!(sizes, [1_000, 1], "{step} at a time");
        }
        assert_eq!(batches(std::iter::empty()).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn requests_hold_every_point_once_in_order_and_keep_the_limits(
            lengths in prop::collection::vec((1usize..=1_024, 0usize..=1_024), 1..4),
            samples in prop::collection::vec((0usize..2, 0usize..4, 1usize..12), 0..600),
        ) {
            let text = "x".repeat(1_024);
            let gpus = lengths.iter().map(|(id, mig)| gpu(&text[..*id], &text, &text[..*mig]));
            let gpus: Vec<_> = gpus.collect();
            let labels: Vec<_> = gpus.iter().map(|gpu| Labels::new("p5en", gpu)).collect();
            let readings: Vec<_> = (0..12).map(|at| reading(at, f64::from(at))).collect();
            let points = samples.iter().map(|(metric, of, count)| {
                points(*metric, &labels[of % gpus.len()], &readings[..*count])
            });
            let points: Vec<_> = points.collect();
            let batches: Vec<_> = batches(points.iter().copied()).collect();
            for batch in &batches {
                prop_assert!((1..=MAX_POINTS).contains(&count(batch)));
                prop_assert!(encode(batch).len() <= MAX_BYTES);
                let [first, second] = halves(batch);
                prop_assert_eq!(count(&first), count(batch) / 2);
                prop_assert_eq!(flat(&[first, second].concat()), flat(batch));
            }
            prop_assert_eq!(flat(&batches.concat()), flat(&points));
        }
    }
}
