//! A run: which periods are due, what was measured in them, and off to CloudWatch.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use chrono::{DateTime, Utc};
use serde_json::Value;
use startup::Deadline;
use tokio::time::{Instant, timeout_at};

use crate::cloudwatch::cost::affordable;
use crate::cloudwatch::datum::datums;
use crate::cloudwatch::limits::{is_dimension_value, oldest_accepted};
use crate::cloudwatch::publish::{Published, publish};
use crate::cloudwatch::request::requests;
use crate::config::Config;
use crate::due::audit::Audit;
use crate::due::period::{MAX_PERIODS, Periods, rfc3339};
use crate::due::progress::{Mark, Progress};
use crate::due::trigger::Trigger;
use crate::error::RunError;
use crate::gpu::dropped::DropReason;
use crate::gpu::identity::Fleet;
use crate::gpu::readings::Readings;
use crate::gpu::rollup::{DimensionSet, PeriodReadings};
use crate::gpu::verdict::Finding;
use crate::otlp;
use crate::otlp::batch::batches;
use crate::otlp::point::points;
use crate::otlp::publish::Sent;
use crate::prometheus::error::QueryError;
use crate::prometheus::pace::Pace;
use crate::prometheus::source::Source;
use crate::report::Report;
use crate::watermark::Watermark;

/// Time reserved to send the reply.
const REPLY_RESERVE: Duration = Duration::from_millis(200);
/// Time reserved to save the watermark and send the reply.
const SAVE_RESERVE: Duration = Duration::from_millis(1_000);
/// A period is not begun with less time than this: cut in the middle, it would be published again.
const PERIOD_RESERVE: Duration = Duration::from_secs(1);
/// Queries end this long before the rest, so that what AMP answers can still be published.
const PUBLISH_RESERVE: Duration = Duration::from_secs(1);
/// A query for the log may delay the reply by no more than this.
const SIDE_QUERY_LIMIT: Duration = Duration::from_secs(5);
/// How often a run saves the watermark, in case it is killed. SSM takes three writes a second:
/// <https://docs.aws.amazon.com/general/latest/gr/ssm.html>
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// Number of names that a log line lists.
const MAX_NAMES: usize = 3;
/// Number of findings that a run logs, a line each.
const MAX_FINDINGS: usize = 100;

/// What the function speaks to.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) source: Source,
    pub(crate) cloudwatch: Client,
    /// Takes the readings of each GPU by OTLP.
    pub(crate) detail: Option<otlp::client::Client>,
    pub(crate) watermark: Option<Watermark>,
}

/// The function: configuration and clients, made once.
#[derive(Debug)]
pub struct Function {
    config: Config,
    source: Source,
    cloudwatch: Client,
    detail: Option<otlp::client::Client>,
    watermark: Option<Watermark>,
    /// What this process published lately.
    audit: Mutex<Audit>,
    /// Absent metrics that the log has named already.
    absent: Mutex<BTreeSet<String>>,
}

