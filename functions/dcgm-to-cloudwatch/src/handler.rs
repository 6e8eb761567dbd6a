//! A run: which periods are due, what was measured in them, and off to CloudWatch.

use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use chrono::{DateTime, Utc};
use futures_util::stream::{FuturesUnordered, TryStreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::cloudwatch::{self, datums, requests};
use crate::config::Config;
use crate::cost::affordable;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::matrix;
use crate::period::{Period, Periods};
use crate::prometheus::{Amp, newest, newest_by, query};
use crate::report::{PeriodReport, Report};
use crate::rollup::Readings;
use crate::trigger::Trigger;
use crate::watermark::{Watermark, text};

/// Kept back of Lambda's time to answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(200);
/// Kept back of it to move the watermark, and then to answer.
const SAVE_RESERVE: Duration = Duration::from_millis(1_000);
/// A period is not begun with less left than this: cut in the middle, it would be published again.
const PERIOD_RESERVE: Duration = Duration::from_secs(1);
/// Kept back from asking AMP, to publish what it answers.
const PUBLISH_RESERVE: Duration = Duration::from_secs(1);
/// The watermark is saved that often while a run lasts, for a run that is killed. SSM takes three
/// writes a second: <https://docs.aws.amazon.com/general/latest/gr/ssm.html>
const SAVE_EVERY: Duration = Duration::from_millis(500);
/// What a run takes when nothing was missed.
const FIRST_RANGE_SECONDS: i64 = 60;
/// Readings that a catch-up may hold at once; 16 bytes each.
const READINGS_AT_ONCE: usize = 1_000_000;
/// A range is at most that many times as long as the one before: an outage may end inside of it.
const GROWTH: usize = 4;

/// The function: configuration and clients, made once.
#[derive(Debug)]
pub struct Puller {
    /// What to do.
    pub config: Config,
    /// Where the samples are.
    pub amp: Amp,
    /// Where they go.
    pub cloudwatch: Client,
    /// Where the last run left off.
    pub watermark: Option<Watermark>,
}

impl Puller {
    /// One invocation: `clock` is when it came, `time_left` what Lambda gives it.
    ///
    /// # Errors
    /// See [`RunError`]. What was published before a failure stays published, and a scheduled or
    /// manual run is gone on with by the next.
    pub async fn handle(
        &self,
        payload: Value,
        clock: DateTime<Utc>,
        time_left: Duration,
    ) -> Result<Report, RunError> {
        let began = Instant::now();
        let trigger = Trigger::read(payload, clock, &self.config.cadence)
            .map_err(|error| RunError::InvalidEvent(error.into()))?;
        let deadline = began + time_left.saturating_sub(SAVE_RESERVE);
        let answer_by = began + time_left.saturating_sub(ANSWER_RESERVE);
        let mut run = Run::new(self, trigger, deadline);
        let outcome = timeout_at(deadline, run.work(clock.timestamp())).await;
        let saved = timeout_at(answer_by, run.save_watermark())
            .await
            .unwrap_or_else(|_| Err(RunError::OutOfTime("the watermark is not saved".into())));
        match outcome {
            Ok(Ok(())) => saved?,
            Ok(Err(error)) => return Err(error),
            Err(_) if run.report.periods.is_empty() => return Err(run.out_of_time()),
            Err(_) => saved?,
        }
        run.report.log(began.elapsed().as_millis());
        Ok(run.report)
    }
}

/// What a run has come to.
struct Run<'a> {
    puller: &'a Puller,
    trigger: Trigger,
    deadline: Instant,
    fleet: Fleet,
    report: Report,
    /// Start of the oldest period due.
    due_from: i64,
    /// What the parameter holds, and since when.
    saved: Option<i64>,
    saved_at: Instant,
    doing: String,
}

impl<'a> Run<'a> {
    fn new(puller: &'a Puller, trigger: Trigger, deadline: Instant) -> Self {
        Self {
            puller,
            trigger,
            deadline,
            fleet: Fleet::new(&puller.config.instance_id_labels),
            report: Report::new(&trigger),
            due_from: 0,
            saved: None,
            saved_at: Instant::now(),
            doing: String::new(),
        }
    }

