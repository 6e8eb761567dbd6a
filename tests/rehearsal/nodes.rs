//! The head node's Prometheus configuration as its set-up script renders it, run for real: it scrapes
//! simulated nodes and writes to a second Prometheus. Static targets with EC2's labels stand in for
//! EC2's discovery. Debian's Prometheus wants credentials for `sigv4` and then does not sign, so the
//! signature is not part of this.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use harness::account::repository;
use harness::dcgm_exporter::{DcgmExporter, Node};
use harness::prometheus::{Options, Prometheus};
use serde_json::Value;
use tokio::time::{sleep, timeout};

const ENDPOINT: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1f3a6c1e-2b4d-4c8a-9e0f-5d7b3a9c8e10";

/// The first scrape, the sender's own delay of five seconds, and room for a busy machine.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn samples_of_every_gpu_arrive_with_instance_and_cluster() {
    let nodes = [
        DcgmExporter::start(Node::p5en(1)).await.unwrap(),
        DcgmExporter::start(Node::p5en(2)).await.unwrap(),
    ];
    let workspace = Prometheus::start(Options {
        remote_write_receiver: true,
        ..Options::default()
    });
    let workspace = workspace.await.unwrap();
    let head_node = Prometheus::start(Options {
        config: with_static_targets(&rendered(&workspace), &nodes),
        ..Options::default()
    });
    let head_node = head_node.await.unwrap();

    for node in &nodes {
        let Node { instance_id, .. } = node.node();
        let gpus = format!(
            "count(DCGM_FI_DEV_GPU_UTIL{{instance_id=\"{instance_id}\", cluster=\"training\"}})"
        );
        let arrived = timeout(ARRIVAL_LIMIT, until(&workspace, &gpus, "8")).await;
        assert!(arrived.is_ok(), "{}", head_node.log());
    }
}

/// What `head-node.sh` writes, but for the workspace's address, a key and a shorter wait.
fn rendered(workspace: &Prometheus) -> String {
    let script = repository("infra/parallelcluster/head-node.sh");
    let arguments = ["--cluster", "training", "--region", "us-east-2"];
    let mut render = Command::new(script);
    render
        .args(arguments)
        .args(["--amp-endpoint", ENDPOINT, "--print-config"]);
    let configuration = String::from_utf8(render.output().unwrap().stdout).unwrap();
    let write = format!("{}/api/v1/write", workspace.url());
    [
        (&*format!("{ENDPOINT}/api/v1/remote_write"), &*write),
        (
            "sigv4:\n",
            "sigv4:\n      access_key: nobody\n      secret_key: nothing\n",
        ),
        ("scrape_interval: 15s", "scrape_interval: 1s"),
        ("scrape_timeout: 10s", "scrape_timeout: 1s"),
    ]
    .iter()
    .fold(configuration, |text, (old, new)| replaced(&text, old, new))
}

fn replaced(text: &str, old: &str, new: &str) -> String {
    assert!(text.contains(old), "no {old} in {text}");
    text.replace(old, new)
}

fn with_static_targets(configuration: &str, nodes: &[DcgmExporter]) -> String {
    let mut targets = "    static_configs:\n".to_owned();
    for node in nodes {
        let (address, Node { instance_id, .. }) = (node.address(), node.node());
        let written = write!(
            targets,
            "      - targets: ['{address}']\n        labels: {{__meta_ec2_instance_id: {instance_id}}}\n"
        );
        written.unwrap();
    }
    let (before, rest) = configuration.split_once("    ec2_sd_configs:\n").unwrap();
    let (_, after) = rest.split_once("    relabel_configs:\n").unwrap();
    let (after, no_ec2) = after.split_once("    ec2_sd_configs:\n").unwrap();
    let (_, rest) = no_ec2.split_once("    relabel_configs:\n").unwrap();
    format!("{before}{targets}    relabel_configs:\n{after}    relabel_configs:\n{rest}")
}

/// Waits until a query's one value is this.
async fn until(prometheus: &Prometheus, query: &str, expected: &str) {
    let client = reqwest::Client::new();
    let form = format!("query={}", query.replace('{', "%7B").replace('}', "%7D"));
    let ask = client
        .post(format!("{}/api/v1/query", prometheus.url()))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    loop {
        let reply = ask.try_clone().unwrap().send().await.unwrap();
        let reply: Value = serde_json::from_slice(&reply.bytes().await.unwrap()).unwrap();
        if reply["data"]["result"][0]["value"][1] == expected {
            return;
        }
        sleep(Duration::from_millis(200)).await;
    }
}
