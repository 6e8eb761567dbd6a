//! Increases of counters, period by period.
//!
//! A counter's samples of one GPU form a line, whichever series they are in: exporters rename series, and add
//! labels to them for each job. The increase between two samples of a line belongs to the period of the
//! later one. It is never more than what was counted:
//!
//! - A value that fell was reset, and has counted from 0 since.
//! - The first sample of a line has no base. Only where the GPU was seen before without the counter, the
//!   counter has appeared with its first event, and has counted from 0.

use std::collections::HashMap;

use super::metric::{Kind, Metric};
use super::reading::{Reading, Sample};
use crate::due::period::Periods;

/// How far before a range the base of its first increase may lie, in seconds. It is Prometheus's own
/// lookback.
pub(crate) const LOOKBACK_SECONDS: i64 = 300;

/// Joules a second that no GPU exceeds. An energy counter that appears with more than that had counted
/// before.
const MAX_WATTS: f64 = 5_000.0;

/// The samples of one counter.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    numbers: HashMap<Line, u32>,
    /// GPU, part and source of each line.
    lines: Vec<(u32, u8, u32)>,
    sources: HashMap<String, u32>,
    samples: Vec<LineSample>,
    /// For each GPU, when it was seen at all, in milliseconds since the epoch.
    presence: HashMap<u32, Vec<i64>>,
}

/// What the samples of one line have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Line {
    gpu: u32,
    part: u8,
    source: u32,
    detail: String,
}

#[derive(Clone, Copy, Debug)]
struct LineSample {
    line: u32,
    /// Milliseconds since the epoch.
    at: i64,
    /// Place of the sample's series name among the metric's.
    rank: u8,
    value: f64,
}

/// A series of a counter.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CounterSeries<'s> {
    /// Number of the GPU.
    pub(crate) gpu: u32,
    /// Part of the metric.
    pub(crate) part: u8,
    /// Place of its name among the metric's series; the first of several counts.
    pub(crate) rank: u8,
    /// The scrape target. Two exporters on one GPU count the same events.
    pub(crate) source: &'s str,
    /// What tells events of different kinds or places apart, such as the link. They add up.
    pub(crate) detail: &'s str,
}

/// What was counted in a period, and in how much time.
#[derive(Clone, Copy, Debug, Default)]
struct Increase {
    value: f64,
    seconds: f64,
}

impl Lines {
    /// Number of samples, in terms of readings of the same size.
    pub(crate) fn len(&self) -> usize {
        self.samples.len() * size_of::<LineSample>() / size_of::<Reading>()
    }

    /// Adds the samples of a series, in the metric's unit.
    pub(crate) fn take(
        &mut self,
        series: CounterSeries<'_>,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let sources = self.sources.len() as u32;
        let source = match self.sources.get(series.source) {
            Some(number) => *number,
            None => *self
                .sources
                .entry(series.source.to_owned())
                .or_insert(sources),
        };
        let line = Line {
            gpu: series.gpu,
            part: series.part,
            source,
            detail: series.detail.to_owned(),
        };
        let next = self.lines.len() as u32;
        let line = *self.numbers.entry(line).or_insert(next);
        if line == next {
            self.lines.push((series.gpu, series.part, source));
        }
        let rank = series.rank;
        self.samples
            .extend(samples.into_iter().map(|(at, value)| LineSample {
                line,
                at,
                rank,
                value,
            }));
    }

    /// Notes that the GPU was seen at these times, in milliseconds since the epoch.
    pub(crate) fn see(&mut self, gpu: u32, times: impl IntoIterator<Item = i64>) {
        self.presence.entry(gpu).or_default().extend(times);
    }