    async fn work(&mut self, clock: i64) -> Result<(), RunError> {
        let mut rest = self.due(clock).await?;
        let mut stride = usize::try_from(FIRST_RANGE_SECONDS / rest.length)
            .unwrap_or(1)
            .max(1);
        if self.saved.is_some() && rest.len() > stride {
            rest = self.arrived(rest).await?;
        }
        while !rest.is_empty() {
            let (range, later) = rest.split_at(stride);
            let readings = self.read(range).await?;
            for period in range.iter() {
                if self.time_left() < PERIOD_RESERVE {
                    return if self.report.periods.is_empty() {
                        Err(self.out_of_time())
                    } else {
                        Ok(())
                    };
                }
                self.publish(period, &readings).await?;
                if self.saved_at.elapsed() >= SAVE_EVERY {
                    self.save_watermark().await?;
                }
            }
            stride = next_stride(range.len(), readings.len());
            rest = later;
        }
        self.report.complete = true;
        Ok(())
    }

    async fn due(&mut self, clock: i64) -> Result<Periods, RunError> {
        if let Some(periods) = self.trigger.backfill {
            return Ok(periods);
        }
        let watermark = match &self.puller.watermark {
            None => None,
            Some(watermark) => {
                self.doing = "reading the watermark".to_owned();
                watermark.read(clock).await?
            }
        };
        self.saved = watermark;
        self.report.watermark = watermark;
        let due = self.puller.config.cadence.due(self.trigger.now, watermark);
        self.due_from = due.start;
        self.report.lag_seconds = self.trigger.now - watermark.unwrap_or(due.start);
        Ok(due)
    }

    /// Leaves out what a backlog that is coming in may still add to. One field stands for all:
    /// remote_write sends them together.
    async fn arrived(&mut self, due: Periods) -> Result<Periods, RunError> {
        let Puller { config, amp, .. } = self.puller;
        self.doing = "asking AMP for the newest sample".to_owned();
        let until_now = Periods {
            end: newest_by(self.trigger.now),
            ..due
        };
        let Some(field) = config.fields.first() else {
            return Ok(due);
        };
        let query = newest(&field.name, &config.series_selector, &until_now);
        let reply = match amp.ask(&query, &until_now, self.answer_by()).await {
            // What is wrong with all queries the next one tells; this one can be done without.
            Err(RunError::AmpRejected(_)) => return Ok(due),
            reply => reply?,
        };
        let mut times = Vec::new();
        let mut room = Vec::new();
        reply
            .json(&mut room)
            .and_then(|json| {
                Ok(matrix::read(json, &[], |_, moments| {
                    times.extend(moments.iter().map(|(_, time)| *time as i64));
                })?)
            })
            .map_err(|error| {
                RunError::AmpUnavailable(unreadable("the newest sample", &error).into())
            })?;
        let newest = times.into_iter().max();
        Ok(newest.map_or(due, |newest| config.cadence.arrived(due, newest)))
    }

