//! A run: which periods are due, what was measured in them, and off to CloudWatch.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::budget::QUERIES_AT_ONCE;
use crate::cloudwatch::{self, datums, requests};
use crate::config::Config;
use crate::cost::affordable;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::matrix;
use crate::period::{Period, Periods};
use crate::prometheus::{Amp, AskError, Part, newest, newest_by, query};
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
    /// A run found the fleet too large to be asked about as a whole; later ones need not try.
    by_gpu: AtomicBool,
}

impl Puller {
    /// The function, ready for its first run.
    pub fn new(config: Config, amp: Amp, cloudwatch: Client, watermark: Option<Watermark>) -> Self {
        Self {
            config,
            amp,
            cloudwatch,
            watermark,
            by_gpu: AtomicBool::new(false),
        }
    }

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
        let mut longest = usize::MAX;
        while !rest.is_empty() {
            let (range, later) = rest.split_at(stride);
            match self.read(range).await {
                Ok(readings) => {
                    if !self.publish_all(range, &readings).await? {
                        return Ok(());
                    }
                    stride = self.next_stride(range.len(), readings.len()).min(longest);
                    rest = later;
                }
                Err(AskError::TooMuch(error)) => {
                    longest = self.less(range, error)?;
                    stride = longest;
                }
                Err(AskError::Failed(error)) => return Err(error),
            }
        }
        self.report.complete = true;
        Ok(())
    }

    /// How many periods to ask for when those of `range` were too much; one, if need be in parts.
    fn less(&self, range: Periods, error: RunError) -> Result<usize, RunError> {
        if range.len() > 1 {
            return Ok(range.len() / 2);
        }
        if self.puller.by_gpu.swap(true, Relaxed) {
            return Err(error);
        }
        let error = startup::chain(&error);
        tracing::warn!(error, "AMP is asked by GPU index from now on");
        Ok(1)
    }

    /// Says whether the time was enough for all periods.
    async fn publish_all(
        &mut self,
        range: Periods,
        readings: &Readings<'a>,
    ) -> Result<bool, RunError> {
        for period in range.iter() {
            if self.time_left() < PERIOD_RESERVE {
                return if self.report.periods.is_empty() {
                    Err(self.out_of_time())
                } else {
                    Ok(false)
                };
            }
            self.publish(period, readings).await?;
            if self.saved_at.elapsed() >= SAVE_EVERY {
                self.save_watermark().await?;
            }
        }
        Ok(true)
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

    /// Leaves out what a backlog that is coming in may still add to.
    async fn arrived(&mut self, due: Periods) -> Result<Periods, RunError> {
        self.doing = "asking AMP for the newest sample".to_owned();
        match self.newest_sample(due).await {
            Ok(Some(newest)) => Ok(self.puller.config.cadence.arrived(due, newest)),
            // What is wrong with all queries the next one tells; this one can be done without.
            Ok(None) | Err(AskError::TooMuch(_) | AskError::Failed(RunError::AmpRejected(_))) => {
                Ok(due)
            }
            Err(AskError::Failed(error)) => Err(error),
        }
    }

    /// One field stands for all: remote_write sends them together.
    async fn newest_sample(&self, due: Periods) -> Result<Option<i64>, AskError> {
        let Puller { config, amp, .. } = self.puller;
        let Some(field) = config.fields.first() else {
            return Ok(None);
        };
        let until_now = Periods {
            end: newest_by(self.trigger.now),
            ..due
        };
        let query = newest(&field.name, &config.series_selector, &until_now);
        let reply = amp.ask(&query, &until_now, self.answer_by()).await?;
        let mut newest = None;
        let mut room = Vec::new();
        matrix::read(reply.json(&mut room)?, &[], |_, moments| {
            newest = newest.max(moments.iter().map(|(_, time)| *time as i64).max());
        })
        .map_err(|error| AskError::unreadable(&error))?;
        Ok(newest)
    }

    /// Asks for all fields, several at once, and takes the answers in as they come.
    async fn read(&mut self, range: Periods) -> Result<Readings<'a>, AskError> {
        let Puller { config, amp, .. } = self.puller;
        self.doing = format!(
            "asking AMP for {} periods from {}",
            range.len(),
            text(range.start)
        );
        let until = self.answer_by();
        let parts: &[Part] = if self.puller.by_gpu.load(Relaxed) {
            &Part::BY_GPU
        } else {
            &Part::WHOLE
        };
        let questions: Vec<(usize, Part)> = (0..config.fields.len())
            .flat_map(|field| parts.iter().map(move |part| (field, *part)))
            .collect();
        let mut answers = stream::iter(questions)
            .map(|(field, part)| async move {
                let name = &config.fields[field].name;
                let query = query(name, part, &config.series_selector, &range);
                let reply = amp.ask(&query, &range, until).await?;
                Ok((field, reply))
            })
            .buffer_unordered(QUERIES_AT_ONCE);
        let labels = self.fleet.labels().to_vec();
        let mut readings = Readings::new(range, &config.fields);
        let mut room = Vec::new();
        while let Some((field, reply)) = answers.try_next().await? {
            let json = reply.json(&mut room)?;
            let warnings = matrix::read(json, &labels, |values, samples| {
                readings.take(field, self.fleet.identify(values), samples);
            })
            .map_err(|error| AskError::unreadable(&error))?;
            readings.sort(field);
            for warning in warnings {
                tracing::warn!(field = config.fields[field].name, "AMP warns: {warning}");
            }
            let most = config.budget.readings;
            if readings.len() > most {
                return Err(AskError::too_much(format!(
                    "there are over {most} samples in {} periods: give the function more memory, \
                     or shorten PERIOD_SECONDS",
                    range.len(),
                )));
            }
        }
        self.report.dropped.merge(&readings.dropped);
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

    /// How many periods to take next, after `periods` of them held `readings`.
    fn next_stride(&self, periods: usize, readings: usize) -> usize {
        let fit = self.puller.config.budget.readings / 2 * periods / readings.max(1);
        fit.clamp(1, periods * GROWTH)
    }
}
