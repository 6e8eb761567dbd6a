//! A run: which periods are due, what was measured in them, and off to CloudWatch.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use chrono::{DateTime, Utc};
use futures_util::stream::{self, StreamExt, TryStreamExt};
use serde_json::Value;
use tokio::time::{Instant, timeout_at};

use crate::arrival::{Arrivals, PATIENCE_SECONDS};
use crate::audit::Audit;
use crate::budget::QUERIES_AT_ONCE;
use crate::cloudwatch::{self, datums, requests};
use crate::config::Config;
use crate::cost::affordable;
use crate::error::RunError;
use crate::fleet::Fleet;
use crate::matrix;
use crate::period::{MAX_PERIODS, Period, Periods};
use crate::prometheus::{Amp, AskError, Part, Question};
use crate::report::{PeriodReport, Report};
use crate::rollup::Readings;
use crate::sample::DropReason;
use crate::trigger::Trigger;
use crate::watermark::{Mark, Watermark, rfc3339};

/// Kept back of Lambda's time to answer.
const ANSWER_RESERVE: Duration = Duration::from_millis(200);
/// Kept back of it to move the watermark, and then to answer.
const SAVE_RESERVE: Duration = Duration::from_millis(1_000);
/// A period is not begun with less left than this: cut in the middle, it would be published again.
const PERIOD_RESERVE: Duration = Duration::from_secs(1);
/// Kept back from asking AMP, to publish what it answers.
const PUBLISH_RESERVE: Duration = Duration::from_secs(1);
/// Time for the audit, which no run waits for longer.
const AUDIT_TIME: Duration = Duration::from_secs(5);
/// So many names are told in a log line.
const NAMES_TOLD: usize = 3;
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
    /// What this process published lately.
    audit: Mutex<Audit>,
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
            audit: Mutex::default(),
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
        self.audit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .note(run.closed.drain(..));
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
    /// How far earlier runs came.
    found: Option<Mark>,
    /// End of the last period this run looked at.
    looked_until: i64,
    /// Periods this run looked at, and the samples AMP has of each: those ahead of the watermark, and
    /// those behind it.
    ahead: Vec<(Period, u64)>,
    closed: Vec<(Period, u64)>,
    /// What the parameter holds, and since when.
    saved: Option<Mark>,
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
            found: None,
            looked_until: 0,
            ahead: Vec::new(),
            closed: Vec::new(),
            saved: None,
            saved_at: Instant::now(),
            doing: String::new(),
        }
    }

    async fn work(&mut self, clock: i64) -> Result<(), RunError> {
        let (mut rest, next_run) = self.due(clock).await?.split_at(MAX_PERIODS);
        let mut stride = usize::try_from(FIRST_RANGE_SECONDS / rest.length)
            .unwrap_or(1)
            .max(1);
        if self.found.is_some() && !rest.is_empty() {
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
        self.report.complete = next_run.is_empty();
        if self.moves_watermark() {
            self.audit().await;
        }
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
        let error = startup::error_chain(&error);
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
        self.found = watermark;
        let published = watermark.map(|mark| mark.published);
        self.report.watermark = published;
        let cadence = &self.puller.config.cadence;
        let due = cadence.due(self.trigger.now, clock, published);
        self.due_from = due.start;
        self.report.lag_seconds = self.trigger.now - published.unwrap_or(due.start);
        Ok(due)
    }

    /// Excludes periods that late samples may still change.
    async fn arrived(&mut self, due: Periods) -> Result<Periods, RunError> {
        self.doing = "asking AMP how far the samples have come".to_owned();
        let arrivals = match self.arrivals(due).await {
            Ok(arrivals) => arrivals,
            // This query is optional; a general problem will surface in the next one.
            Err(AskError::TooMuch(error) | AskError::Failed(error @ RunError::AmpRejected(_))) => {
                let error = startup::error_chain(&error);
                tracing::warn!(error, "late samples can't be waited for");
                return Ok(due);
            }
            Err(AskError::Failed(error)) => return Err(error),
        };
        let (Some(newest), Some(slowest)) = (arrivals.newest(), arrivals.slowest()) else {
            return Ok(due);
        };
        let cadence = &self.puller.config.cadence;
        let arrived = cadence.arrived(due, newest, slowest);
        if arrived.end < due.end {
            let behind: Vec<_> = arrivals.behind(cadence.awaited(due)).collect();
            tracing::info!(
                "periods from {} wait for late samples of {}",
                rfc3339(arrived.end),
                some_of(&behind),
            );
        }
        Ok(arrived)
    }

    /// How far each source's samples have come by now; where none came lately, how far they had come
    /// when the newest one was taken.
    async fn arrivals(&self, due: Periods) -> Result<Arrivals, AskError> {
        let now = self.trigger.now;
        let lately = self.arrivals_until(now).await?;
        if lately.newest().is_some() || due.start > now - PATIENCE_SECONDS {
            return Ok(lately);
        }
        let Puller { config, amp, .. } = self.puller;
        let question = Question::newest(&config.fields, &config.series_selector, due.start, now);
        let reply = amp.ask(&question, self.answer_by()).await?;
        let mut newest: Option<f64> = None;
        let mut buffer = Vec::new();
        matrix::read(reply.json(&mut buffer)?, &[], |_, moments| {
            newest = moments
                .iter()
                .map(|(_, time)| *time)
                .chain(newest)
                .reduce(f64::max);
        })
        .map_err(|error| AskError::unreadable(&error))?;
        match newest {
            Some(newest) => self.arrivals_until(newest.ceil() as i64).await,
            None => Ok(lately),
        }
    }

    async fn arrivals_until(&self, until: i64) -> Result<Arrivals, AskError> {
        let Puller { config, amp, .. } = self.puller;
        let labels = &config.instance_id_labels;
        let question = Question::arrivals(&config.fields, &config.series_selector, labels, until);
        let reply = amp.ask(&question, self.answer_by()).await?;
        let mut arrivals = Arrivals::default();
        let mut buffer = Vec::new();
        matrix::read(reply.json(&mut buffer)?, labels, |names, looks| {
            let name = names.iter().find(|name| !name.is_empty());
            arrivals.take(name.map_or("", String::as_str), looks, until);
        })
        .map_err(|error| AskError::unreadable(&error))?;
        Ok(arrivals)
    }

    /// Tells how many samples came after their period was published.
    async fn audit(&mut self) {
        let Puller {
            config, amp, audit, ..
        } = self.puller;
        let next = audit
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next(self.trigger.now);
        let Some((periods, samples)) = next else {
            return;
        };
        let question = Question::count(&config.fields, &config.series_selector, &periods);
        let deadline = self.answer_by().min(Instant::now() + AUDIT_TIME);
        let count = async {
            let reply = amp.ask(&question, deadline).await?;
            let mut count = 0.0;
            let mut buffer = Vec::new();
            matrix::read(reply.json(&mut buffer)?, &[], |_, counts| {
                count += counts.iter().map(|(_, count)| count).sum::<f64>();
            })
            .map_err(|error| AskError::unreadable(&error))?;
            Ok::<_, AskError>(count as u64)
        };
        let count = match count.await {
            Ok(count) => count,
            Err(error) => return tracing::debug!("no audit: {error:?}"),
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

    /// Asks for all fields, several at once, and takes the answers in as they come.
    async fn read(&mut self, range: Periods) -> Result<Readings<'a>, AskError> {
        let Puller { config, amp, .. } = self.puller;
        self.doing = format!(
            "asking AMP for {} periods from {}",
            range.len(),
            rfc3339(range.start)
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
                let question = Question::samples(name, part, &config.series_selector, &range);
                let reply = amp.ask(&question, until).await?;
                Ok((field, reply))
            })
            .buffer_unordered(QUERIES_AT_ONCE);
        let labels = self.fleet.labels().to_vec();
        let mut readings = Readings::new(range, &config.fields);
        let mut buffer = Vec::new();
        while let Some((field, reply)) = answers.try_next().await? {
            let json = reply.json(&mut buffer)?;
            let warnings = matrix::read(json, &labels, |values, samples| {
                readings.take(field, self.fleet.identify(values), samples);
            })
            .map_err(|error| AskError::unreadable(&error))?;
            readings.sort(field);
            for warning in warnings {
                tracing::warn!(field = config.fields[field].name, "AMP warns: {warning}");
            }
            let limit = config.budget.readings;
            if readings.len() > limit {
                return Err(AskError::too_much(format!(
                    "there are over {limit} samples in {} periods: give the function more memory, \
                     or shorten PERIOD_SECONDS",
                    range.len(),
                )));
            }
        }
        let aliases = readings.merge_aliases(&self.fleet);
        self.warn_of_aliases(&aliases);
        self.report.dropped.merge(&readings.dropped);
        Ok(readings)
    }

    async fn publish(&mut self, period: Period, readings: &Readings<'a>) -> Result<(), RunError> {
        let Puller {
            config, cloudwatch, ..
        } = self.puller;
        self.doing = format!("publishing the period from {}", rfc3339(period.start));
        self.warn_of_a_gap();
        let of_period = readings.of(period, &self.fleet);
        let (gpus, samples) = (of_period.gpus(), of_period.samples());
        let (sets, metrics) = affordable(
            &config.dimension_sets,
            |set| of_period.metrics(set),
            config.max_metrics,
        );
        let left_out = &config.dimension_sets[..config.dimension_sets.len() - sets.len()];
        if !left_out.is_empty() && self.report.degrade(left_out) {
            let limit = config.max_metrics;
            tracing::warn!("{left_out:?} left out: with them a period is over MAX_METRICS={limit}");
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
            start: rfc3339(period.start),
            end: rfc3339(period.end),
            gpus,
            series: of_period.series,
            samples,
            datums: published.datums,
        });
        if samples > 0 {
            self.report.lag_seconds = self.trigger.now - period.end;
        }
        if self.moves_watermark() {
            self.looked_until = period.end;
            self.ahead.push((period, of_period.raw_samples));
            if samples > 0 {
                self.report.watermark = self.report.watermark.max(Some(period.end));
                self.closed.append(&mut self.ahead);
            }
        }
        Ok(())
    }

    fn moves_watermark(&self) -> bool {
        self.puller.watermark.is_some() && !self.trigger.dry_run && self.trigger.backfill.is_none()
    }

    /// Tells once of time that no run has looked at, and none will.
    fn warn_of_a_gap(&self) {
        let Some(found) = self.found.filter(|_| self.moves_watermark()) else {
            return;
        };
        let is_first = self.report.periods.is_empty();
        if is_first && found.covered + self.puller.config.cadence.period_seconds <= self.due_from {
            tracing::warn!(
                "{} to {} is further back than MAX_CATCH_UP_SECONDS or the 14 days CloudWatch takes, \
                 and no run has looked at it: what CloudWatch still takes of it can be published by a \
                 backfill",
                rfc3339(found.covered),
                rfc3339(self.due_from),
            );
        }
    }

    fn warn_of_aliases(&self, aliases: &BTreeSet<(u32, u32)>) {
        let Some((kept, other)) = aliases.first() else {
            return;
        };
        let name = |gpu: u32| &self.fleet.gpu(gpu).instance_id;
        let is_merged = !self.fleet.has_instance_id(*other);
        tracing::warn!(
            "{} GPUs report under two names at once, such as {} as {} and as {}: {}",
            aliases.len(),
            self.fleet.uuid(*kept),
            name(*kept),
            name(*other),
            if is_merged {
                "they are published under the first; is a node scraped twice?"
            } else {
                "both are published, though a GPU can be in one instance only"
            },
        );
    }

    /// How far this run and those before it have come. The end of what was looked at is kept from when
    /// half of the catch-up window has gone by without samples: it matters only beyond the window.
    fn mark(&self) -> Option<Mark> {
        let published = self.report.watermark?;
        let covered = self.found.map_or(published, |mark| mark.covered);
        let covered = covered.max(self.looked_until);
        let is_long = covered - published >= self.puller.config.cadence.reach() / 2;
        Some(Mark {
            published,
            covered: if is_long { covered } else { published },
        })
    }

    async fn save_watermark(&mut self) -> Result<(), RunError> {
        if let (Some(watermark), Some(mark)) = (&self.puller.watermark, self.mark())
            && self.moves_watermark()
            && self.saved != Some(mark)
        {
            watermark.write(mark).await?;
            self.saved = Some(mark);
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

/// The first few names, and how many more there are.
fn some_of(names: &[&str]) -> String {
    let told = names[..names.len().min(NAMES_TOLD)].join(", ");
    match names.len() - names.len().min(NAMES_TOLD) {
        0 => told,
        more => format!("{told} and {more} more"),
    }
}
