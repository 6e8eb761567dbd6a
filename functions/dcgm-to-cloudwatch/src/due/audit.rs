//! Counts samples that reached AMP after their period was published. They are not in CloudWatch, and an
//! operator has to know. Pure.

use std::collections::VecDeque;

use super::period::{Period, Periods};

/// A period is audited this long after its end.
const AGE_SECONDS: i64 = 900;
/// One query audits at least this much time.
const MIN_SPAN_SECONDS: i64 = 300;

/// Published periods that are not audited yet, oldest first. With each stands the number of samples that
/// AMP had of it when it was published, valid or not.
#[derive(Debug, Default)]
pub(crate) struct Audit {
    published: VecDeque<(Period, u64)>,
}

impl Audit {
    /// Adds periods that a run has published.
    pub(crate) fn note(&mut self, published: impl IntoIterator<Item = (Period, u64)>) {
        self.published.extend(published);
    }

    /// Removes and returns the periods to audit at `now`, and how many samples they had when they were
    /// published. None until a few minutes' worth is old enough.
    pub(crate) fn next(&mut self, now: i64) -> Option<(Periods, u64)> {
        let (first, _) = self.published.front()?;
        let (start, length) = (first.start, first.end - first.start);
        let mut end = start;
        let mut samples = 0;
        let mut count = 0;
        for (period, of_period) in &self.published {
            // A query covers consecutive periods only.
            if period.start != end || period.end > now - AGE_SECONDS {
                break;
            }
            end = period.end;
            samples += of_period;
            count += 1;
        }
        let is_whole = count < self.published.len() && self.published[count].0.start != end;
        if count == 0 || (end - start < MIN_SPAN_SECONDS && !is_whole) {
            return None;
        }
        self.published.drain(..count);
        Some((Periods { start, end, length }, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(index: i64) -> Period {
        Period {
            start: index * 60,
            end: (index + 1) * 60,
        }
    }

    #[test]
    fn periods_are_audited_once_by_the_five_minutes_when_they_are_old_enough() {
        let mut audit = Audit::default();
        audit.note((0..12).map(|index| (minute(index), 10)));
        let span = |start: i64, end: i64| Periods {
            start: start * 60,
            end: end * 60,
            length: 60,
        };
        assert_eq!(audit.next(5 * 60 + AGE_SECONDS - 1), None);
        assert_eq!(audit.next(5 * 60 + AGE_SECONDS), Some((span(0, 5), 50)));
        assert_eq!(audit.next(9 * 60 + AGE_SECONDS), None);
        assert_eq!(audit.next(11 * 60 + AGE_SECONDS), Some((span(5, 11), 60)));
    }

    #[test]
    fn time_that_was_left_out_is_not_audited() {
        let mut audit = Audit::default();
        audit.note([(minute(0), 10), (minute(7), 20)]);
        let (span, samples) = audit.next(10_000).unwrap();
        assert_eq!((span.start, span.end, samples), (0, 60, 10));
    }
}
