//! A cluster whose minutes go by as fast as they are run: the parts, and the samples that have
//! arrived so far.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context as _;
use testkit::doubles::dcgm_exporter::Node;
use testkit::lambda::{Function, Outcome};
use testkit::oracle::{Oracle, Tally, published, published_by_otlp};
use testkit::pipeline::{CLUSTER, Pipeline, event, minute, rfc3339};
use testkit::real::microburst::Microburst;
use testkit::real::prometheus::{History, every};
use tokio::pin;
use tokio::time::sleep;

pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const SCRAPE: Duration = Duration::from_secs(15);
/// From a period's start to the run that publishes it: its length and the settle time.
const DUE_AFTER: Duration = Duration::from_secs(120);

pub(crate) struct World {
    /// First of all, as fields are dropped in order: nobody asks what is gone already.
    function: Option<Function>,
    pub(crate) microburst: Option<Microburst>,
    pub(crate) pipeline: Pipeline,
    nodes: Vec<Node>,
    first: SystemTime,
    /// How much of the load Prometheus holds.
    arrived: Duration,
    /// The minute that the next run is to publish.
    minute: u32,
    /// How far the schedule's clock is ahead.
    pub(crate) ahead: Duration,
    /// How far it is behind.
    pub(crate) behind: Duration,
    /// Whether each GPU is sent by OTLP.
    pub(crate) sends_otlp: bool,
    /// Kills every run at a moment it chooses.
    pub(crate) killer: Option<fastrand::Rng>,
    /// How long the last whole run of a fresh process took.
    cold_run: Duration,
    peak_rss_kib: u64,
    /// Points that the replies say were refused.
    refused: u64,
}

impl World {
    /// Starts the parts, with the load of that many nodes from the first minute on.
    pub(crate) async fn start(nodes: u32, arrived: Duration) -> anyhow::Result<Self> {
        let nodes: Vec<Node> = (0..nodes).map(Node::p5en).collect();
        let first = minute(200);
        let history = load(&nodes, first..first + arrived)?;
        let world = Self {
            function: None,
            microburst: None,
            pipeline: Pipeline::start(history).await?,
            nodes,
            first,
            arrived,
            minute: 0,
            ahead: Duration::ZERO,
            behind: Duration::ZERO,
            sends_otlp: false,
            killer: None,
            cold_run: Duration::ZERO,
            peak_rss_kib: 0,
            refused: 0,
        };
        world.pipeline.set_watermark(&rfc3339(first));
        Ok(world)
    }

    /// Puts microburst before CloudWatch.
    pub(crate) async fn proxy_cloudwatch(&mut self) -> anyhow::Result<()> {
        self.microburst = Some(Microburst::start(&self.pipeline.cloudwatch.url()).await?);
        Ok(())
    }

    /// The proxy before CloudWatch.
    pub(crate) fn proxy(&self) -> anyhow::Result<&Microburst> {
        self.microburst
            .as_ref()
            .context("microburst stands before CloudWatch")
    }

    /// The load up to then arrives, whatever its age.
    pub(crate) async fn arrive(&mut self, until: Duration) -> anyhow::Result<()> {
        let more = load(&self.nodes, self.first + self.arrived..self.first + until)?;
        let prometheus = &mut self.pipeline.prometheus;
        prometheus.stop().await?;
        prometheus.load(more).await?;
        prometheus.restart().await?;
        self.arrived = until;
        Ok(())
    }

    /// The run that is due for the next minute, within Lambda's time limit.
    pub(crate) async fn run(&mut self, time_limit: Duration) -> anyhow::Result<Outcome> {
        let due = self.first + self.minute * MINUTE + DUE_AFTER + self.ahead - self.behind;
        let payload = event("scheduler", &[("time", rfc3339(due))])?;
        self.minute += 1;
        let began = Instant::now();
        let (function, is_cold) = match self.function.take() {
            Some(function) => (function, false),
            None => (self.start_function().await?, true),
        };
        let outcome = {
            let invoked = function.invoke_with_timeout(payload, time_limit);
            pin!(invoked);
            match &mut self.killer {
                None => invoked.await?,
                Some(random) => {
                    let moment = self.cold_run.mul_f64(random.f64());
                    tokio::select! {
                        outcome = &mut invoked => outcome?,
                        () = sleep(moment) => {
                            function.kill().await;
                            invoked.await?
                        }
                    }
                }
            }
        };
        if let Ok(peak) = function.peak_rss_kib() {
            self.peak_rss_kib = self.peak_rss_kib.max(peak);
        }
        if let Outcome::Reply(reply) = &outcome {
            self.refused += reply["detail"]["refused"].as_u64().unwrap_or_default();
        }
        let is_alive = matches!(outcome, Outcome::Reply(_) | Outcome::Error { .. });
        if is_cold && is_alive {
            self.cold_run = began.elapsed();
        }
        if is_alive && self.killer.is_none() {
            self.function = Some(function);
        }
        Ok(outcome)
    }

    /// Ends the process; the next run gets a fresh one.
    pub(crate) fn replace_function(&mut self) {
        self.function = None;
    }

    /// The most memory a process has held since this was asked last, in MiB.
    pub(crate) fn take_peak_rss_mib(&mut self) -> u64 {
        std::mem::take(&mut self.peak_rss_kib) / 1024
    }

    /// How many points were refused since this was asked last, as the replies say.
    pub(crate) fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Whether the watermark stands at the end of the last minute that was run.
    pub(crate) fn is_caught_up(&self) -> bool {
        let end = rfc3339(self.first + self.minute * MINUTE);
        self.pipeline.watermark() == Some(end)
    }

    /// How many minutes were run.
    pub(crate) fn minute(&self) -> u32 {
        self.minute
    }

    /// What CloudWatch holds, against what Prometheus holds, of the minutes run since that one.
    pub(crate) async fn tally(&self, since: u32) -> anyhow::Result<Tally> {
        let run = self.first + since * MINUTE..self.first + self.minute * MINUTE;
        let prometheus = self.pipeline.prometheus.url();
        let mut oracle = Oracle::new(run.clone(), MINUTE);
        oracle.add_stored(&prometheus).await?;
        let cloudwatch = &self.pipeline.cloudwatch;
        let (expected, mut found) = if self.sends_otlp {
            let expected = oracle.expected_by_otlp(CLUSTER);
            (expected, published_by_otlp(cloudwatch))
        } else {
            (oracle.expected(), published(&cloudwatch.datums()))
        };
        found.retain(|(.., time), _| run.contains(time));
        Ok(Tally::of(&expected, &found))
    }

    async fn start_function(&self) -> anyhow::Result<Function> {
        let mut environment = Vec::new();
        if self.sends_otlp {
            environment.push(("GPU_DETAIL", "otlp"));
        }
        if let Some(microburst) = &self.microburst {
            environment.push(("AWS_ENDPOINT_URL_CLOUDWATCH", microburst.url()));
            // It unpacks what it passes on, and leaves the header that says it is packed.
            environment.push(("AWS_DISABLE_REQUEST_COMPRESSION", "true"));
        }
        self.pipeline.marking_function(&environment).await
    }
}

fn load(nodes: &[Node], span: std::ops::Range<SystemTime>) -> anyhow::Result<History> {
    History::of(nodes, &every(SCRAPE, span.start, span.end))
}
