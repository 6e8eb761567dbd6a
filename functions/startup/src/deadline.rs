//! The time that Lambda gives an invocation, and what it was spent on.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use tokio::time::{Instant, timeout_at};

/// The time of one invocation. Clones share the note of what is being done.
#[derive(Clone, Debug)]
pub struct Deadline {
    started_at: SystemTime,
    start: Instant,
    limit: Duration,
    activity: Arc<Mutex<String>>,
}

/// Why work did not come to its end.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Interrupted {
    /// Its time was up.
    #[error("out of time (the function has {limit_seconds} s) while {activity}")]
    OutOfTime {
        /// Seconds of the whole invocation.
        limit_seconds: u64,
        /// What was being done.
        activity: String,
    },
    /// It panicked.
    #[error("bug: panicked while {activity}: {message}")]
    Panicked {
        /// What was being done.
        activity: String,
        /// The panic's message.
        message: String,
    },
}

impl Deadline {
    /// The time from `now` until `end`; none if `end` is past.
    pub fn new(now: SystemTime, end: SystemTime) -> Self {
        Self {
            started_at: now,
            start: Instant::now(),
            limit: end.duration_since(now).unwrap_or_default(),
            activity: Arc::default(),
        }
    }

    /// The wall clock.
    pub fn now(&self) -> SystemTime {
        self.started_at + self.start.elapsed()
    }

    /// The time of the whole invocation.
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// The time that has gone by.
    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// The moment that leaves `reserve` until the end; the start, where that is longer than it all.
    pub fn leaving(&self, reserve: Duration) -> Instant {
        self.start + self.limit.saturating_sub(reserve)
    }

    /// Notes what is being done, for the message if time runs out.
    pub fn doing(&self, activity: impl Into<String>) {
        let activity = activity.into();
        tracing::debug!("{activity}");
        *self.activity.lock().unwrap_or_else(PoisonError::into_inner) = activity;
    }

    /// What was noted last.
    pub fn activity(&self) -> String {
        let activity = self.activity.lock();
        activity.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs `work` until it ends, panics or `end` comes; whoever must clean up or answer afterwards
    /// still does.
    ///
    /// # Errors
    /// The work did not come to its end.
    pub async fn guard<T>(
        &self,
        end: Instant,
        work: impl Future<Output = T>,
    ) -> Result<T, Interrupted> {
        // Boxed: the SDK's futures nest deeper than the compiler's limit for one type.
        let work = AssertUnwindSafe(Box::pin(work)).catch_unwind();
        match timeout_at(end, work).await {
            Ok(Ok(outcome)) => Ok(outcome),
            Ok(Err(panic)) => Err(Interrupted::Panicked {
                activity: self.activity(),
                message: panic_message(&*panic),
            }),
            Err(_) => Err(Interrupted::OutOfTime {
                limit_seconds: self.limit.as_secs_f64().round() as u64,
                activity: self.activity(),
            }),
        }
    }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no message".to_owned())
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn deadline(seconds: u64) -> Deadline {
        let now = SystemTime::UNIX_EPOCH;
        Deadline::new(now, now + Duration::from_secs(seconds))
    }

    #[tokio::test]
    async fn leaves_a_reserve_that_is_no_longer_than_it_all() {
        let deadline = deadline(10);
        let leaving = |seconds| deadline.leaving(Duration::from_secs(seconds)) - deadline.start;
        assert_eq!(leaving(3), Duration::from_secs(7));
        assert_eq!(leaving(11), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_the_time_went_into() {
        let deadline = deadline(10);
        deadline.doing("waiting for Grafana");
        let end = deadline.leaving(Duration::from_secs(1));
        let outcome = deadline.guard(end, pending::<()>()).await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "out of time (the function has 10 s) while waiting for Grafana"
        );
        assert_eq!(deadline.elapsed(), Duration::from_secs(9));
    }

    #[tokio::test]
    async fn a_panic_is_an_error_like_any_other() {
        let deadline = deadline(10);
        deadline.doing("counting");
        let end = deadline.leaving(Duration::ZERO);
        let work = async {
            if end > deadline.start {
                panic!("one too many")
            }
        };
        let outcome = deadline.guard(end, work).await;
        assert_eq!(
            outcome.unwrap_err().to_string(),
            "bug: panicked while counting: one too many"
        );
    }

    #[tokio::test]
    async fn an_end_in_the_past_is_over_at_once() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let deadline = Deadline::new(now, SystemTime::UNIX_EPOCH);
        let end = deadline.leaving(Duration::ZERO);
        let outcome = deadline.guard(end, pending::<()>()).await;
        assert!(matches!(
            outcome,
            Err(Interrupted::OutOfTime {
                limit_seconds: 0,
                ..
            })
        ));
    }
}
