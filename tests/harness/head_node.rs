//! A cluster's head node: a real Prometheus with the configuration that `head-node.sh` writes. It
//! scrapes simulated nodes and sends signed samples to the workspace. Static targets with EC2's
//! labels stand in for EC2's discovery.

use std::fmt::Write as _;
use std::iter;

use anyhow::{Context as _, ensure};
use tokio::process::Command;

use crate::dcgm_exporter::{DcgmExporter, Node};
use crate::lambda::REGION;
use crate::process;
use crate::project::repository;
use crate::prometheus::{Options, Prometheus};
use crate::sigv4::Credentials;

/// The workspace's address has to be one of AWS until the configuration is written.
const AWS: &str = "https://aps-workspaces.us-east-2.amazonaws.com";

/// A running head node; dropping it ends it.
#[derive(Debug)]
pub struct HeadNode {
    /// Its own Prometheus, which has no history.
    pub prometheus: Prometheus,
}

impl HeadNode {
    /// Starts it with a scrape each second, so that nobody waits for minutes.
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
            ("scrape_timeout: 10s", "scrape_timeout: 1s"),
        ] {
            ensure!(config.contains(old), "no {old} in {config}");
            config = config.replace(old, new);
        }
        let options = Options {
            config: with_static_targets(&config, nodes)?,
            // Where a head node has those of its instance profile.
            credentials: Some(credentials),
            ..Options::default()
        };
        let prometheus = Prometheus::start(options).await?;
        Ok(Self { prometheus })
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

/// The nodes are targets of the first job, dcgm-exporter's; nobody is of the others.
fn with_static_targets(config: &str, nodes: &[DcgmExporter]) -> anyhow::Result<String> {
    let mut targets = "    static_configs:\n".to_owned();
    for node in nodes {
        let (address, Node { instance_id, .. }) = (node.address(), node.node());
        writeln!(targets, "      - targets: ['{address}']")?;
        writeln!(
            targets,
            "        labels: {{__meta_ec2_instance_id: {instance_id}}}"
        )?;
    }
    let mut jobs = config.split("    ec2_sd_configs:\n");
    let mut written = jobs.next().unwrap_or_default().to_owned();
    for (job, targets) in jobs.zip(iter::once(&*targets).chain(iter::repeat(""))) {
        let discovery = job.split_once("    relabel_configs:\n");
        let (_, rest) = discovery.context("a job's discovery ends with its labels")?;
        write!(written, "{targets}    relabel_configs:\n{rest}")?;
    }
    Ok(written)
}
