//! What CloudWatch has to hold, computed from what the exporters served and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Field, Node, Scrape};
use testkit::oracle::{GPUS_REPORTING, METRICS};

use crate::{
    clock::{self, PERIOD, Span},
    parts::{Parts, SCRAPE_INTERVAL},
    scraped::ScrapeTimes,
};

/// Prometheus puts the times of scrapes on its interval's grid when they are this near.
const ALIGNMENT_MS: i64 = 2;

/// Which GPU: instance id and index.
pub(crate) type Gpu = (String, u32);

/// A CloudWatch metric: of one GPU, or of all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) gpu: Option<Gpu>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Statistic {
    Average,
    Minimum,
    Maximum,
    Sum,
    SampleCount,
    P90,
}

impl Statistic {
    pub(crate) const ALL: [Self; 6] = [
        Self::Average,
        Self::Minimum,
        Self::Maximum,
        Self::Sum,
        Self::SampleCount,
        Self::P90,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Average => "Average",
            Self::Minimum => "Minimum",
            Self::Maximum => "Maximum",
            Self::Sum => "Sum",
            Self::SampleCount => "SampleCount",
            Self::P90 => "p90",
        }
    }

    /// Of samples by rising value, of which there is at least one.
    fn of(self, samples: &[f64]) -> f64 {
        let count = samples.len();
        let sum: f64 = samples.iter().sum();
        match self {
            Self::Average => sum / count as f64,
            Self::Minimum => samples[0],
            Self::Maximum => samples[count - 1],
            Self::Sum => sum,
            Self::SampleCount => count as f64,
            // The nearest rank: the smallest that nine in ten do not exceed.
            Self::P90 => samples[(90 * count).div_ceil(100) - 1],
        }
    }
}

/// Every sample that was served, by the metrics it has to count in.
#[derive(Debug)]
pub(crate) struct Oracle {
    span: Span,
    samples: BTreeMap<Metric, Vec<(i64, f64)>>,
    reporting: BTreeMap<i64, BTreeSet<Gpu>>,
    /// When something that is no number was served.
    not_a_number_ms: Vec<i64>,
}

impl Oracle {
    /// What was loaded, and what was scraped and when.
    pub(crate) fn new(parts: &Parts, scrapes: &ScrapeTimes, span: Span) -> anyhow::Result<Self> {
        let mut oracle = Self {
            span,
            samples: BTreeMap::new(),
            reporting: BTreeMap::new(),
            not_a_number_ms: Vec::new(),
        };
        for node in &parts.nodes {
            oracle.add_history(node.node(), parts.history);
            let times = scrapes.get(&node.node().instance_id);
            let times = times.context("prometheus scraped every node")?;
            oracle.add_scrapes(node, times)?;
        }
        oracle.count_gpus();
        Ok(oracle)
    }

    pub(crate) fn metrics(&self) -> impl Iterator<Item = &Metric> {
        self.samples.keys()
    }

    /// How many samples of that time are no numbers.
    pub(crate) fn not_a_number(&self, span: Span) -> usize {
        let times = self.not_a_number_ms.iter();
        times.filter(|at_ms| span.holds_ms(**at_ms)).count()
    }

    /// The data points of a metric by the start of their period, no point for a period without any
    /// sample.
    pub(crate) fn points(
        &self,
        metric: &Metric,
        statistic: Statistic,
        period: i64,
    ) -> BTreeMap<i64, f64> {
        let mut periods = BTreeMap::<i64, Vec<f64>>::new();
        for (at_ms, value) in self.samples.get(metric).into_iter().flatten() {
            let start = clock::floor(at_ms.div_euclid(1000), period);
            periods.entry(start).or_default().push(*value);
        }
        let points = periods.into_iter().map(|(start, mut samples)| {
            samples.sort_by(f64::total_cmp);
            (start, statistic.of(&samples))
        });
        points.collect()
    }

    /// What was loaded is the nodes' own load.
    fn add_history(&mut self, node: &Node, history: Span) {
        for series in node.series() {
            for field in Field::published() {
                for at in history.start..history.end {
                    let gpu = (node.instance_id.clone(), series.gpu);
                    let value = node.load(&series, field, clock::system_time(at));
                    self.add(field, gpu, at * 1000, value);
                }
            }
        }
    }

    fn add_scrapes(&mut self, node: &DcgmExporter, times_ms: &[i64]) -> anyhow::Result<()> {
        let scrapes = node.scrapes();
        for &at_ms in times_ms {
            let scrape = served_at(&scrapes, at_ms)
                .with_context(|| format!("no exporter served the sample of {at_ms} ms"))?;
            for reading in &scrape.readings {
                let gpu = (node.node().instance_id.clone(), reading.series.gpu);
                self.add(reading.field, gpu, at_ms, reading.measured);
            }
        }
        Ok(())
    }

    fn add(&mut self, field: Field, gpu: Gpu, at_ms: i64, value: f64) {
        let metric = METRICS.iter().find(|(of, _)| *of == field.name);
        let Some((_, name)) = metric.filter(|_| self.span.holds_ms(at_ms)) else {
            return;
        };
        if !value.is_finite() {
            self.not_a_number_ms.push(at_ms);
            return;
        }
        let period = clock::floor(at_ms.div_euclid(1000), PERIOD);
        self.reporting
            .entry(period)
            .or_default()
            .insert(gpu.clone());
        for gpu in [Some(gpu), None] {
            let samples = self.samples.entry(Metric { name, gpu }).or_default();
            samples.push((at_ms, value));
        }
    }

    fn count_gpus(&mut self) {
        let metric = Metric {
            name: GPUS_REPORTING,
            gpu: None,
        };
        let counts = self.reporting.iter();
        let samples = counts.map(|(start, gpus)| (start * 1000, gpus.len() as f64));
        self.samples.insert(metric, samples.collect());
    }
}

/// The scrape that Prometheus began at that time: the first one served since.
fn served_at(scrapes: &[Scrape], at_ms: i64) -> Option<&Scrape> {
    let interval_ms = SCRAPE_INTERVAL.as_millis() as i64;
    let began = at_ms - ALIGNMENT_MS;
    scrapes
        .iter()
        .find(|scrape| clock::millis(scrape.at) >= began)
        .filter(|scrape| clock::millis(scrape.at) < at_ms + interval_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_the_samples() {
        let ten: Vec<f64> = (1..=10).map(f64::from).collect();
        let of = |samples: &[f64]| Statistic::ALL.map(|statistic| statistic.of(samples));
        assert_eq!(of(&ten), [5.5, 1.0, 10.0, 55.0, 10.0, 9.0]);
        assert_eq!(of(&[7.0]), [7.0, 7.0, 7.0, 7.0, 1.0, 7.0]);
        let eleven: Vec<f64> = (1..=11).map(f64::from).collect();
        assert_eq!(Statistic::P90.of(&eleven), 10.0);
    }

    #[test]
    fn a_sample_is_of_the_scrape_that_was_served_next() {
        let at = |ms| Scrape {
            at: std::time::UNIX_EPOCH + std::time::Duration::from_millis(ms),
            readings: Vec::new(),
        };
        let scrapes = [at(10_003), at(11_001), at(13_002)];
        let found = |ms| served_at(&scrapes, ms).map(|scrape| clock::millis(scrape.at));
        assert_eq!(found(10_000), Some(10_003));
        assert_eq!(found(10_004), Some(10_003));
        assert_eq!(found(10_999), Some(11_001));
        assert_eq!(found(12_000), None, "served more than an interval later");
        assert_eq!(found(14_000), None);
    }
}
