//! One invocation: its event, its run, its reply.

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::Value;
use startup::Deadline;
use tokio::time::timeout_at;

use crate::cloudwatch::limits::oldest_accepted;
use crate::due::trigger::Trigger;
use crate::error::RunError;
use crate::function::Function;
use crate::report::Report;
use crate::run::{Run, out_of_time};

/// Time reserved to send the reply.
const REPLY_RESERVE: Duration = Duration::from_millis(200);

impl Function {
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
}
