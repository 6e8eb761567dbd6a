//! Points sent to CloudWatch.

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use super::client::{Client, SendError, one_line};
use super::encode::encode;
use super::limits::PARALLEL_REQUESTS;
use super::point::Point;
use super::reply::PartialSuccess;
use crate::error::RunError;

/// What became of a period's points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sent {
    /// Points that CloudWatch accepted.
    pub(crate) points: u64,
    /// Requests that it accepted, be it in part.
    pub(crate) requests: u64,
    /// Bytes of these requests before compression.
    pub(crate) bytes: u64,
    /// Points that it refused.
    pub(crate) refused: u64,
    /// Bytes that it charges at least, if it charges all points of these requests.
    pub(crate) charged_bytes: u64,
}

impl Sent {
    /// Adds the counts of another.
    pub(crate) fn merge(mut self, other: Self) -> Self {
        self.points += other.points;
        self.requests += other.requests;
        self.bytes += other.bytes;
        self.refused += other.refused;
        self.charged_bytes += other.charged_bytes;
        self
    }

    /// A request of these points, of which some were rejected.
    fn of(cluster: &str, points: &[Point<'_>], bytes: usize, rejected: u64) -> Self {
        Self {
            points: points.len() as u64 - rejected,
            requests: 1,
            bytes: bytes as u64,
            refused: rejected,
            charged_bytes: points
                .iter()
                .map(|point| point.charged_bytes(cluster))
                .sum(),
        }
    }
}

/// What sending would come to, if all points were accepted.
pub(crate) fn plan<'r>(cluster: &str, batches: impl Iterator<Item = Vec<Point<'r>>>) -> Sent {
    batches
        .map(|batch| Sent::of(cluster, &batch, encode(cluster, &batch).len(), 0))
        .fold(Sent::default(), Sent::merge)
}

/// Sends batches, several at once.
///
/// # Errors
/// The first failure that is not about the points themselves, after several attempts.
pub(crate) fn publish<'a>(
    client: &'a Client,
    cluster: &'a str,
    batches: impl Iterator<Item = Vec<Point<'a>>> + Send + 'a,
) -> BoxFuture<'a, Result<Sent, RunError>> {
    stream::iter(batches)
        .map(move |batch| async move { send(client, cluster, &batch).await })
        .buffer_unordered(PARALLEL_REQUESTS)
        .try_fold(
            Sent::default(),
            |sum, one| async move { Ok(sum.merge(one)) },
        )
        .boxed()
}

/// Sends points, in halves where they are refused together.
fn send<'a>(
    client: &'a Client,
    cluster: &'a str,
    points: &'a [Point<'a>],
) -> BoxFuture<'a, Result<Sent, RunError>> {
    async move {
        let body = encode(cluster, points);
        let message = match client.send(&body).await {
            Ok(accepted) => return Ok(count(cluster, points, body.len(), &accepted)),
            Err(SendError::Failed(error)) => return Err(error),
            Err(SendError::Refused(message)) => message,
        };
        drop(body);
        if let [alone] = points {
            let series = alone.series.name;
            tracing::warn!(series, error = message, "CloudWatch refuses a point");
            return Ok(Sent {
                refused: 1,
                ..Sent::default()
            });
        }
        let (first, second) = points.split_at(points.len() / 2);
        let first = send(client, cluster, first).await?;
        Ok(first.merge(send(client, cluster, second).await?))
    }
    .boxed()
}

/// Points that were rejected from an accepted request are not sent again: they would be rejected again.
fn count(cluster: &str, points: &[Point<'_>], bytes: usize, accepted: &PartialSuccess) -> Sent {
    let rejected = accepted.rejected.min(points.len() as u64);
    if rejected > 0 || !accepted.message.is_empty() {
        let error = one_line(&accepted.message);
        tracing::warn!(
            error,
            "CloudWatch refuses {rejected} of {} points",
            points.len()
        );
    }
    Sent::of(cluster, points, bytes, rejected)
}