    /// One reading for each GPU and period, at the start of the period.
    pub(crate) fn readings(mut self, metric: &Metric, range: Periods) -> Vec<Reading> {
        for times in self.presence.values_mut() {
            times.sort_unstable();
        }
        // Copies have equal values. Where a node exports two names, the first one counts.
        self.samples.sort_unstable_by(|a, b| {
            (a.line, a.at, a.rank)
                .cmp(&(b.line, b.at, b.rank))
                .then(b.value.total_cmp(&a.value))
        });
        self.samples.dedup_by_key(|sample| (sample.line, sample.at));
        let mut of_sources: HashMap<(u32, u8, u32, usize), Increase> = HashMap::new();
        for line in self.samples.chunk_by(|a, b| a.line == b.line) {
            let (gpu, part, source) = self.lines[line[0].line as usize];
            let mut before = None;
            for sample in line {
                let increase = match before.replace(*sample) {
                    Some(before) => Some(between(before, *sample)),
                    None => self.first(metric, gpu, *sample),
                };
                if let (Some(period), Some(increase)) = (range.index_at(sample.at), increase) {
                    let sum = of_sources.entry((gpu, part, source, period)).or_default();
                    sum.value += increase.value;
                    sum.seconds += increase.seconds;
                }
            }
        }
        combined(metric.kind, of_sources, range)
    }

    /// The increase up to the first sample of a line: all of it, where the GPU was seen without the counter.
    fn first(&self, metric: &Metric, gpu: u32, sample: LineSample) -> Option<Increase> {
        let times = self.presence.get(&gpu)?;
        let before = times[..times.partition_point(|time| *time < sample.at)].last()?;
        let seconds = (sample.at - before) as f64 / 1_000.0;
        let is_possible = match metric.kind {
            Kind::Share => sample.value <= seconds,
            _ if metric.name == "GPUEnergy" => sample.value <= seconds * MAX_WATTS,
            _ => true,
        };
        is_possible.then_some(Increase {
            value: sample.value,
            seconds,
        })
    }
}

fn between(before: LineSample, sample: LineSample) -> Increase {
    let difference = sample.value - before.value;
    let value = if difference >= 0.0 {
        difference
    } else if sample.rank == before.rank {
        sample.value
    } else {
        // Two names of one quantity may be rounded differently.
        0.0
    };
    Increase {
        value,
        seconds: (sample.at - before.at) as f64 / 1_000.0,
    }
}

