//! The time an invocation has: how it is divided, and what it is being spent on.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

use crate::error::SetupError;

/// The most that is ever kept for giving the credential back, and as much again for the response.
const LONGEST_SHARE: Duration = Duration::from_secs(15);

/// The time of one invocation. Work ends first, then the credential goes back, then CloudFormation
/// is answered; the function returns before Lambda would kill it.
#[derive(Clone, Debug)]
pub struct Deadline {
    started: SystemTime,
    start: Instant,
    limit: Duration,
    doing: Arc<Mutex<String>>,
}

impl Deadline {
    /// The time from `now` until `end`.
    pub fn new(now: SystemTime, end: SystemTime) -> Self {
        Self {
            started: now,
            start: Instant::now(),
            limit: end.duration_since(now).unwrap_or_default(),
            doing: Arc::default(),
        }
    }

    /// The wall clock.
    pub fn now(&self) -> SystemTime {
        self.started + self.start.elapsed()
    }

    /// When the work must stop.
    pub fn work(&self) -> Instant {
        self.take_back() - self.share()
    }

    /// When giving the credential back must stop.
    pub fn take_back(&self) -> Instant {
        self.response() - self.share()
    }

    /// When answering CloudFormation must stop.
    pub fn response(&self) -> Instant {
        self.start + self.limit - self.share() / 5
    }

    /// Notes what is being done, for the message if time runs out.
    pub fn doing(&self, what: impl Into<String>) {
        let what = what.into();
        tracing::debug!("{what}");
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// Runs `work` until it ends, panics or `end` comes; the last two are errors like any other,
    /// so that whoever must clean up or answer still does.
    ///
    /// # Errors
    /// Those of `work`, [`SetupError::OutOfTime`] and [`SetupError::Panicked`].
    pub async fn guard<T>(
        &self,
        end: Instant,
        work: impl Future<Output = Result<T, SetupError>>,
    ) -> Result<T, SetupError> {
        // Boxed: the SDK's futures nest deeper than the compiler's limit for one type.
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        match timeout_at(end, work).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(panic)) => Err(SetupError::Panicked {
                doing: self.current(),
                message: panic_message(&*panic),
            }),
            Err(_) => Err(SetupError::OutOfTime {
                limit_seconds: self.limit.as_secs_f64().round() as u64,
                doing: self.current(),
            }),
        }
    }

    fn share(&self) -> Duration {
        (self.limit / 6).min(LONGEST_SHARE)
    }

    fn current(&self) -> String {
        self.doing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn deadline(seconds: u64) -> Deadline {
        let now = SystemTime::UNIX_EPOCH;
        Deadline::new(now, now + Duration::from_secs(seconds))
    }

    #[test]
    fn keeps_time_for_the_credential_and_the_response() {
        for (limit, work) in [(10, 6), (60, 38), (900, 867)] {
            let deadline = deadline(limit);
            let work_ends = deadline.work() - deadline.start;
            assert_eq!(work_ends.as_secs(), work, "{limit} s");
            assert!(deadline.work() < deadline.take_back());
            assert!(deadline.take_back() < deadline.response());
            assert!(deadline.response() < deadline.start + Duration::from_secs(limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_the_time_went_into() {
        let deadline = deadline(10);
        deadline.doing("waiting for Godot");
        let outcome = deadline
            .guard(deadline.work(), std::future::pending::<Result<(), _>>())
            .await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "out of time (the function has 10 s) while waiting for Godot"
        );
    }

    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        let deadline = deadline(10);
        deadline.doing("counting");
        let outcome: Result<(), _> = deadline
            .guard(deadline.work(), async { panic!("one too many") })
            .await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "bug: panicked while counting: one too many"
        );
    }

    #[tokio::test]
    async fn a_deadline_in_the_past_is_over_at_once() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let deadline = Deadline::new(now, SystemTime::UNIX_EPOCH);
        let outcome = deadline
            .guard(deadline.work(), std::future::pending::<Result<(), _>>())
            .await;
        assert!(matches!(
            outcome,
            Err(SetupError::OutOfTime {
                limit_seconds: 0,
                ..
            })
        ));
    }
}
