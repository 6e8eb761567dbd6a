//! Points sent to CloudWatch.

use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::{self, StreamExt, TryStreamExt};

use tokio::sync::OnceCell;

use super::batch::{batches, halves};
use super::client::{Client, SendError, one_line};
use super::encode::encode;
use super::limits::PARALLEL_REQUESTS;
use super::point::{Points, count};
use super::reply::PartialSuccess;
use crate::error::RunError;

/// Number of points that are tried alone before a refused request is halved.
const PROBES: usize = 16;

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
    fn of(points: &[Points<'_>], bytes: usize, rejected: u64) -> Self {
        let charged = points.iter().map(Points::charged_bytes);
        Self {
            points: count(points) as u64 - rejected,
            requests: 1,
            bytes: bytes as u64,
            refused: rejected,
            charged_bytes: charged.sum(),
        }
    }
}

/// What sending would come to, if all points were accepted.
pub(crate) fn plan<'r>(points: impl Iterator<Item = Points<'r>>) -> Sent {
    batches(points)
        .map(|batch| Sent::of(&batch, encode(&batch).len(), 0))
        .fold(Sent::default(), Sent::merge)
}

/// Sends points in batches, several at once. `points` makes them anew.
///
/// # Errors
/// The first failure that is not about the points themselves, after several attempts; and if every point
/// is refused, as the reason is another one then.
pub(crate) fn publish<'a, P>(
    client: &'a Client,
    points: impl Fn() -> P + Send + Sync + 'a,
) -> BoxFuture<'a, Result<Sent, RunError>>
where
    P: Iterator<Item = Points<'a>> + Send + 'a,
{
    async move {
        let sender = Sender {
            client,
            probes: &|| probes(&points),
            takes_some: OnceCell::new(),
        };
        sender.send_all(batches(points())).await
    }
    .boxed()
}

/// Points from all over a period: of every metric, of many GPUs and times.
fn probes<'a, P: Iterator<Item = Points<'a>>>(points: impl Fn() -> P) -> Vec<Points<'a>> {
    let alone = || points().flat_map(Points::alone);
    let step = alone().count().div_ceil(PROBES).max(1);
    alone().step_by(step).collect()
}

/// Sends the points of one period.
struct Sender<'a, 's> {
    client: &'a Client,
    /// Makes the points that are tried alone.
    probes: &'s (dyn Fn() -> Vec<Points<'a>> + Sync),
    /// Set once a point was accepted.
    takes_some: OnceCell<()>,
}

