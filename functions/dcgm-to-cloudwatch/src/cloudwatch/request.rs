//! Datums into PutMetricData requests.

use super::datum::Datum;
use super::limits::{MAX_BYTES, MAX_DATUMS};

/// Datums in the order given, as many to a request as fit.
pub(crate) fn requests<'r>(
    datums: impl Iterator<Item = Datum<'r>>,
) -> impl Iterator<Item = Vec<Datum<'r>>> {
    let mut datums = datums.peekable();
    std::iter::from_fn(move || {
        let mut request = Vec::new();
        let mut bytes = 0;
        while request.len() < MAX_DATUMS {
            let fits = |next: &Datum<'_>| request.is_empty() || bytes + next.size() <= MAX_BYTES;
            let Some(next) = datums.next_if(fits) else {
                break;
            };
            bytes += next.size();
            request.push(next);
        }
        (!request.is_empty()).then_some(request)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::due::period::Period;
    use crate::gpu::rollup::Subject;
    use crate::gpu::unit::Unit;

    const MINUTE: Period = Period {
        start: 1_700_000_040,
        end: 1_700_000_100,
    };

    fn of_instance(id: &str, values: usize) -> Datum<'_> {
        Datum {
            metric: "GPUUtilization",
            unit: Unit::Percent,
            period: MINUTE,
            subject: Subject::Instance(id),
            values: (0..values).map(|value| (value as f64, 1)).collect(),
        }
    }

    #[test]
    fn a_thousand_and_one_datums_are_two_requests() {
        let datums = (0..1_001).map(|_| of_instance("i-0123456789abcdef0", 4));
        let sizes: Vec<usize> = requests(datums).map(|request| request.len()).collect();
        assert_eq!(sizes, [1_000, 1]);
        assert_eq!(requests(std::iter::empty()).count(), 0);
    }

    proptest! {
        // Each case makes and copies some hundred thousand values.
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn requests_hold_every_datum_once_in_order_and_keep_the_limits(
            shapes in prop::collection::vec((1usize..1_024, 1usize..=150), 0..3_000),
        ) {
            let longest = "x".repeat(1_024);
            let all: Vec<_> =
                shapes.iter().map(|(length, values)| of_instance(&longest[..*length], *values)).collect();
            let requests: Vec<_> = requests(all.iter().cloned()).collect();
            for request in &requests {
                prop_assert!(!request.is_empty() && request.len() <= MAX_DATUMS);
                prop_assert!(request.iter().map(Datum::size).sum::<usize>() <= MAX_BYTES);
            }
            prop_assert_eq!(requests.concat(), all);
        }
    }
}
