//! The series of one cluster, and the questions of a run about them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;

use super::client::Client;
use super::error::QueryError;
use super::matrix;
use super::pace::QUERIES_AT_ONCE;
use super::query::{Query, Shard};
use crate::due::arrival::{Arrivals, PATIENCE_SECONDS};
use crate::due::period::Periods;
use crate::gpu::collect::{Collector, Readings};
use crate::gpu::identity::Fleet;
use crate::gpu::metric::Metric;
use crate::gpu::reading::Sample;

/// The series that a selector picks from a workspace.
#[derive(Debug)]
pub(crate) struct Source {
    client: Client,
    metrics: Vec<Metric>,
    /// PromQL label matchers without braces; empty for none.
    matchers: String,
    instance_id_labels: Vec<String>,
    /// Limit on the readings of a range.
    max_readings: usize,
    /// Set once the whole fleet was too large for a query, for this run and later ones.
    is_sharded: AtomicBool,
}

impl Source {
    /// The series of `metrics` that `matchers` pick. The first of `instance_id_labels` that a series has
    /// names its instance.
    pub(crate) fn new(
        client: Client,
        metrics: Vec<Metric>,
        matchers: String,
        instance_id_labels: Vec<String>,
        max_readings: usize,
    ) -> Self {
        Self {
            client,
            metrics,
            matchers,
            instance_id_labels,
            max_readings,
            is_sharded: AtomicBool::new(false),
        }
    }

    /// Queries the fleet by GPU index from now on. Returns false if that was so already.
    pub(crate) fn shard(&self) -> bool {
        !self.is_sharded.swap(true, Relaxed)
    }

    /// Reads all metrics over a range, several in parallel.
    ///
    /// # Errors
    /// AMP does not answer, or the answer is too large for this function.
    pub(crate) async fn readings(
        &self,
        range: Periods,
        fleet: &mut Fleet,
        until: Instant,
    ) -> Result<Readings<'_>, QueryError> {
        let shards: &[Shard] = if self.is_sharded.load(Relaxed) {
            &Shard::BY_GPU
        } else {
            &Shard::WHOLE
        };
        let queries: Vec<(usize, Shard)> = (0..self.metrics.len())
            .flat_map(|metric| shards.iter().map(move |shard| (metric, *shard)))
            .collect();
        let mut replies = stream::iter(queries)
            .map(|(metric, shard)| async move {
                let field = &self.metrics[metric].field;
                let query = Query::samples(field, shard, &self.matchers, &range);
                let reply = self.client.query(&query, until).await?;
                Ok((metric, reply))
            })
            .buffer_unordered(QUERIES_AT_ONCE);
        let labels = fleet.labels().to_vec();
        let mut collector = Collector::new(range, &self.metrics);
        let mut buffer = Vec::new();
        while let Some((metric, reply)) = replies.try_next().await? {
            let json = reply.json(&mut buffer)?;
            let warnings = collector.take_reply(metric, |take| {
                matrix::read(json, &labels, |values, samples| {
                    take(fleet.identify(values), samples);
                })
            });
            let warnings = warnings.map_err(|error| QueryError::unreadable(&error))?;
            for warning in warnings {
                tracing::warn!(field = self.metrics[metric].field, "AMP warns: {warning}");
            }
            self.check_size(collector.len(), range)?;
        }
        Ok(collector.finish(fleet))
    }

    fn check_size(&self, readings: usize, range: Periods) -> Result<(), QueryError> {
        let limit = self.max_readings;
        if readings <= limit {
            return Ok(());
        }
        Err(QueryError::too_much(format!(
            "there are over {limit} samples in {} periods: give the function more memory, or shorten \
             PERIOD_SECONDS",
            range.len(),
        )))
    }

    /// How far each source's samples have arrived by `now`. If none arrived lately: how far they had
    /// arrived when the newest one was taken.
    ///
    /// # Errors
    /// AMP does not answer.
    pub(crate) async fn arrivals(
        &self,
        due: Periods,
        now: i64,
        until: Instant,
    ) -> Result<Arrivals, QueryError> {
        let lately = self.arrivals_by(now, until).await?;
        if lately.newest().is_some() || due.start > now - PATIENCE_SECONDS {
            return Ok(lately);
        }
        let query = Query::newest(&self.metrics, &self.matchers, due.start, now);
        let mut newest: Option<f64> = None;
        self.each(&query, &[], until, |_, times| {
            let times = times.iter().map(|(_, time)| *time);
            newest = times.chain(newest).reduce(f64::max);
        })
        .await?;
        match newest {
            Some(newest) => self.arrivals_by(newest.ceil() as i64, until).await,
            None => Ok(lately),
        }
    }

    async fn arrivals_by(&self, moment: i64, until: Instant) -> Result<Arrivals, QueryError> {
        let labels = &self.instance_id_labels;
        let query = Query::arrivals(&self.metrics, &self.matchers, labels, moment);
        let mut arrivals = Arrivals::default();
        self.each(&query, labels, until, |names, looks| {
            let name = names.iter().find(|name| !name.is_empty());
            arrivals.take(name.map_or("", String::as_str), looks, moment);
        })
        .await?;
        Ok(arrivals)
    }

    /// Number of samples of all metrics over `periods`.
    ///
    /// # Errors
    /// AMP does not answer.
    pub(crate) async fn count(&self, periods: &Periods, until: Instant) -> Result<u64, QueryError> {
        let query = Query::count(&self.metrics, &self.matchers, periods);
        let mut count = 0.0;
        self.each(&query, &[], until, |_, counts| {
            count += counts.iter().map(|(_, count)| count).sum::<f64>();
        })
        .await?;
        Ok(count as u64)
    }

    /// Calls `take` for every series of a reply, with the values of `labels` and the samples.
    async fn each(
        &self,
        query: &Query,
        labels: &[String],
        until: Instant,
        take: impl FnMut(&[String], &[Sample]),
    ) -> Result<(), QueryError> {
        let reply = self.client.query(query, until).await?;
        let mut buffer = Vec::new();
        let json = reply.json(&mut buffer)?;
        matrix::read(json, labels, take).map_err(|error| QueryError::unreadable(&error))?;
        Ok(())
    }
}
