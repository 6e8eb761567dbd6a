//! Points into requests within the limits.

use super::encode::{METRIC_BYTES, REQUEST_BYTES, point_len};
use super::limits::{MAX_BYTES, MAX_POINTS};
use super::point::Point;

/// Points in the order given, as many to a request as fit.
pub(crate) fn batches<'r>(
    cluster: &str,
    points: impl Iterator<Item = Point<'r>>,
) -> impl Iterator<Item = Vec<Point<'r>>> {
    let mut points = points.peekable();
    std::iter::from_fn(move || {
        let mut batch: Vec<Point<'r>> = Vec::with_capacity(MAX_POINTS);
        let mut bytes = REQUEST_BYTES;
        let mut of_point = 0;
        while batch.len() < MAX_POINTS {
            let Some(next) = points.peek() else { break };
            let before = batch.last();
            if !before.is_some_and(|before| std::ptr::eq(before.gpu, next.gpu)) {
                of_point = point_len(cluster, next);
            }
            if !before.is_some_and(|before| before.series.is_same(&next.series)) {
                bytes += METRIC_BYTES + next.series.name.len();
            }
            bytes += of_point;
            if bytes > MAX_BYTES && !batch.is_empty() {
                break;
            }
            batch.extend(points.next());
        }
        (!batch.is_empty()).then_some(batch)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::otlp::encode::encode;
    use crate::otlp::point::tests::{gpu, point};

    #[test]
    fn a_thousand_and_one_points_are_two_requests() {
        let gpu = gpu("i-0123456789abcdef0", "0", "");
        let points = (0..1_001).map(|at| point(0, &gpu, at, 1.0));
        let sizes: Vec<usize> = batches("c", points).map(|batch| batch.len()).collect();
        assert_eq!(sizes, [1_000, 1]);
        assert_eq!(batches("c", std::iter::empty()).count(), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn requests_hold_every_point_once_in_order_and_keep_the_limits(
            lengths in prop::collection::vec((1usize..=1_024, 0usize..=1_024), 1..4),
            samples in prop::collection::vec((0usize..2, 0usize..4, 0i64..100_000), 0..3_000),
        ) {
            let text = "x".repeat(1_024);
            let gpus = lengths.iter().map(|(id, mig)| gpu(&text[..*id], &text, &text[..*mig]));
            let gpus: Vec<_> = gpus.collect();
            let points = samples.iter().map(|(metric, of, at)| point(*metric, &gpus[of % gpus.len()], *at, 1.0));
            let points: Vec<_> = points.collect();
            let batches: Vec<_> = batches("p5en", points.iter().copied()).collect();
            for batch in &batches {
                prop_assert!((1..=MAX_POINTS).contains(&batch.len()));
                prop_assert!(encode("p5en", batch).len() <= MAX_BYTES);
            }
            prop_assert_eq!(batches.concat(), points);
        }
    }
}
