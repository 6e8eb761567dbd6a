//! Which periods are due: period length, settle time, catch-up. Times are whole seconds since the
//! epoch; periods are half-open and aligned to it.

use chrono::{DateTime, SecondsFormat, Utc};

/// Within this many seconds of leaving the catch-up window, a period is published even if incomplete.
const LAST_CHANCE_SECONDS: i64 = 600;
/// A source whose newest sample is this close to a period's end has sent all samples of that period. This
/// is dcgm-exporter's default collection interval; samples are seldom further apart.
const SCRAPE_SECONDS: i64 = 30;
/// Limit on the periods of one run. Lambda refuses a reply of over 6 MB, and each period takes up to 150
/// bytes of it.
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub(crate) const MAX_PERIODS: usize = 40_000;

/// How time is divided into periods, and when they are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cadence {
    /// Length of a period.
    pub(crate) period_seconds: i64,
    /// A period is published this long after its end.
    pub(crate) settle_seconds: i64,
    /// How far back a run fills in what earlier runs missed.
    pub(crate) max_catch_up_seconds: i64,
}

/// `[start, end)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Period {
    /// First second.
    pub(crate) start: i64,
    /// First second after it.
    pub(crate) end: i64,
}

/// Consecutive periods of one length; none when `start == end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Periods {
    /// Start of the first.
    pub(crate) start: i64,
    /// End of the last.
    pub(crate) end: i64,
    /// Length of each.
    pub(crate) length: i64,
}

impl Periods {
    /// The number of periods.
    pub(crate) fn len(&self) -> usize {
        usize::try_from((self.end - self.start) / self.length).unwrap_or(0)
    }

    /// Whether there are no periods.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Place of the period that a time in milliseconds since the epoch falls into; none outside all.
    pub(crate) fn index_at(&self, millis: i64) -> Option<usize> {
        let is_inside = (self.start * 1_000..self.end * 1_000).contains(&millis);
        is_inside.then(|| ((millis - self.start * 1_000) / (self.length * 1_000)) as usize)
    }

    /// Milliseconds from the start to a time inside, which is in milliseconds since the epoch.
    pub(crate) fn offset(&self, millis: i64) -> u32 {
        (millis - self.start * 1_000) as u32
    }

    /// Each, oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Period> + use<> {
        let length = self.length;
        (0..self.len() as i64).map({
            let first = self.start;
            move |index| Period {
                start: first + index * length,
                end: first + (index + 1) * length,
            }
        })
    }

    /// The oldest `count` of them, and the rest.
    pub(crate) fn split_at(&self, count: usize) -> (Self, Self) {
        let middle = self.start + count.min(self.len()) as i64 * self.length;
        (
            Self {
                end: middle,
                ..*self
            },
            Self {
                start: middle,
                ..*self
            },
        )
    }
}

impl Cadence {
    /// All whole periods that have settled by `now` and come after the watermark, within the catch-up
    /// window. Without a watermark: those of the last minute, or the last period if that is longer. No
    /// period begins before `oldest`; earlier ones can no longer be published.
    pub(crate) fn due(&self, now: i64, oldest: i64, watermark: Option<i64>) -> Periods {
        let end = self.floor(now - self.settle_seconds);
        let start = match watermark {
            None => end - self.period_seconds.max(60),
            Some(watermark) => self.ceil(watermark).clamp(end - self.reach(), end),
        };
        let oldest = self.ceil(oldest).min(end);
        Periods {
            start: start.max(oldest),
            end,
            length: self.period_seconds,
        }
    }

    /// The `due` periods that have all of their samples. `newest` is the time of the newest sample of
    /// all, `slowest` that of the slowest source. While that source is late, a period waits until it has
    /// sent samples SETTLE_SECONDS younger than the period's end, or until the period is about to leave
    /// the catch-up window.
    pub(crate) fn arrived(&self, due: Periods, newest: i64, slowest: i64) -> Periods {
        let has_news = newest >= due.start;
        let is_late = slowest < self.awaited(due);
        if !(has_news && is_late) {
            return due;
        }
        let last_chance = due.end - self.reach() + LAST_CHANCE_SECONDS.max(due.length);
        let end = self.floor(last_chance.max(slowest - self.settle_seconds));
        Periods {
            end: end.clamp(due.start, due.end),
            ..due
        }
    }

