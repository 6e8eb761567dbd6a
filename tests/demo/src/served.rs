//! The oracle of what the exporters served: what was loaded, and what was scraped and when.

use std::time::Duration;

use anyhow::Context as _;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Scrape};
use testkit::oracle::{Oracle, gpu};
use testkit::real::prometheus::every;

use crate::{
    clock::{self, PERIOD, Span},
    parts::SCRAPE_INTERVAL,
    scraped::ScrapeTimes,
};

/// Prometheus puts the times of scrapes on its interval's grid when they are this near.
const ALIGNMENT_MS: i64 = 2;

/// Every sample of the span that was served.
pub(crate) fn oracle(
    nodes: &[DcgmExporter],
    history: Span,
    scrapes: &ScrapeTimes,
    span: Span,
) -> anyhow::Result<Oracle> {
    let period = Duration::from_secs(PERIOD.unsigned_abs());
    let mut oracle = Oracle::new(span.times(), period);
    let history = history.times();
    let loaded = every(SCRAPE_INTERVAL, history.start, history.end);
    for exporter in nodes {
        let node = exporter.node();
        oracle.add_load(std::slice::from_ref(node), &loaded);
        let times = scrapes.get(&node.instance_id);
        let served = exporter.scrapes();
        for &at_ms in times.context("prometheus scraped every node")? {
            let scrape = served_at(&served, at_ms)
                .with_context(|| format!("no exporter served the sample of {at_ms} ms"))?;
            for reading in &scrape.readings {
                let gpu = gpu(&node.instance_id, reading.series.gpu);
                oracle.add(reading.field.name, &gpu, at_ms, reading.measured);
            }
        }
    }
    Ok(oracle)
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
    fn a_sample_is_of_the_scrape_that_was_served_next() {
        let at = |ms| Scrape {
            at: std::time::UNIX_EPOCH + Duration::from_millis(ms),
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
