//! A cluster's head node: a real Prometheus with the configuration that `head-node.sh` writes. It
//! scrapes simulated nodes and itself, and sends signed samples to the workspace. Static targets with
//! EC2's labels stand in for EC2's discovery.

use std::fmt::Write as _;
use std::net::SocketAddr;

use anyhow::{Context as _, bail, ensure};
use tokio::process::Command;

use crate::doubles::dcgm_exporter::DcgmExporter;
use crate::doubles::node_exporter::NodeExporter;
use crate::doubles::sigv4::Credentials;
use crate::lambda::REGION;
use crate::project::repository;
use crate::real::process;
use crate::real::prometheus::{Options, Prometheus};

/// The workspace's address has to be one of AWS until the configuration is written.
const AWS: &str = "https://aps-workspaces.us-east-2.amazonaws.com";

/// A running head node; dropping it ends it.
#[derive(Debug)]
pub struct HeadNode {
    /// Its own Prometheus, which has no history.
    pub prometheus: Prometheus,
    _node_exporters: Vec<NodeExporter>,
}

impl HeadNode {
    /// Starts it, and a node_exporter on each of the nodes; with a scrape each second, so that nobody
    /// waits for minutes.
    ///
    /// # Errors
    /// The script refuses its arguments, or Prometheus its configuration.
    pub async fn start(
        nodes: &[DcgmExporter],
        cluster: &str,
        workspace_url: &str,
        credentials: Credentials,
    ) -> anyhow::Result<Self> {
        let (local, workspace) = workspace_url
            .split_once("/workspaces/")
            .context("the address of a workspace")?;
        let endpoint = format!("{AWS}/workspaces/{workspace}/");
        let mut config = rendered(cluster, &endpoint).await?;
        for (old, new) in [
            (AWS, local),
            ("scrape_interval: 15s", "scrape_interval: 1s"),
            ("scrape_interval: 60s", "scrape_interval: 1s"),
            ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ] {
            ensure!(config.contains(old), "no {old} in {config}");
            config = config.replace(old, new);
        }
        let mut node_exporters = Vec::new();
        for _ in nodes {
            node_exporters.push(NodeExporter::start().await?);
        }
        let options = Options {
            config: with_static_targets(&config, nodes, &node_exporters)?,
            // Where a head node has those of its instance profile.
            credentials: Some(credentials),
            ..Options::default()
        };
        let prometheus = Prometheus::start(options).await?;
        Ok(Self {
            prometheus,
            _node_exporters: node_exporters,
        })
    }
}

/// What `head-node.sh` writes.
async fn rendered(cluster: &str, endpoint: &str) -> anyhow::Result<String> {
    let mut script = Command::new(repository("infra/parallelcluster/head-node.sh"));
    script
        .args(["--cluster", cluster, "--region", REGION])
        .args(["--amp-endpoint", endpoint, "--print-config"]);
    process::printed(&mut script).await
}

/// The nodes are targets of the first job, dcgm-exporter's, and of the second, node_exporter's.
fn with_static_targets(
    config: &str,
    nodes: &[DcgmExporter],
    node_exporters: &[NodeExporter],
) -> anyhow::Result<String> {
    let [start, dcgm, node] = config.split("    ec2_sd_configs:\n").collect::<Vec<_>>()[..] else {
        bail!("two jobs find their targets in EC2, not these: {config}")
    };
    let ids = || nodes.iter().map(|node| &*node.node().instance_id);
    let dcgm_targets = ids().zip(nodes.iter().map(DcgmExporter::address));
    let node_targets = ids().zip(node_exporters.iter().map(NodeExporter::address));
    let mut written = start.to_owned();
    for (job, targets) in [
        (dcgm, static_targets(dcgm_targets)),
        (node, static_targets(node_targets)),
    ] {
        let discovery = job.split_once("    relabel_configs:\n");
        let (_, rest) = discovery.context("a job's discovery ends with its labels")?;
        write!(written, "{targets}    relabel_configs:\n{rest}")?;
    }
    Ok(written)
}

fn static_targets<'a>(targets: impl Iterator<Item = (&'a str, SocketAddr)>) -> String {
    let mut written = "    static_configs:\n".to_owned();
    for (instance_id, address) in targets {
        writeln!(
            written,
            "      - targets: ['{address}']\n        labels: {{__meta_ec2_instance_id: {instance_id}}}"
        )
        .expect("a string takes all that is written");
    }
    written
}
