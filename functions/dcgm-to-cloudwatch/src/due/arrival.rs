//! How far the samples of each source have arrived, and so which periods have all of their samples. Pure.
//!
//! A source is an instance, as its labels name it. One range query evaluates, at several moments, the
//! newest sample of each source's slowest series. A series that has ended (its exporter is gone)
//! disappears from the answer at its staleness marker. A series whose samples are only late stays in the
//! answer for Prometheus's lookback of five minutes. This tells a node that was switched off from one
//! whose samples are still on their way.
//! <https://prometheus.io/docs/prometheus/latest/querying/basics/#staleness>

/// Distance between two evaluations. It is half of the lookback: a series that stops without a staleness
/// marker is seen at least once more, at least this long after its last sample.
pub(crate) const STEP_SECONDS: i64 = 150;

/// How long one late source holds back the others. A source that is further behind is ignored: its
/// Prometheus may be gone for good.
pub(crate) const PATIENCE_SECONDS: i64 = 600;

/// The sources that were seen in the evaluations up to some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Arrivals {
    /// Each source that has not ended, with the time of its slowest series' newest sample, in seconds
    /// since the epoch.
    sources: Vec<(String, i64)>,
}

impl Arrivals {
    /// Adds one source. `looks` are the evaluations that saw it: their moment in milliseconds, and the
    /// time of its newest sample then in seconds. `until` is the moment of the last evaluation.
    pub(crate) fn take(&mut self, name: &str, looks: &[(i64, f64)], until: i64) {
        let Some((seen, newest)) = looks.last() else {
            return;
        };
        let (seen, newest) = (seen.div_euclid(1_000), *newest as i64);
        let has_ended = seen < until && seen - newest < STEP_SECONDS;
        if !has_ended {
            self.sources.push((name.to_owned(), newest));
        }
    }

    /// Time of the newest sample of all sources; none if no source was seen.
    pub(crate) fn newest(&self) -> Option<i64> {
        self.sources.iter().map(|(_, newest)| *newest).max()
    }

    /// Time of the slowest awaited source's newest sample.
    pub(crate) fn slowest(&self) -> Option<i64> {
        self.awaited().map(|(_, newest)| newest).min()
    }

    /// The awaited sources whose newest sample is before `time`.
    pub(crate) fn behind(&self, time: i64) -> impl Iterator<Item = &str> {
        self.awaited()
            .filter(move |(_, newest)| *newest < time)
            .map(|(name, _)| name)
    }

    fn awaited(&self) -> impl Iterator<Item = (&str, i64)> {
        let oldest = self.newest().unwrap_or_default() - PATIENCE_SECONDS;
        self.sources
            .iter()
            .map(|(name, newest)| (name.as_str(), *newest))
            .filter(move |(_, newest)| *newest >= oldest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNTIL: i64 = 1_700_000_000;

    /// Looks that Prometheus answers for a series with samples every 15 s up to `last`, which has
    /// ended or only stops.
    fn looks(last: i64, has_ended: bool) -> Vec<(i64, f64)> {
        (0..=PATIENCE_SECONDS / STEP_SECONDS)
            .rev()
            .map(|step| UNTIL - step * STEP_SECONDS)
            .filter_map(|at| {
                let newest = last.min(at - at.rem_euclid(15));
                let is_marked = has_ended && at >= last + 15;
                (newest > at - 300 && !is_marked).then_some((at * 1_000, newest as f64))
            })
            .collect()
    }

    fn arrivals(sources: &[(&str, i64, bool)]) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for (name, ago, has_ended) in sources {
            arrivals.take(name, &looks(UNTIL - ago, *has_ended), UNTIL);
        }
        arrivals
    }

    #[test]
    fn a_source_that_stops_is_late_and_one_that_ends_is_gone() {
        // Whatever the time between the last sample and the looks.
        for ago in 60..PATIENCE_SECONDS {
            let arrivals = arrivals(&[("a", 5, false), ("late", ago, false), ("gone", ago, true)]);
            assert_eq!(arrivals.newest(), Some(UNTIL - 5));
            assert_eq!(arrivals.slowest(), Some(UNTIL - ago), "{ago} s");
            assert!(arrivals.behind(UNTIL - 30).eq(["late"]), "{ago} s");
        }
    }

    #[test]
    fn nobody_waits_for_a_source_that_is_far_behind() {
        let far = PATIENCE_SECONDS + 6;
        let arrivals = arrivals(&[("a", 5, false), ("far", far, false)]);
        assert_eq!(arrivals.slowest(), Some(UNTIL - 5));
    }

    #[test]
    fn where_all_are_late_the_newest_counts() {
        let arrivals = arrivals(&[("a", 280, false), ("b", 500, false), ("gone", 400, true)]);
        assert_eq!(arrivals.newest(), Some(UNTIL - 280));
        assert_eq!(arrivals.slowest(), Some(UNTIL - 500));
        assert_eq!(super::Arrivals::default().newest(), None);
    }
}