impl<'a> Sender<'a, '_> {
    /// Sends batches, several at once.
    fn send_all<'s>(
        &'s self,
        batches: impl Iterator<Item = Vec<Points<'a>>> + Send + 's,
    ) -> BoxFuture<'s, Result<Sent, RunError>> {
        stream::iter(batches)
            .map(move |batch| async move { self.send(&batch).await })
            .buffer_unordered(PARALLEL_REQUESTS)
            .try_fold(
                Sent::default(),
                |sum, one| async move { Ok(sum.merge(one)) },
            )
            .boxed()
    }

    /// Sends points, in halves where they are refused together.
    fn send<'s>(&'s self, points: &'s [Points<'a>]) -> BoxFuture<'s, Result<Sent, RunError>> {
        async move {
            let message = match self.try_send(points).await? {
                Ok(sent) => return Ok(sent),
                Err(message) => message,
            };
            // Halving a request of 1,000 points down to each of them takes 2,000 more.
            let probe = self.takes_some.get_or_try_init(|| self.probe());
            probe.await?;
            if count(points) == 1 {
                let series = points[0].series.name;
                tracing::warn!(series, error = message, "CloudWatch refuses a point");
                return Ok(Sent {
                    refused: 1,
                    ..Sent::default()
                });
            }
            let [first, second] = halves(points);
            let first = self.send(&first).await?;
            Ok(first.merge(self.send(&second).await?))
        }
        .boxed()
    }

    /// Sends points together. The inner error is why they are refused.
    async fn try_send(&self, points: &[Points<'a>]) -> Result<Result<Sent, String>, RunError> {
        let body = encode(points);
        let bytes = body.len();
        match self.client.send(body).await {
            Ok(accepted) => {
                let sent = sent(points, bytes, &accepted);
                if sent.points > 0 {
                    // It may be set already.
                    let _ = self.takes_some.set(());
                }
                Ok(Ok(sent))
            }
            Err(SendError::Failed(error)) => Err(error),
            Err(SendError::Refused(message)) => Ok(Err(message)),
        }
    }

    /// Looks for a point that is accepted alone.
    async fn probe(&self) -> Result<(), RunError> {
        let probes = (self.probes)();
        let mut refused = None;
        for probe in &probes {
            match self.try_send(std::slice::from_ref(probe)).await? {
                Ok(Sent { refused: 0, .. }) => return Ok(()),
                Ok(_) => refused = Some((probe, "it is rejected".to_owned())),
                Err(message) => refused = Some((probe, message)),
            }
        }
        let Some((point, message)) = refused else {
            return Ok(());
        };
        let Points { series, labels, .. } = point;
        Err(RunError::PublishFailed(
            format!(
                "CloudWatch's OTLP endpoint refuses each of {} points alone, the last one {} of GPU {} of {}: \
                 {message}; GPU_DETAIL=metrics does without the endpoint",
                probes.len(),
                series.name,
                labels.gpu.gpu,
                labels.gpu.instance_id,
            )
            .into(),
        ))
    }
}

/// Points that were rejected from an accepted request are not sent again: they would be rejected again.
fn sent(points: &[Points<'_>], bytes: usize, accepted: &PartialSuccess) -> Sent {
    let rejected = accepted.rejected.min(count(points) as u64);
    if rejected > 0 || !accepted.message.is_empty() {
        let error = one_line(&accepted.message);
        tracing::warn!(
            error,
            "CloudWatch refuses {rejected} of {} points",
            count(points)
        );
    }
    Sent::of(points, bytes, rejected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::labels::Labels;
    use crate::otlp::labels::tests::gpu;
    use crate::otlp::point::tests::{ORIGIN, points, reading};

    #[test]
    fn points_that_are_tried_alone_are_of_every_metric_and_of_the_first_and_last_gpus() {
        let gpus: Vec<_> = (0..100)
            .map(|index| gpu(&format!("i-{index}"), "0", ""))
            .collect();
        let labels: Vec<_> = gpus.iter().map(|gpu| Labels::new("p5en", gpu)).collect();
        let readings = &[reading(0, 1.0)];
        for (count, expected) in [(0, 0), (1, 2), (8, 16), (100, 16)] {
            let all = || {
                let of_metric = |metric| {
                    let labels = labels[..count].iter();
                    labels.map(move |labels| points(metric, labels, readings))
                };
                (0..2).flat_map(of_metric)
            };
            let probes = probes(all);
            assert_eq!(super::count(&probes), expected, "{count}");
            let second = points(1, &labels[0], readings).series;
            let of_second = probes.iter().filter(|probe| probe.series == second);
            assert_eq!(of_second.count(), expected / 2, "{count}");
        }
    }

    #[test]
    fn points_that_are_tried_alone_are_of_early_and_of_late_times() {
        let gpu = gpu("i-0", "0", "");
        let labels = Labels::new("p5en", &gpu);
        let readings: Vec<_> = (0..100).map(|at| reading(at, 1.0)).collect();
        let probes = probes(|| std::iter::once(points(0, &labels, &readings)));
        let times = probes.iter().flat_map(Points::iter);
        let times: Vec<i64> = times.map(|(at, _)| at - ORIGIN).collect();
        assert_eq!(times, (0..100).step_by(7).collect::<Vec<_>>());
    }
}