impl Function {
    /// The function, ready for its first run.
    pub(crate) fn new(config: Config, clients: Clients) -> Self {
        let Clients {
            source,
            cloudwatch,
            detail,
            watermark,
        } = clients;
        Self {
            config,
            source,
            cloudwatch,
            detail,
            watermark,
            audit: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// One invocation, which came at `clock`.
    ///
    /// # Errors
    /// See [`RunError`]. What was published before a failure stays published, and the next run goes on
    /// from there.
    pub async fn handle(
        &self,
        payload: Value,
        clock: DateTime<Utc>,
        deadline: Deadline,
    ) -> Result<Report, RunError> {
        let oldest = oldest_accepted(clock.timestamp());
        let trigger = Trigger::read(payload, clock, oldest, &self.config.cadence)
            .map_err(|error| RunError::InvalidEvent(error.into()))?;
        let mut run = Run::new(self, trigger, deadline.clone());
        let outcome = timeout_at(run.end(), run.work(clock.timestamp(), oldest)).await;
        let saved = timeout_at(deadline.leaving(REPLY_RESERVE), run.save_watermark())
            .await
            .unwrap_or_else(|_| Err(RunError::OutOfTime("the watermark is not saved".into())));
        let report = run.finish();
        match outcome {
            Ok(worked) => worked?,
            Err(_) if report.periods.is_empty() => return Err(out_of_time(&deadline)),
            Err(_) => {}
        }
        saved?;
        report.log(deadline.elapsed());
        Ok(report)
    }

    fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One run, and what it has come to.
struct Run<'a> {
    function: &'a Function,
    trigger: Trigger,
    deadline: Deadline,
    report: Report,
    progress: Progress,
    /// Metrics that no GPU had so far; none before any GPU had something.
    absent: Option<BTreeSet<&'a str>>,
    /// End of the newest published period, if the rules found something in it.
    found_at: Option<i64>,
    /// What the watermark's parameter holds, and since when.
    saved: Option<Mark>,
    saved_at: Instant,
}

impl<'a> Run<'a> {
    fn new(function: &'a Function, trigger: Trigger, deadline: Deadline) -> Self {
        Self {
            function,
            trigger,
            deadline,
            report: Report::new(&trigger),
            progress: Progress::new(None, 0),
            absent: None,
            found_at: None,
            saved: None,
            saved_at: Instant::now(),
        }
    }

    async fn work(&mut self, clock: i64, oldest: i64) -> Result<(), RunError> {
        let due = self.find_due(clock, oldest).await?;
        let (due, next_run) = due.split_at(MAX_PERIODS);
        let due = self.leave_out_late(due).await?;
        if self.publish_all(due).await? {
            self.report.complete = next_run.is_empty();
            self.warn_of_findings().await;
            self.warn_of_absent().await;
            self.count_late().await;
        }
        Ok(())
    }

    async fn find_due(&mut self, clock: i64, oldest: i64) -> Result<Periods, RunError> {
        if let Some(periods) = self.trigger.backfill {
            return Ok(periods);
        }
        if let Some(watermark) = &self.function.watermark {
            self.deadline.doing("reading the watermark");
            self.saved = watermark.read(clock).await?;
        }
        let published = self.saved.map(|mark| mark.published);
        let cadence = &self.function.config.cadence;
        let due = cadence.due(self.trigger.now, oldest, published);
        self.progress = Progress::new(self.saved, due.start);
        self.report.lag_seconds = self.trigger.now - published.unwrap_or(due.start);
        Ok(due)
    }

    /// Excludes periods that late samples may still change.
    async fn leave_out_late(&mut self, due: Periods) -> Result<Periods, RunError> {
        if self.saved.is_none() || due.is_empty() {
            return Ok(due);
        }
        self.deadline
            .doing("asking AMP how far the samples have come");
        let source = &self.function.source;
        let arrivals = source.arrivals(due, self.trigger.now, self.query_end());
        let arrivals = match arrivals.await {
            Ok(arrivals) => arrivals,
            // This query is optional; a general problem will surface in the next one.
            Err(
                QueryError::TooMuch(error) | QueryError::Failed(error @ RunError::AmpRejected(_)),
            ) => {
                let error = startup::error_chain(&error);
                tracing::warn!(error, "late samples can't be waited for");
                return Ok(due);
            }
            Err(QueryError::Failed(error)) => return Err(error),
        };
        let (Some(newest), Some(slowest)) = (arrivals.newest(), arrivals.slowest()) else {
            return Ok(due);
        };
        let cadence = &self.function.config.cadence;
        let arrived = cadence.arrived(due, newest, slowest);
        if arrived.end < due.end {
            let behind: Vec<_> = arrivals.behind(cadence.awaited(due)).collect();
            tracing::info!(
                "periods from {} wait for late samples of {}",
                rfc3339(arrived.end),
                list(&behind),
            );
        }
        Ok(arrived)
    }

    /// Reads and publishes all periods, as many at once as memory allows. Returns false if the time was not
    /// enough.
    async fn publish_all(&mut self, mut due: Periods) -> Result<bool, RunError> {
        let config = &self.function.config;
        let mut fleet = Fleet::new(&config.instance_id_labels, is_dimension_value);
        let mut pace = Pace::new(due.length, config.budget);
        while !due.is_empty() {
            let (range, later) = due.split_at(pace.periods());
            match self.read(range, &mut fleet).await {
                Ok(readings) => {
                    if !self.publish_range(range, &readings, &fleet).await? {
                        return Ok(false);
                    }
                    pace.went_well(range.len(), readings.len());
                    due = later;
                }
                Err(QueryError::TooMuch(error)) => {
                    if !pace.was_too_much(range.len()) {
                        self.divide_fleet(error)?;
                    }
                }
                Err(QueryError::Failed(error)) => return Err(error),
            }
        }
        Ok(true)
    }

    async fn read(
        &mut self,
        range: Periods,
        fleet: &mut Fleet,
    ) -> Result<Readings<'a>, QueryError> {
        let start = rfc3339(range.start);
        let count = range.len();
        self.deadline
            .doing(format!("asking AMP for {count} periods from {start}"));
        let source = &self.function.source;
        let readings = source.readings(range, fleet, self.query_end()).await?;
        warn_of_aliases(&readings.aliases, fleet);
        self.report.dropped.merge(readings.dropped());
        if readings.len() > 0 {
            let absent = self.absent.get_or_insert_with(|| readings.absent.clone());
            absent.retain(|metric| readings.absent.contains(metric));
        }
        Ok(readings)
    }

    /// One period of the whole fleet was too much. Switches to queries by GPU index, if that is still left
    /// to try.
    fn divide_fleet(&self, error: RunError) -> Result<(), RunError> {
        if !self.function.source.shard() {
            return Err(error);
        }
        let error = startup::error_chain(&error);
        tracing::warn!(error, "AMP is asked by GPU index from now on");
        Ok(())
    }

    /// Publishes period by period. Returns false if the time was not enough.
    async fn publish_range(
        &mut self,
        range: Periods,
        readings: &Readings<'_>,
        fleet: &Fleet,
    ) -> Result<bool, RunError> {
        for period in range.iter() {
            if self.time_left() < PERIOD_RESERVE {
                return if self.report.periods.is_empty() {
                    Err(out_of_time(&self.deadline))
                } else {
                    Ok(false)
                };
            }
            self.publish(&readings.of(period, fleet)).await?;
            if self.saved_at.elapsed() >= SAVE_INTERVAL {
                self.save_watermark().await?;
            }
        }
        Ok(true)
    }

    async fn publish(&mut self, readings: &PeriodReadings<'_>) -> Result<(), RunError> {
        let period = readings.period;
        self.deadline.doing(format!(
            "publishing the period from {}",
            rfc3339(period.start)
        ));
        if self.report.periods.is_empty() && self.moves_watermark() {
            self.warn_of_a_gap();
        }
        self.found_at = readings.has_findings().then_some(period.end);
        let sets = self.affordable_sets(readings);
        // Sent twice, points are there once; roll-ups count twice. So what fails here is sent again whole, and
        // the roll-ups follow only once it is there.
        let detail = self.send_detail(readings).await?;
        self.report.add_detail(period, detail);
        let published = self.send(readings, sets).await?;
        let is_published = self
            .report
            .add(readings, &published, self.trigger.now - period.end);
        if self.moves_watermark() {
            self.progress
                .looked_at(period, readings.raw_samples, is_published);
        }
        Ok(())
    }

    /// The dimension sets that keep the period under the cap on metrics.
    fn affordable_sets(&mut self, readings: &PeriodReadings<'_>) -> &'a [DimensionSet] {
        let config = &self.function.config;
        let all = &config.dimension_sets;
        let limit = config.max_metrics;
        let fixed = readings.count_fixed_metrics();
        let (sets, metrics) = affordable(all, fixed, |set| readings.count_metrics(set), limit);
        let left_out = &all[..all.len() - sets.len()];
        if !left_out.is_empty() && self.report.degrade(left_out) {
            tracing::warn!("{left_out:?} left out: with them a period is over MAX_METRICS={limit}");
        }
        if readings.samples() > 0 {
            self.report.count_metrics(metrics);
        }
        sets
    }

    /// Sends the readings of each GPU by OTLP, where that is asked for.
    async fn send_detail(&self, readings: &PeriodReadings<'_>) -> Result<Sent, RunError> {
        let Config { otlp, cluster, .. } = &self.function.config;
        let (Some(otlp), Some(client)) = (otlp, &self.function.detail) else {
            return Ok(Sent::default());
        };
        let batches = batches(cluster, points(readings, otlp.interval_ms));
        if self.trigger.dry_run {
            return Ok(otlp::publish::plan(cluster, batches));
        }
        otlp::publish::publish(client, cluster, batches).await
    }

    async fn send(
        &mut self,
        readings: &PeriodReadings<'_>,
        sets: &[DimensionSet],
    ) -> Result<Published, RunError> {
        let datums = datums(readings, sets);
        if !self.trigger.dry_run {
            let namespace = &self.function.config.namespace;
            return publish(&self.function.cloudwatch, namespace, requests(datums)).await;
        }
        let mut planned = Published::default();
        let report = &mut self.report;
        for request in requests(datums.inspect(|datum| report.show(datum))) {
            planned.requests += 1;
            planned.datums += request.len() as u64;
        }
        Ok(planned)
    }

    /// Warns of every GPU and node that the rules find sick, missing or slow in the newest period.
    async fn warn_of_findings(&self) {
        let Some(moment) = self.found_at.filter(|_| self.trigger.backfill.is_none()) else {
            return;
        };
        let findings = match self
            .function
            .source
            .findings(moment, self.side_query_end())
            .await
        {
            Ok(findings) => findings,
            Err(error) => return tracing::warn!("the log lacks what the rules found: {error:?}"),
        };
        for finding in findings.iter().take(MAX_FINDINGS) {
            let Finding {
                instance_id,
                gpu,
                uuid,
                reason,
                severity,
                action,
                ..
            } = finding;
            tracing::warn!(
                instance_id,
                gpu,
                uuid,
                reason,
                severity,
                action,
                "{finding}"
            );
        }
        let more = findings.len().saturating_sub(MAX_FINDINGS);
        if more > 0 {
            tracing::warn!("{more} more findings; Grafana's dashboard GPU health lists all");
        }
    }

    /// Warns of metrics that the GPUs do not have, once in each process, and names what they have instead.
    async fn warn_of_absent(&mut self) {
        let absent = self.absent.take().into_iter().flatten();
        self.report.absent = absent.map(str::to_owned).collect();
        let is_known = {
            let absent = self.function.absent.lock();
            let mut known = absent.unwrap_or_else(PoisonError::into_inner);
            let is_known = self.report.absent.is_subset(&known);
            known.clone_from(&self.report.absent);
            is_known
        };
        if is_known {
            return;
        }
        let source = &self.function.source;
        let unknown = source
            .unknown_names(self.trigger.now, self.side_query_end())
            .await;
        let unknown = unknown.unwrap_or_default();
        let unknown: Vec<_> = unknown.iter().map(String::as_str).collect();
        tracing::warn!(
            "no series of {}: is the field in the exporter's counters file? Its other fields: {}",
            self.report
                .absent
                .iter()
                .cloned()
                .collect::<Vec<_>>()
                .join(", "),
            if unknown.is_empty() {
                "none".to_owned()
            } else {
                unknown.join(", ")
            },
        );
    }

    /// Counts samples that came after their period was published.
    async fn count_late(&mut self) {
        if !self.moves_watermark() {
            return;
        }
        let Some((periods, samples)) = self.function.audit().next(self.trigger.now) else {
            return;
        };
        let count = self.function.source.count(&periods, self.side_query_end());
        let count = match count.await {
            Ok(count) => count,
            Err(error) => return tracing::debug!("late samples are not counted: {error:?}"),
        };
        let late = count.saturating_sub(samples);
        if late > 0 {
            self.report.dropped.add(DropReason::Late, late as usize);
            tracing::warn!(
                "{late} samples of {} to {} reached AMP after these periods were published, and are \
                 not in CloudWatch: raise SETTLE_SECONDS to how late they come",
                rfc3339(periods.start),
                rfc3339(periods.end),
            );
        }
    }

    /// Warns of time that no run has looked at and none will.
    fn warn_of_a_gap(&self) {
        let cadence = &self.function.config.cadence;
        if let Some((from, to)) = self.progress.gap(cadence.period_seconds) {
            tracing::warn!(
                "{} to {} is further back than MAX_CATCH_UP_SECONDS or the 14 days CloudWatch takes, \
                 and no run has looked at it: what CloudWatch still takes of it can be published by a \
                 backfill",
                rfc3339(from),
                rfc3339(to),
            );
        }
    }

    fn moves_watermark(&self) -> bool {
        self.function.watermark.is_some()
            && !self.trigger.dry_run
            && self.trigger.backfill.is_none()
    }

    async fn save_watermark(&mut self) -> Result<(), RunError> {
        let reach = self.function.config.cadence.reach();
        if let (Some(watermark), Some(mark)) = (&self.function.watermark, self.progress.mark(reach))
            && self.moves_watermark()
            && self.saved != Some(mark)
        {
            watermark.write(mark).await?;
            self.saved = Some(mark);
            self.saved_at = Instant::now();
        }
        Ok(())
    }

    fn finish(self) -> Report {
        let mut report = self.report;
        report.watermark = self.progress.published();
        self.function.audit().note(self.progress.into_closed());
        report
    }

    /// When everything but saving the watermark must have ended: the time limit less the reserve.
    fn end(&self) -> Instant {
        self.deadline.leaving(SAVE_RESERVE)
    }

    fn query_end(&self) -> Instant {
        self.end() - PUBLISH_RESERVE.min(self.time_left())
    }

    /// When a query must have ended whose answer goes to the log only.
    fn side_query_end(&self) -> Instant {
        self.query_end().min(Instant::now() + SIDE_QUERY_LIMIT)
    }

    fn time_left(&self) -> Duration {
        self.end().saturating_duration_since(Instant::now())
    }
}

fn out_of_time(deadline: &Deadline) -> RunError {
    let activity = deadline.activity();
    RunError::OutOfTime(format!("no period was published; the time ended {activity}").into())
}

fn warn_of_aliases(aliases: &BTreeSet<(u32, u32)>, fleet: &Fleet) {
    let Some((kept, other)) = aliases.first() else {
        return;
    };
    let name = |gpu: u32| &fleet.gpu(gpu).instance_id;
    let is_merged = !fleet.has_instance_id(*other);
    tracing::warn!(
        "{} GPUs report under two names at once, such as {} as {} and as {}: {}",
        aliases.len(),
        fleet.uuid(*kept),
        name(*kept),
        name(*other),
        if is_merged {
            "they are published under the first; is a node scraped twice?"
        } else {
            "both are published, though a GPU can be in one instance only"
        },
    );
}

/// The first few names, and how many more there are.
fn list(names: &[&str]) -> String {
    let listed = &names[..names.len().min(MAX_NAMES)];
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
