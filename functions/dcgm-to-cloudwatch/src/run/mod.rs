//! A run: which periods are due, what was measured in them, and off to CloudWatch.

mod log;
mod period;

use std::collections::BTreeSet;
use std::time::Duration;

use startup::Deadline;
use tokio::time::Instant;

use crate::cloudwatch::limits::is_dimension_value;
use crate::due::period::{MAX_PERIODS, Periods, rfc3339};
use crate::due::progress::{Mark, Progress};
use crate::due::trigger::Trigger;
use crate::error::RunError;
use crate::function::Function;
use crate::gpu::identity::Fleet;
use crate::gpu::readings::Readings;
use crate::prometheus::error::QueryError;
use crate::prometheus::pace::Pace;
use crate::report::Report;
use crate::run::log::{list, warn_of_aliases};

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

/// One run, and what it has come to.
pub(crate) struct Run<'a> {
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
    pub(crate) fn new(function: &'a Function, trigger: Trigger, deadline: Deadline) -> Self {
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

    pub(crate) async fn work(&mut self, clock: i64, oldest: i64) -> Result<(), RunError> {
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
        if let Some(watermark) = &self.function.clients.watermark {
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
        let source = &self.function.clients.source;
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
        let source = &self.function.clients.source;
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
        if !self.function.clients.source.shard() {
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

    fn moves_watermark(&self) -> bool {
        self.function.clients.watermark.is_some()
            && !self.trigger.dry_run
            && self.trigger.backfill.is_none()
    }

    pub(crate) async fn save_watermark(&mut self) -> Result<(), RunError> {
        let reach = self.function.config.cadence.reach();
        if let (Some(watermark), Some(mark)) =
            (&self.function.clients.watermark, self.progress.mark(reach))
            && self.moves_watermark()
            && self.saved != Some(mark)
        {
            watermark.write(mark).await?;
            self.saved = Some(mark);
            self.saved_at = Instant::now();
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Report {
        let mut report = self.report;
        report.watermark = self.progress.published();
        self.function.audit().note(self.progress.into_closed());
        report
    }

    /// When everything but saving the watermark must have ended: the time limit less the reserve.
    pub(crate) fn end(&self) -> Instant {
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

pub(crate) fn out_of_time(deadline: &Deadline) -> RunError {
    let activity = deadline.activity();
    RunError::OutOfTime(format!("no period was published; the time ended {activity}").into())
}
