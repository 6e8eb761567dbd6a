//! The series of one cluster, and the questions of a run about them.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio::time::Instant;
use tokio::try_join;

use super::client::Client;
use super::error::QueryError;
use super::matrix;
use super::pace::QUERIES_AT_ONCE;
use super::query::{Query, Shard};
use super::stream::{self as answers, Known};
use crate::due::arrival::{Arrivals, PATIENCE_SECONDS};
use crate::due::period::Periods;
use crate::gpu::collect::{Collector, ReplySeries};
use crate::gpu::dropped::DropReason;
use crate::gpu::identity::Fleet;
use crate::gpu::metric::{self, Kind, Metric};
use crate::gpu::reading::Sample;
use crate::gpu::readings::Readings;
use crate::gpu::verdict::{self, FINDING_LABELS, Finding};

/// The scrape target, `host:port`.
const TARGET_LABEL: &str = "instance";
/// Labels that tell events of one counter apart.
const EVENT_LABELS: [&str; 3] = ["nvlink", "xid", "clock_event"];

/// The series that a selector picks from a workspace.
#[derive(Debug)]
pub(crate) struct Source {
    client: Client,
    cluster: String,
    metrics: Vec<Metric>,
    /// Those that count the rules' verdicts on the cluster.
    verdicts: Vec<Metric>,
    /// PromQL label matchers without braces; empty for none.
    matchers: String,
    instance_id_labels: Vec<String>,
    /// Limit on the readings of a range.
    max_readings: usize,
    /// Set once the whole fleet was too large for a query, for this run and later ones.
    is_sharded: AtomicBool,
}

impl Source {
    /// The series of `metrics` that `matchers` pick, and what the rules record of `cluster`. The first of
    /// `instance_id_labels` that a series has names its instance.
    pub(crate) fn new(
        client: Client,
        cluster: String,
        metrics: Vec<Metric>,
        matchers: String,
        instance_id_labels: Vec<String>,
        max_readings: usize,
    ) -> Self {
        Self {
            client,
            cluster,
            metrics,
            verdicts: verdict::counts(),
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

    /// Reads everything over a range, several metrics in parallel.
    ///
    /// # Errors
    /// AMP does not answer, or the answer is too large for this function.
    pub(crate) async fn readings(
        &self,
        range: Periods,
        fleet: &mut Fleet,
        until: Instant,
    ) -> Result<Readings<'_>, QueryError> {
        let (mut readings, verdicts) = try_join!(
            self.measured(range, fleet, until),
            self.verdicts(range, until)
        )?;
        readings.verdicts = verdicts;
        Ok(readings)
    }

    /// What the rules record of the cluster.
    async fn verdicts(
        &self,
        range: Periods,
        until: Instant,
    ) -> Result<Vec<(&Metric, Vec<Sample>)>, QueryError> {
        let mut verdicts = Vec::new();
        let Some(query) = Query::verdicts(&self.verdicts, &self.cluster, &range) else {
            return Ok(verdicts);
        };
        self.each(
            &query,
            &["__name__".to_owned()],
            until,
            |values, samples| {
                let [name] = values else { return };
                let of_name = |metric: &&Metric| metric.series.iter().any(|one| one.name == *name);
                let metric = self.verdicts.iter().find(of_name);
                verdicts.extend(metric.map(|metric| (metric, samples.to_vec())));
            },
        )
        .await?;
        Ok(verdicts)
    }

    /// The GPUs and nodes that the rules find sick, missing or slow.
    ///
    /// # Errors
    /// AMP does not answer.
    pub(crate) async fn findings(
        &self,
        moment: i64,
        until: Instant,
    ) -> Result<BTreeSet<Finding>, QueryError> {
        let query = Query::findings(&self.cluster, moment);
        let labels = FINDING_LABELS.map(str::to_owned);
        let mut findings = BTreeSet::new();
        self.each(&query, &labels, until, |values, _| {
            findings.extend(Finding::read(values));
        })
        .await?;
        Ok(findings)
    }

    async fn measured(
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
                let query = Query::samples(&self.metrics[metric], shard, &self.matchers, &range);
                let reply = self.client.query(&query, until).await?;
                Ok((metric, reply))
            })
            .buffer_unordered(QUERIES_AT_ONCE);
        let mut collector = Collector::new(range, &self.metrics);
        // Of the memory for one reply's JSON, of which little is there at a time.
        let limit = self.client.budget.json / 2;
        let of = |is_counter| (Columns::new(fleet, is_counter), Known::new(limit));
        let (mut gauges, mut counters) = (of(false), of(true));
        while let Some((index, reply)) = replies.try_next().await? {
            let metric = &self.metrics[index];
            let (columns, known) = match metric.kind {
                Kind::Gauge => &mut gauges,
                Kind::Counter | Kind::Share => &mut counters,
            };
            let warnings = collector.take_reply(index, |take| {
                let meaning = |values: &[String]| columns.meaning(values, fleet);
                answers::read(
                    reply.json(),
                    &columns.labels,
                    known,
                    meaning,
                    |name, meaning, samples| {
                        take(ReplySeries {
                            name,
                            gpu: meaning.gpu,
                            source: &meaning.source,
                            detail: &meaning.detail,
                            samples,
                        });
                    },
                )
            });
            let warnings = warnings.map_err(|error| reply.failure(&error))?;
            for warning in warnings {
                tracing::warn!(metric = metric.name, "AMP warns: {warning}");
            }
            self.check_size(collector.len(), range)?;
        }
        if collector.lacks_generations(fleet) {
            self.find_generations(range, fleet, &mut collector, until)
                .await?;
        }
        Ok(collector.finish(fleet))
    }

    /// Asks which generation of the exporter each node has.
    async fn find_generations(
        &self,
        range: Periods,
        fleet: &mut Fleet,
        collector: &mut Collector<'_>,
        until: Instant,
    ) -> Result<(), QueryError> {
        let query = Query::evidence(&self.matchers, &range);
        let columns = Columns::new(fleet, false);
        self.each(&query, &columns.labels, until, |values, samples| {
            if let Ok(gpu) = fleet.identify(columns.of_gpu(values)) {
                collector.take_evidence(&values[0], fleet.instance_of(gpu), samples);
            }
        })
        .await
    }

    /// The DCGM series that exporters have and the catalogue does not know.
    ///
    /// # Errors
    /// AMP does not answer.
    pub(crate) async fn unknown_names(
        &self,
        now: i64,
        until: Instant,
    ) -> Result<BTreeSet<String>, QueryError> {
        let query = Query::names(&self.matchers, now);
        let mut names = BTreeSet::new();
        self.each(&query, &["__name__".to_owned()], until, |values, _| {
            names.extend(
                values
                    .iter()
                    .filter(|name| !metric::is_known(name))
                    .cloned(),
            );
        })
        .await?;
        Ok(names)
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
        let mut json = Vec::new();
        reply
            .json()
            .read_to_end(&mut json)
            .map_err(|error| reply.failure(&error))?;
        matrix::read(&json, labels, take).map_err(|error| QueryError::unreadable(&error))?;
        Ok(())
    }
}

