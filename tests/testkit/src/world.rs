//! All that the stack meets: an AWS account, and a cluster whose samples are in its AMP workspace.

use crate::account::{AMP_WORKSPACE_ID, Account};
use crate::doubles::dcgm_exporter::{DcgmExporter, Node};
use crate::doubles::managed_grafana::WORKSPACE_ID;
use crate::real::head_node::HeadNode;
use crate::real::ministack::MiniStack;
use crate::real::prometheus::{self, History, Prometheus};
use crate::real::rules;

/// The name in the documents, which other names are made of.
pub const STACK: &str = "pcluster-infra";

/// The cluster's name, in the documents too.
pub const CLUSTER: &str = "p5en";

/// Everything but the stack. Fields are dropped in order, so that nobody asks what is gone already.
#[derive(Debug)]
pub struct World {
    /// Where the stack is deployed.
    pub account: Account,
    /// Scrapes the nodes, and sends to the account's AMP workspace.
    pub head_node: HeadNode,
    /// What AMP holds, with the rules of the cluster at [`rules::SPEED`].
    pub prometheus: Prometheus,
    /// The cluster's nodes.
    pub nodes: Vec<DcgmExporter>,
}

impl World {
    /// Starts it; AMP holds `history` from before the head node's start.
    ///
    /// # Errors
    /// A part does not start, and says why.
    pub async fn start(nodes: Vec<Node>, history: Vec<History>) -> anyhow::Result<Self> {
        let mut exporters = Vec::new();
        for node in nodes {
            exporters.push(DcgmExporter::start(node).await?);
        }
        let options = prometheus::Options {
            history,
            ..rules::options(CLUSTER).await?
        };
        let prometheus = Prometheus::start(options).await?;
        let account = Account::start(prometheus.url()).await?;
        let (workspace, credentials) = (account.amp.workspace_url(), MiniStack::credentials());
        let head_node = HeadNode::start(&exporters, CLUSTER, workspace, credentials).await?;
        Ok(Self {
            account,
            head_node,
            prometheus,
            nodes: exporters,
        })
    }
}

/// The arguments of `aws cloudformation` that create or update the stack. MiniStack makes neither
/// workspace, and has no metric math, which the alarm without a number of GPUs needs.
#[must_use]
pub fn put_stack(verb: &str, template: &str, parameters: &[(&str, &str)]) -> Vec<String> {
    let always = [
        ("ClusterName", CLUSTER),
        ("AmpWorkspaceId", AMP_WORKSPACE_ID),
        ("GrafanaWorkspaceId", WORKSPACE_ID),
        ("ExpectedGpus", "16"),
    ];
    let template = format!("file://{template}");
    let command = [verb, "--stack-name", STACK, "--template-body", &template];
    let capability = ["--capabilities", "CAPABILITY_NAMED_IAM", "--parameters"];
    let words = [&command[..], &capability].concat().into_iter();
    let parameters = always.iter().chain(parameters);
    let parameters =
        parameters.map(|(key, value)| format!("ParameterKey={key},ParameterValue={value}"));
    words.map(str::to_owned).chain(parameters).collect()
}
