//! The whole way of a sample, with the head node's Prometheus as its set-up script configures it:
//! scraped, sent signed, let into the workspace, asked for by the function, published.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use testkit::doubles::amp_gateway::Operation;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Node};
use testkit::doubles::sigv4::Credentials;
use testkit::pipeline::Pipeline;
use testkit::real::head_node::HeadNode;
use tokio::time::{sleep, timeout};

/// The first scrape, the sender's own delay of five seconds, and room for a busy machine.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_nodes_export_is_sent_signed_and_published_with_their_instance_ids() {
    let nodes = [
        DcgmExporter::start(Node::p5en(1)).await.unwrap(),
        DcgmExporter::start(Node::p5en(2)).await.unwrap(),
    ];
    let pipeline = Pipeline::receiving().await.unwrap();
    let arrived = published(&pipeline, &nodes).await;

    let writes = pipeline.amp.requests();
    let mut writes = writes
        .iter()
        .filter(|request| request.operation == Some(Operation::RemoteWrite));
    let refused = writes.find(|request| request.refusal.is_some());
    assert!(refused.is_none(), "{refused:?}");
    arrived.unwrap();
    let of_nodes = nodes.each_ref().map(|node| node.node().instance_id.clone());
    assert_eq!(instances(&pipeline), of_nodes.into());
}

#[tokio::test]
async fn a_node_can_speak_for_no_other_instance_and_no_other_cluster() {
    let forger = Node {
        hostname: r#"x",instance_id="i-victim",cluster="other"#.to_owned(),
        ..Node::p5en(1)
    };
    let instance_id = forger.instance_id.clone();
    let nodes = [DcgmExporter::start(forger).await.unwrap()];
    let pipeline = Pipeline::receiving().await.unwrap();
    published(&pipeline, &nodes).await.unwrap();
    assert_eq!(instances(&pipeline), [instance_id].into());
}

/// Publishes what the nodes export, once all of their GPUs have arrived as the cluster's.
async fn published(pipeline: &Pipeline, nodes: &[DcgmExporter]) -> anyhow::Result<()> {
    let url = pipeline.amp.workspace_url();
    let head_node = HeadNode::start(nodes, "training", url, Credentials::example()).await?;
    let settings = [
        ("CLUSTER_NAME", "training"),
        ("SERIES_SELECTOR", r#"cluster="training""#),
        ("PERIOD_SECONDS", "10"),
        ("SETTLE_SECONDS", "0"),
    ];
    let function = pipeline.function(&settings).await?;
    let gpus: u32 = nodes.iter().map(|node| node.node().gpus).sum();
    let run = async |event: &str| -> anyhow::Result<bool> {
        let reply = function.invoke(event).await?.reply()?;
        let periods = reply["periods"].as_array().context("no periods")?;
        Ok(periods.iter().any(|period| period["gpus"] == gpus))
    };
    let arrived = async {
        while !run(r#"{"dryRun": true}"#).await? {
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    };
    timeout(ARRIVAL_LIMIT, arrived)
        .await
        .unwrap_or_else(|_| bail!("{gpus} GPUs don't arrive: {}", head_node.prometheus.log()))?;
    ensure!(run("{}").await?, "{gpus} GPUs are not published");
    Ok(())
}

fn instances(pipeline: &Pipeline) -> BTreeSet<String> {
    let datums = pipeline.cloudwatch.datums();
    datums
        .iter()
        .filter_map(|datum| datum.dimensions.get("InstanceId").cloned())
        .collect()
}