/// The labels that are read of each series, and what they are for.
struct Columns {
    /// The name, those that identify a GPU, and of a counter those that tell its series apart.
    labels: Vec<String>,
    of_gpu: usize,
    /// Place of the scrape target, of a counter.
    source: Option<usize>,
}

/// What the labels of a series say, but for its name; see [`ReplySeries`].
struct Meaning {
    gpu: Result<u32, DropReason>,
    source: Box<str>,
    detail: Box<str>,
}

impl Columns {
    fn new(fleet: &Fleet, is_counter: bool) -> Self {
        let mut labels = vec!["__name__".to_owned()];
        labels.extend_from_slice(fleet.labels());
        let of_gpu = labels.len();
        let mut source = None;
        if is_counter {
            labels.extend(EVENT_LABELS.map(str::to_owned));
            let known = labels.iter().position(|label| label == TARGET_LABEL);
            source = Some(known.unwrap_or(labels.len()));
            if known.is_none() {
                labels.push(TARGET_LABEL.to_owned());
            }
        }
        Self {
            labels,
            of_gpu,
            source,
        }
    }

    fn meaning(&self, values: &[String], fleet: &mut Fleet) -> Meaning {
        Meaning {
            gpu: fleet.identify(self.of_gpu(values)),
            source: self.source.map_or("", |place| &values[place]).into(),
            detail: self.detail(values).into(),
        }
    }

    fn of_gpu<'v>(&self, values: &'v [String]) -> &'v [String] {
        &values[1..self.of_gpu]
    }

    fn detail(&self, values: &[String]) -> String {
        match self.source {
            None => String::new(),
            Some(_) => values[self.of_gpu..][..EVENT_LABELS.len()].join("\0"),
        }
    }
}
