//! The watermark: how far earlier runs came, and what this run adds.

use std::fmt;

use chrono::DateTime;

use super::period::{Period, rfc3339};

/// How far runs have come, in seconds since the epoch. It is written as an RFC 3339 time. Where `covered`
/// is later than `published`, it follows behind a `/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// End of the last period that had samples and was published.
    pub(crate) published: i64,
    /// End of the last period that a run looked at, with or without samples.
    pub(crate) covered: i64,
}

impl Mark {
    /// Reads a mark; none if the text is not one.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let time = |text: &str| DateTime::parse_from_rfc3339(text.trim()).ok();
        let (published, covered) = text.split_once('/').unwrap_or((text, text));
        let published = time(published)?.timestamp();
        Some(Self {
            published,
            covered: time(covered)?.timestamp().max(published),
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&rfc3339(self.published))?;
        if self.covered > self.published {
            write!(f, "/{}", rfc3339(self.covered))?;
        }
        Ok(())
    }
}

/// What one run adds to the watermark.
#[derive(Debug)]
pub(crate) struct Progress {
    found: Option<Mark>,
    /// Start of the oldest period due.
    due_from: i64,
    published: Option<i64>,
    /// End of the last period that this run looked at.
    looked_until: i64,
    /// Periods after the watermark that this run looked at, each with the number of samples that
    /// Prometheus had of it.
    ahead: Vec<(Period, u64)>,
    /// The same for periods before the watermark.
    closed: Vec<(Period, u64)>,
}

impl Progress {
    /// A run that begins at `due_from`, after earlier ones left `found`.
    pub(crate) fn new(found: Option<Mark>, due_from: i64) -> Self {
        Self {
            found,
            due_from,
            published: found.map(|mark| mark.published),
            looked_until: 0,
            ahead: Vec::new(),
            closed: Vec::new(),
        }
    }

    /// Notes that the run is done with a period, of which Prometheus had `raw_samples`.
    pub(crate) fn looked_at(&mut self, period: Period, raw_samples: u64, is_published: bool) {
        self.looked_until = period.end;
        self.ahead.push((period, raw_samples));
        if is_published {
            self.published = self.published.max(Some(period.end));
            self.closed.append(&mut self.ahead);
        }
    }

    /// End of the last period that was published.
    pub(crate) fn published(&self) -> Option<i64> {
        self.published
    }

    /// The mark to save. `covered` matters only after a silence longer than the catch-up window (`reach`
    /// seconds), so it is saved once half of the window has passed without samples: that spares a write
    /// every minute.
    pub(crate) fn mark(&self, reach: i64) -> Option<Mark> {
        let published = self.published?;
        let covered = self.found.map_or(published, |mark| mark.covered);
        let covered = covered.max(self.looked_until);
        let is_long = covered - published >= reach / 2;
        Some(Mark {
            published,
            covered: if is_long { covered } else { published },
        })
    }

    /// Start and end of the time that no run has looked at and none will, if it is at least
    /// `period_seconds` long.
    pub(crate) fn gap(&self, period_seconds: i64) -> Option<(i64, i64)> {
        let covered = self.found?.covered;
        (covered + period_seconds <= self.due_from).then_some((covered, self.due_from))
    }

    /// The periods that no later run will look at, each with the number of samples that Prometheus had
    /// of it.
    pub(crate) fn into_closed(self) -> Vec<(Period, u64)> {
        self.closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    fn mark_at(published: i64) -> Mark {
        Mark {
            published,
            covered: published,
        }
    }

    fn minute(index: i64) -> Period {
        Period {
            start: index * 60,
            end: (index + 1) * 60,
        }
    }

    #[test]
    fn a_mark_is_written_as_it_is_read() {
        let (published, covered) = (1_763_805_660, 1_763_838_060);
        let rows = [
            ("2025-11-22T10:01:00Z", Some(mark_at(published))),
            (
                "2025-11-22T10:01:00Z/2025-11-22T19:01:00Z",
                Some(Mark { published, covered }),
            ),
            ("2025-11-22T10:01:00Z/", None),
            ("none", None),
            ("", None),
        ];
        for (text, mark) in rows {
            assert_eq!(Mark::parse(text), mark, "{text:?}");
            if let Some(mark) = mark {
                assert_eq!(mark.to_string(), text);
            }
        }
        let set_by_hand = "2025-11-22T11:01:00+01:00 / 2025-11-22T09:00:00Z";
        assert_eq!(Mark::parse(set_by_hand), Some(mark_at(published)));
    }

    #[test]
    fn the_mark_follows_the_samples_and_closes_what_is_behind_it() {
        let mut progress = Progress::new(Some(mark_at(60)), 60);
        progress.looked_at(minute(1), 0, false);
        assert_eq!(progress.mark(HOUR), Some(mark_at(60)));
        progress.looked_at(minute(2), 4, true);
        progress.looked_at(minute(3), 0, false);
        assert_eq!(progress.mark(HOUR), Some(mark_at(180)));
        assert_eq!(progress.into_closed(), [(minute(1), 0), (minute(2), 4)]);
    }

    #[test]
    fn a_long_silence_that_was_looked_at_is_marked_and_is_no_gap() {
        let mut progress = Progress::new(Some(mark_at(60)), 60);
        (1..=30).for_each(|index| progress.looked_at(minute(index), 0, false));
        let mark = Mark {
            published: 60,
            covered: 31 * 60,
        };
        assert_eq!(progress.mark(HOUR), Some(mark));
        assert_eq!(Progress::new(Some(mark), 31 * 60).gap(60), None);
        assert_eq!(
            Progress::new(Some(mark), 32 * 60).gap(60),
            Some((31 * 60, 32 * 60))
        );
        assert_eq!(Progress::new(None, HOUR).gap(60), None);
    }
}
