//! Everything that runs around the stack, started and told of.

use std::ops::Range;
use std::time::Duration;

use testkit::doubles::dcgm_exporter::{Field, Node, Release};
use testkit::real::prometheus::{History, every};
use testkit::real::remote_write::Request;
use testkit::world::World;

use crate::{
    clock::{self, PERIOD, Span},
    screen::Screen,
};

/// How often a GPU is read, in the history as live.
pub(crate) const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

/// How much there is from before the head node's start.
const HISTORY: i64 = 9 * 60;

/// Starts two nodes and what is around them; gives also the time of what was not scraped but loaded.
pub(crate) async fn start(screen: &Screen) -> anyhow::Result<(World, Span)> {
    // A fleet in the middle of an upgrade.
    let nodes = [Release::V4_8_3, Release::V4_9].into_iter().enumerate();
    let nodes: Vec<_> = nodes
        .map(|(index, release)| Node {
            release,
            ..Node::p5en(index as u32)
        })
        .collect();
    let end = clock::now();
    let span = Span {
        start: clock::floor(end, PERIOD) - HISTORY,
        end,
    };
    let Range { start, end } = span.times();
    let times = every(SCRAPE_INTERVAL, start, end);
    let history = History::of(&nodes, &times)?;
    let world = World::start(nodes.clone(), vec![history]).await?;
    // Or the function would wait ten minutes for more of what was loaded.
    let mut ends = Request::default();
    for node in &nodes {
        ends.end(node, &Field::published(), end);
    }
    ends.send(&world.prometheus.url()).await?;
    tell(&world, screen)?;
    Ok((world, span))
}

fn tell(world: &World, screen: &Screen) -> anyhow::Result<()> {
    for node in &world.nodes {
        let (id, address) = (&node.node().instance_id, node.address());
        let release = node.node().release;
        let text = format!("{release}: {id}, 8 × H200, http://{address}/metrics");
        screen.row("dcgm-exporter", text)?;
    }
    screen.row("", "4.9 has other names for the metrics, and other units")?;
    let account = &world.account;
    let url = world.head_node.prometheus.url();
    for (part, text) in [
        (
            "head node",
            format!("Prometheus, {url}, configured by head-node.sh"),
        ),
        (
            "",
            "scrapes both every second, sends to AMP, signed".to_owned(),
        ),
        ("AMP", account.amp.workspace_url().to_owned()),
        (
            "",
            "lets in what SigV4 signs to the letter; a Prometheus holds the samples".to_owned(),
        ),
        (
            "",
            format!(
                "and {} minutes from before, loaded by promtool",
                HISTORY / 60
            ),
        ),
        (
            "CloudWatch",
            format!(
                "{}, refuses what CloudWatch refuses",
                account.cloudwatch.url()
            ),
        ),
        (
            "Grafana 12",
            format!(
                "{}, of an AMG workspace, answers as Grafana does",
                account.grafana.url()
            ),
        ),
        (
            "AWS",
            format!(
                "{}, MiniStack: CloudFormation, Lambda, Scheduler, …",
                account.ministack.url()
            ),
        ),
    ] {
        screen.row(part, text)?;
    }
    Ok(())
}