    /// A source whose newest sample is not before this time has sent all samples of the `due` periods.
    pub(crate) fn awaited(&self, due: Periods) -> i64 {
        due.end - due.length.min(SCRAPE_SECONDS)
    }

    /// The whole periods that cover `[start, end)`.
    pub(crate) fn covering(&self, start: i64, end: i64) -> Periods {
        Periods {
            start: self.floor(start),
            end: self.ceil(end),
            length: self.period_seconds,
        }
    }

    /// How far back from the newest settled period a run looks.
    pub(crate) fn reach(&self) -> i64 {
        self.floor(self.max_catch_up_seconds)
            .max(self.period_seconds)
    }

    fn floor(&self, time: i64) -> i64 {
        time.div_euclid(self.period_seconds) * self.period_seconds
    }

    fn ceil(&self, time: i64) -> i64 {
        self.floor(time + self.period_seconds - 1)
    }
}

/// A time, in seconds since the epoch, as RFC 3339 has it.
pub(crate) fn rfc3339(time: i64) -> String {
    DateTime::<Utc>::from_timestamp(time, 0)
        .unwrap_or_default()
        .to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MINUTE: Cadence = Cadence {
        period_seconds: 60,
        settle_seconds: 60,
        max_catch_up_seconds: 10_800,
    };

    fn due(now: i64, watermark: Option<i64>) -> (i64, i64) {
        let periods = MINUTE.due(now, 0, watermark);
        (periods.start, periods.end)
    }

    #[test]
    fn publishes_the_last_settled_minute_when_there_is_no_watermark() {
        assert_eq!(due(6_000, None), (5_880, 5_940));
        assert_eq!(due(6_059, None), (5_880, 5_940));
        assert_eq!(due(6_060, None), (5_940, 6_000));
    }

    #[test]
    fn short_periods_are_published_a_minute_at_a_time_and_long_ones_singly() {
        let short = Cadence {
            period_seconds: 5,
            ..MINUTE
        };
        assert_eq!(short.due(6_000, 0, None).len(), 12);
        let long = Cadence {
            period_seconds: 300,
            ..MINUTE
        };
        assert_eq!(
            long.due(6_000, 0, None),
            Periods {
                start: 5_400,
                end: 5_700,
                length: 300
            }
        );
    }

    #[test]
    fn goes_on_from_the_watermark_but_no_further_back_than_the_bound() {
        assert_eq!(due(60_000, Some(59_700)), (59_700, 59_940));
        assert_eq!(due(60_000, Some(0)), (59_940 - 10_800, 59_940));
    }

    #[test]
    fn a_watermark_ahead_of_the_settled_time_leaves_nothing_due() {
        for ahead in [59_940, 59_941, 60_000, 1_000_000] {
            assert!(MINUTE.due(60_000, 0, Some(ahead)).is_empty(), "{ahead}");
        }
    }

    #[test]
    fn a_watermark_inside_a_period_does_not_publish_that_period_twice() {
        assert_eq!(due(60_000, Some(59_701)), (59_760, 59_940));
    }

    #[test]
    fn a_backfill_is_widened_to_whole_periods() {
        let periods = MINUTE.covering(61, 121);
        assert_eq!(
            periods,
            Periods {
                start: 60,
                end: 180,
                length: 60
            }
        );
        assert_eq!(MINUTE.covering(60, 120).len(), 1);
    }

    #[test]
    fn what_can_no_longer_be_published_is_not_due() {
        let now = 1_700_000_040;
        let due = MINUTE.due(now, now - 3_601, Some(now - 7_200));
        assert_eq!((due.start, due.end), (now - 3_600, now - 60));
        assert!(MINUTE.due(now, now + 60, Some(now - 7_200)).is_empty());
    }

    #[test]
    fn what_arrives_late_settles_by_the_slowest_source() {
        let due = MINUTE.due(1_700_000_000, 0, Some(1_699_998_000));
        let until = |newest, slowest| MINUTE.arrived(due, newest, slowest).end;
        assert_eq!((due.start, due.end), (1_699_998_000, 1_699_999_920));
        let rows = [
            (1_699_999_890, due.end, "half of the newest period"),
            (1_699_999_889, 1_699_999_800, "a sample less"),
            (1_699_999_859, 1_699_999_740, "in the middle of a minute"),
            (1_699_999_800, 1_699_999_740, "a minute and no more"),
            (1_699_998_030, due.start, "nothing has settled"),
            (
                1_699_997_990,
                due.start,
                "a source that is behind the watermark",
            ),
        ];
        for (slowest, end, what) in rows {
            assert_eq!(until(1_699_999_990, slowest), end, "{what}");
            if slowest >= due.start {
                assert_eq!(
                    until(slowest, slowest),
                    end,
                    "{what}, and no source is faster"
                );
            }
        }
        let nothing_new = due.start - 10;
        assert_eq!(until(nothing_new, nothing_new), due.end);
        let all = MINUTE.due(1_700_000_000, 0, Some(0));
        let last_chance = MINUTE.arrived(all, all.start + 30, all.start + 30);
        assert_eq!(last_chance.end, all.start + 600);
    }

    fn cadences() -> impl Strategy<Value = Cadence> {
        let lengths = prop_oneof![
            Just(1i64),
            Just(5),
            Just(10),
            Just(20),
            Just(30),
            (1i64..=60).prop_map(|minutes| minutes * 60)
        ];
        (lengths, 0i64..900, 0i64..100_000).prop_map(
            |(period_seconds, settle_seconds, catch_up)| Cadence {
                period_seconds,
                settle_seconds,
                max_catch_up_seconds: catch_up,
            },
        )
    }

    proptest! {
        #[test]
        fn due_periods_are_whole_aligned_settled_and_bounded(
            cadence in cadences(), now in 1_000_000i64..4_000_000_000,
            behind in prop::option::of(-1_000i64..200_000),
        ) {
            let periods = cadence.due(now, now, behind.map(|behind| now - behind));
            prop_assert_eq!(periods.start.rem_euclid(cadence.period_seconds), 0);
            prop_assert_eq!((periods.end - periods.start).rem_euclid(cadence.period_seconds), 0);
            prop_assert!(periods.start <= periods.end);
            prop_assert!(periods.end <= now - cadence.settle_seconds);
            prop_assert!(now - cadence.settle_seconds - periods.end < cadence.period_seconds);
            let reach = cadence.max_catch_up_seconds.max(cadence.period_seconds).max(60);
            prop_assert!(periods.end - periods.start <= reach);
            if let Some(behind) = behind {
                prop_assert!(periods.is_empty() || periods.start >= now - behind);
            }
        }

        #[test]
        fn runs_that_follow_each_other_publish_every_period_once(
            cadence in cadences(), first in 1_000_000i64..2_000_000, steps in prop::collection::vec(1i64..600, 1..20),
        ) {
            let cadence = Cadence { max_catch_up_seconds: 1_000_000, ..cadence };
            let mut now = first;
            let mut published: Vec<Period> = cadence.due(now, now, None).iter().collect();
            for step in steps {
                now += step;
                let watermark = published.last().map(|period| period.end);
                published.extend(cadence.due(now, now, watermark).iter());
            }
            for pair in published.windows(2) {
                prop_assert_eq!(pair[0].end, pair[1].start);
            }
        }

        #[test]
        fn only_the_end_of_what_is_due_waits_for_late_samples(
            cadence in cadences(), now in 1_000_000i64..4_000_000_000,
            behind in 0i64..200_000, newest_before in -1_000i64..200_000, slower in 0i64..1_000,
        ) {
            let due = cadence.due(now, now, Some(now - behind));
            let newest = now - newest_before;
            let slowest = newest - slower;
            let arrived = cadence.arrived(due, newest, slowest);
            prop_assert_eq!((arrived.start, arrived.length), (due.start, due.length));
            prop_assert!(arrived.end <= due.end);
            prop_assert_eq!((arrived.end - arrived.start).rem_euclid(due.length), 0);
            for waiting in (Periods { start: arrived.end, ..due }).iter() {
                prop_assert!(newest >= due.start && slowest < cadence.awaited(due));
                prop_assert!(waiting.end + cadence.settle_seconds > slowest);
                prop_assert!(waiting.end > now - cadence.max_catch_up_seconds - cadence.settle_seconds);
            }
        }

        #[test]
        fn splitting_loses_and_repeats_no_period(
            cadence in cadences(), start in 0i64..100_000, span in 0i64..100_000, at in 0usize..2_000,
        ) {
            let all = cadence.covering(start, start + span);
            let (head, tail) = all.split_at(at);
            let both: Vec<_> = head.iter().chain(tail.iter()).collect();
            prop_assert_eq!(both, all.iter().collect::<Vec<_>>());
            prop_assert!(head.len() <= at);
        }
    }
}
