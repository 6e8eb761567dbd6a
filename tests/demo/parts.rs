//! Everything that runs: nodes, Prometheus, the two AWS services, the function.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use harness::{
    amp_gateway::{self, AmpGateway},
    cloudwatch::CloudWatch,
    dcgm_exporter::{DcgmExporter, Field, Node, scrape_config},
    lambda::Function,
    prometheus::{self, History, Prometheus, every},
};
use serde_json::Value;

use crate::{
    clock::{self, PERIOD, Span},
    screen::Screen,
    tools::Tools,
};

pub(crate) const CLUSTER: &str = "p5en";

/// How often a GPU is read, in the history as live.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// A period is published once it ended this long ago.
pub(crate) const SETTLE: i64 = 2;

/// How much there is from before Prometheus's start.
const HISTORY: i64 = 9 * 60;

/// Dropped from the top, so that nobody asks what is gone already.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) function: Function,
    pub(crate) cloudwatch: CloudWatch,
    pub(crate) amp: AmpGateway,
    pub(crate) prometheus: Prometheus,
    pub(crate) nodes: Vec<DcgmExporter>,
    /// What was not scraped but loaded.
    pub(crate) history: Span,
}

impl Parts {
    /// Starts them one after the other, and tells of each.
    pub(crate) async fn start(tools: &Tools, screen: &Screen) -> anyhow::Result<Self> {
        let nodes = start_nodes(screen).await?;
        let (prometheus, history) = start_prometheus(&nodes, screen).await?;
        let amp = AmpGateway::start(prometheus.url(), amp_gateway::Options::default()).await?;
        screen.row("AMP", amp.workspace_url())?;
        screen.row(
            "",
            "lets in what SigV4 signs to the letter, and asks Prometheus",
        )?;
        let cloudwatch = CloudWatch::start().await?;
        let url = cloudwatch.url();
        screen.row(
            "CloudWatch",
            format!("{url}, refuses what CloudWatch refuses"),
        )?;
        let function = Function::start(&tools.bootstrap, environment(&amp, &cloudwatch)).await?;
        let pid = function.pid();
        screen.row(
            "the function",
            format!("process {pid}, invoked as Lambda does"),
        )?;
        let text = format!("periods of {PERIOD} s, settled for {SETTLE} s; by default 60 and 60");
        screen.row("", text)?;
        Ok(Self {
            function,
            cloudwatch,
            amp,
            prometheus,
            nodes,
            history,
        })
    }

    /// Invokes the function and returns its reply.
    pub(crate) async fn invoke(&self, event: String) -> anyhow::Result<Value> {
        let outcome = self.function.invoke(event).await?;
        outcome
            .reply()
            .with_context(|| format!("the function logged:\n{}", self.function.log()))
    }

    /// An orderly end.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.function.kill().await;
        self.prometheus.stop().await
    }
}

async fn start_nodes(screen: &Screen) -> anyhow::Result<Vec<DcgmExporter>> {
    let mut nodes = Vec::new();
    for index in 0..2 {
        let node = DcgmExporter::start(Node::p5en(index)).await?;
        let (id, address) = (&node.node().instance_id, node.address());
        let text = format!("{id}, 8 × H200, http://{address}/metrics");
        screen.row("dcgm-exporter", text)?;
        nodes.push(node);
    }
    Ok(nodes)
}

async fn start_prometheus(
    nodes: &[DcgmExporter],
    screen: &Screen,
) -> anyhow::Result<(Prometheus, Span)> {
    let end = clock::now();
    let span = Span {
        start: clock::floor(end, PERIOD) - HISTORY,
        end,
    };
    let times = every(
        SCRAPE_INTERVAL,
        clock::system_time(span.start),
        clock::system_time(span.end),
    );
    let all_nodes: Vec<Node> = nodes.iter().map(|node| node.node().clone()).collect();
    let mut history = History::new()?;
    history.fleet(&all_nodes, &Field::published(), &times, Node::load)?;
    let options = prometheus::Options {
        config: scrape_config(nodes, SCRAPE_INTERVAL),
        history: vec![history],
        ..Default::default()
    };
    let prometheus = Prometheus::start(options).await?;
    let url = prometheus.url();
    screen.row("Prometheus", format!("{url}, scrapes both every second"))?;
    let minutes = HISTORY / 60;
    screen.row(
        "",
        format!("holds the {minutes} minutes before, loaded by promtool"),
    )?;
    Ok((prometheus, span))
}

fn environment(amp: &AmpGateway, cloudwatch: &CloudWatch) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("AMP_WORKSPACE_URL", amp.workspace_url().to_owned()),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch.url()),
        ("CLUSTER_NAME", CLUSTER.to_owned()),
        ("PERIOD_SECONDS", PERIOD.to_string()),
        ("SETTLE_SECONDS", SETTLE.to_string()),
    ])
}
