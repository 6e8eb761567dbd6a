//! How the time of an invocation is divided: first the work, then returning the credential, then
//! answering CloudFormation. The function returns before Lambda would kill it.

use std::time::Duration;

use startup::Deadline;
use tokio::time::Instant;

/// At most this long is reserved for returning the credential, and as long again for the response.
const MAX_SHARE: Duration = Duration::from_secs(15);

/// When the work must stop.
pub(crate) fn work_end(deadline: &Deadline) -> Instant {
    deadline.leaving(share(deadline) * 2 + margin(deadline))
}

/// When returning the credential must stop.
pub(crate) fn return_end(deadline: &Deadline) -> Instant {
    deadline.leaving(share(deadline) + margin(deadline))
}

/// When answering CloudFormation must stop.
pub(crate) fn response_end(deadline: &Deadline) -> Instant {
    deadline.leaving(margin(deadline))
}

fn share(deadline: &Deadline) -> Duration {
    (deadline.limit() / 6).min(MAX_SHARE)
}

/// Reserved for the reply to Lambda itself.
fn margin(deadline: &Deadline) -> Duration {
    share(deadline) / 5
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn reserves_time_for_the_credential_and_the_response() {
        for (limit, work) in [(10, 6), (60, 38), (900, 867)] {
            let now = SystemTime::UNIX_EPOCH;
            let (start, end) = (Instant::now(), now + Duration::from_secs(limit));
            let deadline = Deadline::new(now, end);
            assert_eq!((work_end(&deadline) - start).as_secs(), work, "{limit} s");
            assert!(work_end(&deadline) < return_end(&deadline));
            assert!(return_end(&deadline) < response_end(&deadline));
            assert!(response_end(&deadline) < start + Duration::from_secs(limit));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_past_leaves_no_time() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(60);
        let deadline = Deadline::new(now, SystemTime::UNIX_EPOCH);
        for end in [work_end, return_end, response_end] {
            assert_eq!(end(&deadline), Instant::now());
        }
    }
}