/// The sources and parts of a metric together. Sources count the same, so the largest is taken. The events
/// of parts add up. Shares of time may overlap, so that of the largest part is taken.
fn combined(
    kind: Kind,
    of_sources: HashMap<(u32, u8, u32, usize), Increase>,
    range: Periods,
) -> Vec<Reading> {
    let mut of_parts: HashMap<(u32, u8, usize), f64> = HashMap::new();
    for ((gpu, part, _, period), Increase { value, seconds }) in of_sources {
        let value = match kind {
            // Scrapes are not exactly on time.
            Kind::Share => (value / seconds * 100.0).min(100.0),
            Kind::Gauge | Kind::Counter => value,
        };
        let largest = of_parts.entry((gpu, part, period)).or_insert(value);
        *largest = largest.max(value);
    }
    let mut of_gpus: HashMap<(u32, usize), f64> = HashMap::new();
    for ((gpu, _, period), value) in of_parts {
        let together = of_gpus.entry((gpu, period)).or_insert(0.0);
        *together = match kind {
            Kind::Share => together.max(value),
            Kind::Gauge | Kind::Counter => *together + value,
        };
    }
    of_gpus
        .into_iter()
        .map(|((gpu, period), value)| Reading {
            gpu,
            at: (period as i64 * range.length * 1_000) as u32,
            value,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::gpu::metric::find;

    const START: i64 = 1_700_000_040;
    const MINUTE: Periods = Periods {
        start: START,
        end: START + 60,
        length: 60,
    };

    fn line(
        part: u8,
        rank: u8,
        source: &'static str,
        detail: &'static str,
    ) -> CounterSeries<'static> {
        CounterSeries {
            gpu: 0,
            part,
            rank,
            source,
            detail,
        }
    }

    /// Seconds from the start, and values.
    fn samples(samples: &[(i64, f64)]) -> Vec<Sample> {
        let samples = samples.iter();
        samples
            .map(|(at, value)| ((START + at) * 1_000, *value))
            .collect()
    }

    fn increase(
        metric: &str,
        series: &[(CounterSeries<'static>, &[(i64, f64)])],
        seen: &[i64],
    ) -> Option<f64> {
        let mut lines = Lines::default();
        for (one, values) in series {
            lines.take(*one, samples(values));
        }
        lines.see(0, seen.iter().map(|at| (START + at) * 1_000));
        let readings = lines.readings(&find(metric).unwrap(), MINUTE);
        assert!(readings.len() <= 1, "{readings:?}");
        readings.first().map(|reading| reading.value)
    }

    /// Seconds from the start, and values.
    type Values<'s> = &'s [(i64, f64)];

    const ONE: CounterSeries<'_> = CounterSeries {
        gpu: 0,
        part: 0,
        rank: 0,
        source: "",
        detail: "",
    };

    #[test]
    fn an_increase_counts_from_the_sample_before_the_period() {
        let of = |values: &[(i64, f64)]| increase("GPUPCIeReplays", &[(ONE, values)], &[]);
        let rows: [(Values<'_>, Option<f64>, &str); 7] = [
            (
                &[(-10, 5.0), (5, 7.0), (50, 9.0), (65, 20.0)],
                Some(4.0),
                "base before, end after",
            ),
            (&[(-10, 5.0), (5, 5.0)], Some(0.0), "nothing happened"),
            (
                &[(5, 7.0), (50, 9.0)],
                Some(2.0),
                "no base: from the first sample",
            ),
            (&[(5, 7.0)], None, "no base and one sample: not known"),
            (
                &[(-10, 5.0), (5, 2.0), (50, 3.0)],
                Some(3.0),
                "a reset counts from 0",
            ),
            (&[(-290, 5.0), (59, 8.0)], Some(3.0), "a gap"),
            (&[(-10, 5.0), (65, 9.0)], None, "no sample inside"),
        ];
        for (values, expected, what) in rows {
            assert_eq!(of(values), expected, "{what}");
        }
    }

    #[test]
    fn a_counter_that_appears_beside_a_gpu_that_was_there_began_with_0() {
        let of = |metric, value, seen: &[i64]| increase(metric, &[(ONE, &[(20, value)])], seen);
        assert_eq!(of("GPUECCDoubleBitErrors", 2.0, &[5, 20]), Some(2.0));
        assert_eq!(of("GPUECCDoubleBitErrors", 2.0, &[20]), None);
        // A second of throttling cannot take longer, and a GPU draws no more than 5,000 W.
        assert_eq!(of("GPUThrottled", 3.0, &[5, 20]), Some(20.0));
        assert_eq!(of("GPUThrottled", 3_600.0, &[5, 20]), None);
        assert_eq!(of("GPUEnergy", 9_000.0, &[5, 20]), Some(9_000.0));
        assert_eq!(of("GPUEnergy", 1e9, &[5, 20]), None);
    }

    #[test]
    fn series_of_one_counter_are_one_line() {
        let old = (ONE, &[(-10, 5_000.0), (5, 6_000.0)][..]);
        let new = (line(0, 1, "", ""), &[(20, 6_500.0), (50, 7_000.0)][..]);
        assert_eq!(
            increase("GPUEnergy", &[old, new], &[]),
            Some(2_000.0),
            "renamed"
        );
        let both = (line(0, 1, "", ""), &[(-10, 5_000.4), (5, 6_000.4)][..]);
        assert_eq!(
            increase("GPUEnergy", &[old, both], &[]),
            Some(1_000.0),
            "both names"
        );
        let rounded = (line(0, 1, "", ""), &[(20, 5_999.9)][..]);
        assert_eq!(
            increase("GPUEnergy", &[old, rounded], &[]),
            Some(1_000.0),
            "rounded"
        );
        let job = (ONE, &[(20, 6_100.0)][..]);
        assert_eq!(
            increase("GPUEnergy", &[old, job], &[]),
            Some(1_100.0),
            "a job's label"
        );
    }

    #[test]
    fn parts_and_links_add_up_and_sources_do_not() {
        let step: &[(i64, f64)] = &[(-10, 1.0), (5, 2.0)];
        let parts = [(ONE, step), (line(1, 2, "", ""), step)];
        assert_eq!(increase("GPUNVLinkErrors", &parts, &[]), Some(2.0));
        let links = [(line(0, 0, "", "0"), step), (line(0, 0, "", "1"), step)];
        assert_eq!(increase("GPUNVLinkErrors", &links, &[]), Some(2.0));
        let sources = [
            (line(0, 0, "a:9400", ""), step),
            (line(0, 0, "b:9400", ""), step),
        ];
        assert_eq!(increase("GPUNVLinkErrors", &sources, &[]), Some(1.0));
        let shares: [(_, &[(i64, f64)]); 2] = [
            (ONE, &[(-10, 0.0), (5, 3.0)]),
            (line(1, 2, "", ""), &[(-10, 0.0), (5, 6.0)]),
        ];
        assert_eq!(increase("GPUThrottled", &shares, &[]), Some(40.0));
    }

    /// What happens to an exporter between two scrapes.
    #[derive(Clone, Debug)]
    struct Step {
        seconds: i64,
        events: u32,
        restarts: bool,
        is_scraped: bool,
    }

    fn steps(restarts: bool) -> impl Strategy<Value = Vec<Step>> {
        let step = (
            1i64..40,
            0u32..4,
            prop::bool::weighted(0.1),
            prop::bool::weighted(0.9),
        );
        let step = step.prop_map(move |(seconds, events, restart, is_scraped)| Step {
            seconds,
            events,
            restarts: restart && restarts,
            is_scraped,
        });
        prop::collection::vec(step, 1..120)
    }

    /// Plays the steps, and reads them minute by minute as runs do. Returns what was counted, and what
    /// happened from the first to the last scrape.
    fn counted(steps: &[Step], is_absent_until_event: bool) -> (f64, f64) {
        let metric = find("GPUECCDoubleBitErrors").unwrap();
        let (mut at, mut value) = (START, 0.0);
        let (mut all, mut seen) = (Vec::new(), Vec::new());
        let (mut happened, mut until_last_scrape) = (0.0, 0.0);
        for step in steps {
            at += step.seconds;
            if step.restarts {
                value = 0.0;
            }
            value += f64::from(step.events);
            happened += f64::from(step.events);
            if !step.is_scraped {
                continue;
            }
            if seen.is_empty() {
                happened = 0.0;
            }
            seen.push(at * 1_000);
            if !is_absent_until_event || value > 0.0 {
                all.push((at * 1_000, value));
            }
            until_last_scrape = happened;
        }
        let mut sum = 0.0;
        let minutes = (at - START) / 60 + 1;
        for minute in 0..minutes {
            let start = START + minute * 60;
            let range = Periods {
                start,
                end: start + 60,
                length: 60,
            };
            let reach = (start - LOOKBACK_SECONDS) * 1_000..range.end * 1_000;
            let mut lines = Lines::default();
            lines.take(
                ONE,
                all.iter().copied().filter(|(at, _)| reach.contains(at)),
            );
            lines.see(0, seen.iter().copied().filter(|at| reach.contains(at)));
            sum += lines
                .readings(&metric, range)
                .iter()
                .map(|one| one.value)
                .sum::<f64>();
        }
        (sum, until_last_scrape)
    }

    proptest! {
        #[test]
        fn without_restarts_every_event_is_counted_once(steps in steps(false), is_absent in any::<bool>()) {
            // Longer gaps than the lookback lose their increase.
            let gaps = steps.iter().filter(|step| !step.is_scraped).count() as i64 * 40;
            prop_assume!(gaps < LOOKBACK_SECONDS - 60);
            let (counted, happened) = counted(&steps, is_absent);
            prop_assert_eq!(counted, happened);
        }

        #[test]
        fn with_restarts_and_gaps_never_more_is_counted(steps in steps(true), is_absent in any::<bool>()) {
            let (counted, happened) = counted(&steps, is_absent);
            prop_assert!(counted <= happened, "{counted} of {happened}");
        }
    }
}
