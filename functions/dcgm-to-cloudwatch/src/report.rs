//! The reply.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::cloudwatch::cost::{Cost, monthly_detail_usd, monthly_usd};
use crate::cloudwatch::datum::Datum;
use crate::cloudwatch::publish::Published;
use crate::due::period::{Period, rfc3339};
use crate::due::trigger::{Mode, Trigger};
use crate::gpu::dropped::Dropped;
use crate::gpu::rollup::{DimensionSet, PeriodReadings};
use crate::otlp::publish::Sent;

/// A dry run shows so many datums.
const SHOWN_DATUMS: usize = 20;

/// What a run did, or with `dryRun` would have done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    mode: Mode,
    dry_run: bool,
    /// Every period dealt with, oldest first.
    pub(crate) periods: Vec<PeriodReport>,
    /// Samples that were not published.
    pub(crate) dropped: Dropped,
    /// PutMetricData requests accepted.
    pub(crate) requests: u64,
    /// End of the last published period, from which the next run goes on.
    #[serde(serialize_with = "as_rfc3339")]
    pub(crate) watermark: Option<i64>,
    /// From the end of the newest published period to the run's "now".
    pub(crate) lag_seconds: i64,
    /// Whether every period that was due is dealt with.
    pub(crate) complete: bool,
    /// Dimension sets left out for the cap on metrics.
    pub(crate) degraded: Vec<DimensionSet>,
    /// Metrics that no GPU has, while the GPUs have others.
    pub(crate) absent: BTreeSet<String>,
    /// What was sent by OTLP.
    detail: DetailReport,
    metrics: usize,
    /// The sum of `cost`.
    estimated_monthly_usd: f64,
    cost: Cost,
    #[serde(skip_serializing_if = "Option::is_none")]
    datums: Option<Vec<Value>>,
}

/// One period.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PeriodReport {
    /// RFC 3339.
    pub(crate) start: String,
    /// RFC 3339; the first second that is no longer part of it.
    pub(crate) end: String,
    /// GPUs that sent a sample.
    pub(crate) gpus: usize,
    /// Series that had one.
    pub(crate) series: u64,
    /// Samples published, each once however many dimension sets they enter.
    pub(crate) samples: usize,
    /// Datums sent.
    pub(crate) datums: u64,
}

/// The readings of each GPU that were sent by OTLP.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct DetailReport {
    /// Accepted.
    points: u64,
    /// Requests accepted.
    requests: u64,
    /// Bytes of these requests, not compressed.
    bytes: u64,
    /// Points refused.
    refused: u64,
}

impl Report {
    /// The report of a run that has done nothing yet.
    pub(crate) fn new(trigger: &Trigger) -> Self {
        Self {
            mode: trigger.mode,
            dry_run: trigger.dry_run,
            periods: Vec::new(),
            dropped: Dropped::default(),
            requests: 0,
            watermark: None,
            lag_seconds: 0,
            complete: false,
            degraded: Vec::new(),
            absent: BTreeSet::new(),
            detail: DetailReport::default(),
            metrics: 0,
            estimated_monthly_usd: 0.0,
            cost: Cost::default(),
            datums: trigger.dry_run.then(Vec::new),
        }
    }

    /// Adds a period that ended `lag` seconds before the run's "now". Returns whether it had anything to
    /// publish.
    pub(crate) fn add(
        &mut self,
        readings: &PeriodReadings<'_>,
        published: &Published,
        lag: i64,
    ) -> bool {
        let samples = readings.samples();
        self.requests += published.requests;
        self.dropped.merge(&published.refused);
        self.periods.push(PeriodReport {
            start: rfc3339(readings.period.start),
            end: rfc3339(readings.period.end),
            gpus: readings.gpus(),
            series: readings.series,
            samples,
            datums: published.datums,
        });
        if samples > 0 {
            self.lag_seconds = lag;
        }
        samples > 0
    }

    /// A period touched that many distinct metrics. The largest counts: it is what a month of
    /// such periods costs.
    pub(crate) fn count_metrics(&mut self, metrics: usize) {
        self.metrics = self.metrics.max(metrics);
        self.cost.metrics_usd = monthly_usd(self.metrics as u64);
        self.estimated_monthly_usd = self.cost.total();
    }

    /// Adds what was sent of a period by OTLP. The largest period counts for the cost, as above.
    pub(crate) fn add_detail(&mut self, period: Period, sent: Sent) {
        self.detail.points += sent.points;
        self.detail.requests += sent.requests;
        self.detail.bytes += sent.bytes;
        self.detail.refused += sent.refused;
        let usd = monthly_detail_usd(sent.charged_bytes, period.end - period.start);
        self.cost.detail_usd = self.cost.detail_usd.max(usd);
        self.estimated_monthly_usd = self.cost.total();
    }

    /// Notes that dimension sets were left out. Returns false if that was known already.
    pub(crate) fn degrade(&mut self, sets: &[DimensionSet]) -> bool {
        let known = self.degraded.len();
        self.degraded.extend(sets);
        self.degraded.sort_unstable();
        self.degraded.dedup();
        self.degraded.len() > known
    }

    /// Notes a datum that a dry run does not send.
    pub(crate) fn show(&mut self, datum: &Datum<'_>) {
        if let Some(shown) = self
            .datums
            .as_mut()
            .filter(|shown| shown.len() < SHOWN_DATUMS)
        {
            shown.push(datum.to_json());
        }
    }

    /// Writes the run's one line to the log.
    pub(crate) fn log(&self, duration: Duration) {
        let samples: usize = self.periods.iter().map(|period| period.samples).sum();
        let datums: u64 = self.periods.iter().map(|period| period.datums).sum();
        let gpus = self
            .periods
            .iter()
            .map(|period| period.gpus)
            .max()
            .unwrap_or_default();
        tracing::info!(
            mode = ?self.mode,
            dry_run = self.dry_run,
            gpus,
            samples,
            dropped = self.dropped.total(),
            datums,
            requests = self.requests,
            points = self.detail.points,
            lag_seconds = self.lag_seconds,
            complete = self.complete,
            duration_ms = duration.as_millis() as u64,
            "{} {} periods",
            if self.dry_run { "computed" } else { "published" },
            self.periods.len(),
        );
    }
}

fn as_rfc3339<S: serde::Serializer>(time: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(rfc3339).serialize(serializer)
}