    /// Asks for all fields at once and takes the answers in as they come.
    async fn read(&mut self, range: Periods) -> Result<Readings<'a>, RunError> {
        let Puller { config, amp, .. } = self.puller;
        self.doing = format!(
            "asking AMP for {} periods from {}",
            range.len(),
            text(range.start)
        );
        let until = self.answer_by();
        let mut answers: FuturesUnordered<_> = config
            .fields
            .iter()
            .map(|field| async move {
                let query = query(&field.name, &config.series_selector, &range);
                amp.ask(&query, &range, until)
                    .await
                    .map(|reply| (field, reply))
            })
            .collect();
        let labels = self.fleet.labels().to_vec();
        let mut readings = Readings::new(range);
        let mut room = Vec::new();
        while let Some((field, reply)) = answers.try_next().await? {
            let mut of_field = readings.field(field);
            let Self { fleet, report, .. } = self;
            let read = reply.json(&mut room).and_then(|json| {
                let warnings = matrix::read(json, &labels, |values, samples| {
                    of_field.series(fleet.identify(values), samples, &mut report.dropped);
                });
                Ok(warnings?)
            });
            let warnings = read.map_err(|error| {
                RunError::AmpUnavailable(unreadable(&field.name, &error).into())
            })?;
            of_field.finish();
            for warning in warnings {
                tracing::warn!(field = field.name, "AMP warns: {warning}");
            }
        }
        Ok(readings)
    }

    async fn publish(&mut self, period: Period, readings: &Readings<'a>) -> Result<(), RunError> {
        let Puller {
            config, cloudwatch, ..
        } = self.puller;
        self.doing = format!("publishing the period from {}", text(period.start));
        let of_period = readings.of(period, &self.fleet);
        let (gpus, samples) = (of_period.gpus(), of_period.samples());
        let (sets, metrics) = affordable(
            &config.dimension_sets,
            |set| of_period.metrics(set),
            config.max_metrics,
        );
        let left_out = &config.dimension_sets[..config.dimension_sets.len() - sets.len()];
        if !left_out.is_empty() && self.report.degrade(left_out) {
            let most = config.max_metrics;
            tracing::warn!("{left_out:?} left out: with them a period is over MAX_METRICS={most}");
        }
        if samples > 0 {
            self.report.metrics(metrics);
        }
        let datums = datums(&of_period, sets);
        let published = if self.trigger.dry_run {
            let report = &mut self.report;
            let mut planned = cloudwatch::Published::default();
            for request in requests(datums.inspect(|datum| report.show(datum))) {
                planned.requests += 1;
                planned.datums += request.len() as u64;
            }
            planned
        } else {
            cloudwatch::publish(cloudwatch, &config.namespace, requests(datums)).await?
        };
        self.report.requests += published.requests;
        self.report.dropped.merge(&published.refused);
        self.report.periods.push(PeriodReport {
            start: text(period.start),
            end: text(period.end),
            gpus,
            series: of_period.series,
            samples,
            datums: published.datums,
        });
        if samples > 0 {
            self.report.lag_seconds = self.trigger.now - period.end;
            if self.moves_watermark() {
                self.warn_of_a_gap();
                self.report.watermark = self.report.watermark.max(Some(period.end));
            }
        }
        Ok(())
    }

    fn moves_watermark(&self) -> bool {
        self.puller.watermark.is_some() && !self.trigger.dry_run && self.trigger.backfill.is_none()
    }

    /// Only now that there are samples again: before, it might have been a cluster switched off.
    fn warn_of_a_gap(&self) {
        let Some(watermark) = self.report.watermark else {
            return;
        };
        if watermark + self.puller.config.cadence.period_seconds <= self.due_from {
            tracing::warn!(
                "{} to {} is further back than MAX_CATCH_UP_SECONDS and was not looked at: \
                 publish it by a backfill",
                text(watermark),
                text(self.due_from),
            );
        }
    }

    async fn save_watermark(&mut self) -> Result<(), RunError> {
        if let (Some(watermark), Some(time)) = (&self.puller.watermark, self.report.watermark)
            && self.saved != Some(time)
        {
            watermark.write(time).await?;
            self.saved = Some(time);
            self.saved_at = Instant::now();
        }
        Ok(())
    }

    /// When AMP's answer has to be there, so that it can be published.
    fn answer_by(&self) -> Instant {
        self.deadline - PUBLISH_RESERVE.min(self.time_left())
    }

    fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    fn out_of_time(&self) -> RunError {
        RunError::OutOfTime(
            format!("no period was published; the time ended {}", self.doing).into(),
        )
    }
}

/// How many periods to take next, after `periods` of them held `readings`.
fn next_stride(periods: usize, readings: usize) -> usize {
    let fit = READINGS_AT_ONCE * periods / readings.max(1);
    fit.clamp(1, periods * GROWTH)
}

fn unreadable(field: &str, error: &std::io::Error) -> String {
    format!("the answer for {field} can't be read: {error}")
}
