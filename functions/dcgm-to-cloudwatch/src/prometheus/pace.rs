//! How much to ask for at once. Larger work is split, so that the process is never killed for its memory.
//! Pure.

use crate::gpu::reading::Reading;

/// Queries that run in parallel. Each holds its reply compressed.
pub(crate) const QUERIES_AT_ONCE: usize = 8;
/// The first range is what is due when no run was missed.
const FIRST_RANGE_SECONDS: i64 = 60;
/// A range grows at most fourfold: density may jump where an outage ends inside it.
const MAX_GROWTH: usize = 4;

/// Shares of the memory that Lambda gives the function. The rest is for the process itself and for
/// requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Budget {
    /// Bytes of one reply as it came over the wire.
    pub(crate) reply: usize,
    /// Bytes of one reply's JSON, of which a window is in memory, and of the labels known from it. 10,000 nodes are
    /// 35 MB a field and minute.
    pub(crate) json: usize,
    /// Readings of all metrics. 10,000 nodes are 1.9 million a minute.
    pub(crate) readings: usize,
}

impl Budget {
    /// The shares of a function with that many megabytes.
    pub(crate) const fn of(megabytes: usize) -> Self {
        let bytes = megabytes << 20;
        Self {
            reply: bytes / 4 / QUERIES_AT_ONCE,
            json: bytes / 4,
            readings: bytes / 3 / size_of::<Reading>(),
        }
    }
}

/// How many periods to ask for at once, learned from earlier ranges of the same run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    periods: usize,
    /// Longest range to try; longer ones were too much.
    limit: usize,
    /// Readings that a range may hold.
    readings: usize,
}

impl Pace {
    /// The pace to begin with, for periods of `period_seconds`.
    pub(crate) fn new(period_seconds: i64, budget: Budget) -> Self {
        let periods = usize::try_from(FIRST_RANGE_SECONDS / period_seconds).unwrap_or(1);
        Self {
            periods: periods.max(1),
            limit: usize::MAX,
            readings: budget.readings,
        }
    }

    /// How many periods to ask for next, at least one.
    pub(crate) fn periods(&self) -> usize {
        self.periods
    }

    /// A range of `periods` held `readings`. The next range is as long as fits half of the budget.
    pub(crate) fn went_well(&mut self, periods: usize, readings: usize) {
        let fit = self.readings / 2 * periods / readings.max(1);
        let fit = fit.clamp(1, periods.max(1) * MAX_GROWTH);
        self.periods = fit.min(self.limit);
    }

    /// A range of `periods` was too much. Returns whether a shorter range is left to try.
    pub(crate) fn was_too_much(&mut self, periods: usize) -> bool {
        self.limit = (periods / 2).max(1);
        self.periods = self.limit;
        periods > 1
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BUDGET: Budget = Budget::of(512);

    #[test]
    fn begins_with_a_minute_or_one_longer_period() {
        let rows = [(1, 60), (5, 12), (60, 1), (300, 1)];
        for (seconds, periods) in rows {
            assert_eq!(Pace::new(seconds, BUDGET).periods(), periods, "{seconds} s");
        }
    }

    #[test]
    fn what_was_too_much_is_never_asked_for_again() {
        let mut pace = Pace::new(1, BUDGET);
        assert!(pace.was_too_much(60));
        assert_eq!(pace.periods(), 30);
        pace.went_well(30, 1);
        assert_eq!(pace.periods(), 30);
        assert!(!pace.was_too_much(1));
        assert_eq!(pace.periods(), 1);
    }

    proptest! {
        #[test]
        fn a_range_of_the_same_density_fits_the_budget(
            periods in 1usize..5_000, readings in 0usize..20_000_000,
        ) {
            let mut pace = Pace::new(60, BUDGET);
            pace.went_well(periods, readings);
            let next = pace.periods();
            prop_assert!((1..=periods * MAX_GROWTH).contains(&next));
            let expected = readings * next / periods;
            prop_assert!(next == 1 || expected <= BUDGET.readings, "{next} periods, {expected} readings");
        }

        /// A run ends whatever the replies are: each step takes periods or shortens the range.
        #[test]
        fn every_run_ends(due in 1usize..2_000, densities in prop::collection::vec(1usize..3_000_000, 1..50)) {
            let mut pace = Pace::new(60, BUDGET);
            let (mut left, mut steps) = (due, 0);
            while left > 0 {
                let range = pace.periods().min(left);
                let readings = range.saturating_mul(densities[steps % densities.len()]);
                if readings <= BUDGET.readings {
                    pace.went_well(range, readings);
                    left -= range;
                } else if !pace.was_too_much(range) {
                    // The handler gives up or divides the fleet.
                    left -= 1;
                }
                steps += 1;
                prop_assert!(steps <= 3 * due + 20, "{steps} steps for {due} periods");
            }
        }
    }
}
