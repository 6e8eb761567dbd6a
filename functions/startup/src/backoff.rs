//! Pauses between attempts, for what the AWS SDK does not retry itself.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};

/// Pauses that double from `first` to `longest` and never end. Each is longer by up to its own length,
/// at random, so that callers that failed together do not come back together.
pub fn backoff(first: Duration, longest: Duration) -> impl Iterator<Item = Duration> {
    ExponentialBuilder::default()
        .with_min_delay(first)
        .with_max_delay(longest)
        .without_max_times()
        .with_jitter()
        .build()
}
