//! The reply.

use serde::Serialize;
use serde_json::{Value, json};

use crate::cloudwatch::Datum;
use crate::config::DimensionSet;
use crate::cost::monthly_usd;
use crate::sample::Dropped;
use crate::trigger::{Mode, Trigger};
use crate::watermark;

/// A dry run shows that many datums.
const SHOWN_DATUMS: usize = 20;

/// What a run did, or with `dryRun` would have done.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    mode: Mode,
    dry_run: bool,
    /// Every period dealt with, oldest first.
    pub periods: Vec<PeriodReport>,
    /// Samples that were not published.
    pub dropped: Dropped,
    /// PutMetricData requests accepted.
    pub requests: u64,
    /// Where the next run goes on.
    #[serde(serialize_with = "as_text")]
    pub watermark: Option<i64>,
    /// How long before the run's "now" the newest period published so far ended.
    pub lag_seconds: i64,
    /// Whether every period that was due is dealt with.
    pub complete: bool,
    /// Dimension sets left out for the cap on metrics.
    pub degraded: Vec<DimensionSet>,
    metrics: usize,
    estimated_monthly_usd: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    datums: Option<Vec<Value>>,
}

/// One period.
#[derive(Clone, Debug, Serialize)]
pub struct PeriodReport {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339; the first second that is no longer part of it.
    pub end: String,
    /// GPUs that sent a sample.
    pub gpus: usize,
    /// Series that had one.
    pub series: u64,
    /// Samples published, each once however many dimension sets they enter.
    pub samples: usize,
    /// Datums sent.
    pub datums: u64,
}

impl Report {
    /// Nothing done yet.
    pub fn new(trigger: &Trigger) -> Self {
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
            metrics: 0,
            estimated_monthly_usd: 0.0,
            datums: trigger.dry_run.then(Vec::new),
        }
    }

    /// A period touched that many distinct metrics. The largest counts: it is what a month of
    /// such periods costs.
    pub fn metrics(&mut self, metrics: usize) {
        self.metrics = self.metrics.max(metrics);
        self.estimated_monthly_usd = monthly_usd(self.metrics as u64);
    }

    /// Dimension sets were left out; says whether that is news.
    pub fn degrade(&mut self, sets: &[DimensionSet]) -> bool {
        let known = self.degraded.len();
        self.degraded.extend(sets);
        self.degraded.sort_unstable();
        self.degraded.dedup();
        self.degraded.len() > known
    }

    /// A datum that a dry run does not send.
    pub fn show(&mut self, datum: &Datum<'_>) {
        if let Some(shown) = self
            .datums
            .as_mut()
            .filter(|shown| shown.len() < SHOWN_DATUMS)
        {
            shown.push(as_json(datum));
        }
    }

    /// The run in a line.
    pub fn log(&self, milliseconds: u128) {
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
            lag_seconds = self.lag_seconds,
            complete = self.complete,
            duration_ms = milliseconds as u64,
            "{} {} periods",
            if self.dry_run { "computed" } else { "published" },
            self.periods.len(),
        );
    }
}

fn as_text<S: serde::Serializer>(time: &Option<i64>, serializer: S) -> Result<S::Ok, S::Error> {
    time.map(watermark::rfc3339).serialize(serializer)
}

/// A datum as PutMetricData's JSON form has it.
fn as_json(datum: &Datum<'_>) -> Value {
    let dimensions: Vec<Value> = datum
        .of
        .dimensions()
        .map(|(name, value)| json!({"Name": name, "Value": value}))
        .collect();
    let (values, counts) = datum.values_and_counts();
    let mut json = json!({
        "MetricName": datum.metric,
        "Dimensions": dimensions,
        "Timestamp": watermark::rfc3339(datum.period.start),
        "Unit": datum.unit.as_str(),
        "Values": values,
        "Counts": counts,
    });
    if let Some(resolution) = datum.storage_resolution() {
        json["StorageResolution"] = resolution.into();
    }
    json
}
