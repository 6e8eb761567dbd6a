//! The whole way of a sample, with the head node's Prometheus as its set-up script configures it:
//! scraped, sent signed, let into the workspace, asked for by the function, published.

use std::time::Duration;

use harness::amp_gateway::{self, AmpGateway, Operation};
use harness::cloudwatch::{CloudWatch, Datum};
use harness::dcgm_exporter::{DcgmExporter, Node};
use harness::head_node::HeadNode;
use harness::pipeline::Pipeline;
use harness::prometheus::{Options, Prometheus};
use harness::sigv4::Credentials;
use tokio::time::{sleep, timeout};

/// The first scrape, the sender's own delay of five seconds, and room for a busy machine.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn what_nodes_export_is_sent_signed_and_published_with_their_instance_ids() {
    let nodes = [
        DcgmExporter::start(Node::p5en(1)).await.unwrap(),
        DcgmExporter::start(Node::p5en(2)).await.unwrap(),
    ];
    let pipeline = workspace().await;
    let url = pipeline.amp.workspace_url();
    let head_node = HeadNode::start(&nodes, "training", url, Credentials::example());
    let head_node = head_node.await.unwrap();
    let settings = [
        ("CLUSTER_NAME", "training"),
        ("SERIES_SELECTOR", r#"cluster="training""#),
        ("PERIOD_SECONDS", "10"),
        ("SETTLE_SECONDS", "0"),
    ];
    let function = pipeline.function(&settings).await.unwrap();

    let run = async |event: &str| {
        let reply = function.invoke(event).await.unwrap().reply().unwrap();
        let periods = reply["periods"].as_array().unwrap();
        periods.iter().any(|period| period["gpus"] == 16)
    };
    let arrived = timeout(ARRIVAL_LIMIT, async {
        while !run(r#"{"dryRun": true}"#).await {
            sleep(Duration::from_millis(200)).await;
        }
    });
    let arrived = arrived.await;

    let writes = pipeline.amp.requests();
    let mut writes = writes
        .iter()
        .filter(|request| request.operation == Some(Operation::RemoteWrite));
    let refused = writes.find(|request| request.refusal.is_some());
    assert!(refused.is_none(), "{refused:?}");
    assert!(arrived.is_ok(), "{}", head_node.prometheus.log());
    assert!(run("{}").await);
    let datums = pipeline.cloudwatch.datums();
    for node in &nodes {
        let instance_id = &node.node().instance_id;
        let is_of_node = |datum: &Datum| datum.dimensions.get("InstanceId") == Some(instance_id);
        assert!(datums.iter().any(is_of_node), "{instance_id}");
    }
}

/// An empty workspace that takes samples, and a CloudWatch.
async fn workspace() -> Pipeline {
    let prometheus = Prometheus::start(Options {
        remote_write_receiver: true,
        ..Options::default()
    });
    let prometheus = prometheus.await.unwrap();
    let amp = AmpGateway::start(prometheus.url(), amp_gateway::Options::default());
    Pipeline {
        amp: amp.await.unwrap(),
        cloudwatch: CloudWatch::start().await.unwrap(),
        prometheus,
    }
}
