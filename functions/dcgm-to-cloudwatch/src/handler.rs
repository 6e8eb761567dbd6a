//! One invocation: its event, its run, its reply.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_sdk_cloudwatch::Client;
use chrono::{DateTime, Utc};
use serde_json::Value;
use startup::Deadline;
use tokio::time::timeout_at;

use crate::cloudwatch::limits::oldest_accepted;
use crate::config::Config;
use crate::due::audit::Audit;
use crate::due::trigger::Trigger;
use crate::error::RunError;
use crate::otlp;
use crate::prometheus::source::Source;
use crate::report::Report;
use crate::run::{Run, out_of_time};
use crate::watermark::Watermark;

/// Time reserved to send the reply.
const REPLY_RESERVE: Duration = Duration::from_millis(200);

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
    pub(crate) config: Config,
    pub(crate) source: Source,
    pub(crate) cloudwatch: Client,
    pub(crate) detail: Option<otlp::client::Client>,
    pub(crate) watermark: Option<Watermark>,
    /// What this process published lately.
    pub(crate) audit: Mutex<Audit>,
    /// Absent metrics that the log has named already.
    pub(crate) absent: Mutex<BTreeSet<String>>,
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

    pub(crate) fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log has not named these absent metrics yet, or names others.
    pub(crate) fn is_news(&self, absent: &BTreeSet<String>) -> bool {
        let known = self.absent.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let is_news = !absent.is_subset(&known);
        known.clone_from(absent);
        is_news
    }
}
