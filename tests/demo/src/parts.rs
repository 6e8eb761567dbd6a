//! Everything that runs around the stack: nodes, head node, the samples in AMP, the AWS account.

use std::time::Duration;

use testkit::account::Account;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Field, Node, Release};
use testkit::real::head_node::HeadNode;
use testkit::real::ministack::MiniStack;
use testkit::real::prometheus::{self, History, Prometheus, every};

use crate::{
    clock::{self, PERIOD, Span},
    screen::Screen,
};

pub(crate) const CLUSTER: &str = "p5en";

/// How often a GPU is read, in the history as live.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// How much there is from before the head node's start.
const HISTORY: i64 = 9 * 60;

/// Dropped from the top, so that nobody asks what is gone already.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) account: Account,
    _head_node: HeadNode,
    /// What AMP holds.
    pub(crate) prometheus: Prometheus,
    pub(crate) nodes: Vec<DcgmExporter>,
    /// What was not scraped but loaded.
    pub(crate) history: Span,
}

impl Parts {
    /// Starts them one after the other, and tells of each.
    pub(crate) async fn start(screen: &Screen) -> anyhow::Result<Self> {
        let nodes = start_nodes(screen).await?;
        let (prometheus, history) = start_prometheus(&nodes).await?;
        let account = Account::start(prometheus.url()).await?;
        let (workspace, credentials) = (account.amp.workspace_url(), MiniStack::credentials());
        let head_node = HeadNode::start(&nodes, CLUSTER, workspace, credentials).await?;
        let url = head_node.prometheus.url();
        screen.row(
            "head node",
            format!("Prometheus, {url}, configured by head-node.sh"),
        )?;
        screen.row("", "scrapes both every second, sends to AMP, signed")?;
        screen.row("AMP", workspace)?;
        screen.row(
            "",
            "lets in what SigV4 signs to the letter; a Prometheus holds the samples",
        )?;
        screen.row(
            "",
            format!(
                "and {} minutes from before, loaded by promtool",
                HISTORY / 60
            ),
        )?;
        let url = account.cloudwatch.url();
        screen.row(
            "CloudWatch",
            format!("{url}, refuses what CloudWatch refuses"),
        )?;
        let url = account.grafana.url();
        screen.row(
            "Grafana 12",
            format!("{url}, of an AMG workspace, answers as Grafana does"),
        )?;
        let url = account.ministack.url();
        screen.row(
            "AWS",
            format!("{url}, MiniStack: CloudFormation, Lambda, Scheduler, …"),
        )?;
        Ok(Self {
            account,
            _head_node: head_node,
            prometheus,
            nodes,
            history,
        })
    }
}

/// A fleet in the middle of an upgrade.
async fn start_nodes(screen: &Screen) -> anyhow::Result<Vec<DcgmExporter>> {
    let mut nodes = Vec::new();
    for (index, release) in [Release::V4_8_3, Release::V4_9].into_iter().enumerate() {
        let node = Node {
            release,
            ..Node::p5en(index as u32)
        };
        let node = DcgmExporter::start(node).await?;
        let (id, address) = (&node.node().instance_id, node.address());
        let text = format!("{release}: {id}, 8 × H200, http://{address}/metrics");
        screen.row("dcgm-exporter", text)?;
        nodes.push(node);
    }
    screen.row("", "4.9 has other names for the metrics, and other units")?;
    Ok(nodes)
}

async fn start_prometheus(nodes: &[DcgmExporter]) -> anyhow::Result<(Prometheus, Span)> {
    let end = clock::now();
    let span = Span {
        start: clock::floor(end, PERIOD) - HISTORY,
        end,
    };
    let times = span.times();
    let times = every(SCRAPE_INTERVAL, times.start, times.end);
    let all_nodes: Vec<Node> = nodes.iter().map(|node| node.node().clone()).collect();
    let mut history = History::new()?;
    history.fleet(&all_nodes, &Field::published(), &times, Node::load)?;
    let options = prometheus::Options {
        history: vec![history],
        remote_write_receiver: true,
        ..Default::default()
    };
    Ok((Prometheus::start(options).await?, span))
}
