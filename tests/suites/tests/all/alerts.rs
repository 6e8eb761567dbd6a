//! GPUs fall ill: from their exporters by way of the head node, the very rules and Alert Manager's definition
//! to a queue that a program reads, and by the function to CloudWatch. And all is clear again.
//!
//! Time runs ten times as fast: so much shorter are all durations of rules and definition.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use serde_json::Value;
use testkit::doubles::amp_gateway::{self, AmpGateway};
use testkit::doubles::cloudwatch::CloudWatch;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Field, Node, Release};
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::{Function, bootstrap};
use testkit::pipeline::FUNCTION;
use testkit::real::alertmanager::Alertmanager;
use testkit::real::events::Events;
use testkit::real::head_node::HeadNode;
use testkit::real::ministack::MiniStack;
use testkit::real::prometheus::{self, Prometheus};
use testkit::real::rules::{self, SPEED};
use testkit::world::CLUSTER;
use tokio::time::sleep;

/// Ten minutes, in which rules learn who is there.
const WARM_UP: Duration = Duration::from_secs(60);
/// How long anything is waited for; only a failure takes so long.
const LIMIT: Duration = Duration::from_secs(180);
/// Three minutes after the last finding, in which whatever else is wrong would be told.
const MORE: Duration = Duration::from_secs(18);

/// What befalls a GPU, and what a program is told of it.
struct Illness {
    node: usize,
    gpu: u32,
    befall: fn(&DcgmExporter, u32),
    reason: &'static str,
    severity: &'static str,
    action: &'static str,
}

/// A fault, by the names and forms of the exporter's release.
const fn ill(
    node: usize,
    gpu: u32,
    befall: fn(&DcgmExporter, u32),
    [reason, severity, action]: [&'static str; 3],
) -> Illness {
    Illness {
        node,
        gpu,
        befall,
        reason,
        severity,
        action,
    }
}

fn field(name: &str) -> Field {
    Field::named(name).unwrap()
}

fn print(exporter: &DcgmExporter, gpu: u32, name: &str, printed: &str) {
    exporter.print_instead(field(name), gpu, printed);
}

fn last_xid(exporter: &DcgmExporter, gpu: u32, xid: &str) {
    let labels = match exporter.node().release {
        Release::V4_5 => String::new(),
        _ => format!("err_code=\"{xid}\",err_msg=\"told in words\""),
    };
    exporter.print_labelled(field("DCGM_FI_DEV_XID_ERRORS"), gpu, &labels, xid);
}

fn counted_xid(exporter: &DcgmExporter, gpu: u32, xid: &str) {
    let labels = format!("xid=\"{xid}\"");
    exporter.print_labelled(field("DCGM_EXP_XID_ERRORS_TOTAL"), gpu, &labels, "1");
}

fn count(exporter: &DcgmExporter, gpu: u32, name: &str, per_second: f64) {
    exporter.count_up(field(name), gpu, per_second);
}

const RELEASES: [Release; 6] = [
    Release::V4_5,
    Release::V4_8_2,
    Release::V4_8_3,
    Release::V4_9,
    Release::V4_8_3,
    Release::V4_9,
];

#[rustfmt::skip]
const ILLNESSES: [Illness; 25] = [
    ill(0, 0, |e, gpu| last_xid(e, gpu, "79"), ["XID 79", "critical", "reboot_node"]),
    ill(0, 1, |e, gpu| last_xid(e, gpu, "48"), ["XID 48", "critical", "run_workflow"]),
    ill(0, 2, |e, gpu| last_xid(e, gpu, "74"), ["XID 74", "critical", "run_workflow"]),
    ill(0, 3, |e, gpu| last_xid(e, gpu, "95"), ["XID 95", "critical", "reset_gpu"]),
    ill(0, 4, |e, gpu| print(e, gpu, "DCGM_FI_DEV_ROW_REMAP_FAILURE", "1"), ["row remap failed", "critical", "replace_node"]),
    ill(0, 5, |e, gpu| print(e, gpu, "DCGM_FI_DEV_ROW_REMAP_PENDING", "1"), ["row remap pending", "warning", "reset_gpu"]),
    ill(0, 6, |e, gpu| print(e, gpu, "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "2"), ["uncorrectable memory errors", "critical", "reset_gpu"]),
    ill(1, 0, |e, gpu| last_xid(e, gpu, "62"), ["XID 62", "critical", "reset_gpu"]),
    ill(1, 1, |e, gpu| last_xid(e, gpu, "119"), ["XID 119", "critical", "reset_gpu"]),
    ill(1, 2, |e, gpu| count(e, gpu, "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", 1.0), ["NVLink errors", "critical", "reset_gpu"]),
    ill(1, 3, |e, gpu| count(e, gpu, "DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", 1.0), ["NVLink errors", "critical", "reset_gpu"]),
    ill(1, 4, |e, gpu| count(e, gpu, "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", 500.0), ["NVLink errors", "critical", "reset_gpu"]),
    ill(1, 5, |e, gpu| count(e, gpu, "DCGM_FI_DEV_PCIE_REPLAY_COUNTER", 5.0), ["PCIe replays", "warning", "reboot_node"]),
    ill(1, 6, |e, gpu| print(e, gpu, "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "600"), ["many remapped rows", "warning", "replace_node"]),
    ill(1, 7, |e, gpu| print(e, gpu, "DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION", "1"), ["its driver asks for a reset", "critical", "reset_gpu"]),
    // A later XID, which is none of a fault, in the place of the first.
    ill(2, 0, |e, gpu| { counted_xid(e, gpu, "79"); last_xid(e, gpu, "45"); }, ["XID 79", "critical", "reboot_node"]),
    ill(2, 1, |e, gpu| counted_xid(e, gpu, "64"), ["XID 64", "critical", "reset_gpu"]),
    ill(2, 2, |e, gpu| print(e, gpu, "DCGM_FI_DEV_GET_GPU_RECOVERY_ACTION", "2"), ["its driver asks for a reboot", "critical", "reboot_node"]),
    ill(2, 3, |e, gpu| count(e, gpu, "DCGM_FI_DEV_THERMAL_VIOLATION", 5e8), ["slowed down by heat", "warning", "watch"]),
    ill(2, 4, |e, gpu| count(e, gpu, "DCGM_FI_DEV_CLOCKS_EVENT_REASON_HW_POWER_BRAKE_SLOWDOWN_NS", 5e8), ["slowed down by its power supply", "warning", "replace_node"]),
    ill(2, 5, |e, gpu| print(e, gpu, "DCGM_FI_DEV_GPU_TEMP_LIMIT", "2"), ["close to its temperature limit", "warning", "watch"]),
    ill(3, 0, |e, gpu| last_xid(e, gpu, "79"), ["XID 79", "critical", "reboot_node"]),
    ill(3, 1, |e, gpu| print(e, gpu, "DCGM_FI_DEV_ROW_REMAP_FAILURE", "1"), ["row remap failed", "critical", "replace_node"]),
    ill(3, 2, |e, gpu| count(e, gpu, "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS", 5e8), ["slowed down by heat", "warning", "watch"]),
    ill(3, 7, DcgmExporter::lose, ["not seen by its driver", "critical", "reboot_node"]),
];

/// The node whose exporter dies, beside those whose GPUs fall ill.
const DOWN: usize = 4;
/// A program's own fault, which nobody is to be woken by.
const APPLICATION: (usize, u32) = (5, 0);

/// Instance id, GPU, UUID, reason, severity and action.
type Finding = [String; 6];

/// The parts, running.
struct Ward {
    ministack: MiniStack,
    events: Events,
    /// Told by state, and by the time since the parts ran.
    told: BTreeMap<String, BTreeMap<Finding, Vec<Duration>>>,
    began: Instant,
    nodes: Vec<DcgmExporter>,
    amp: AmpGateway,
    prometheus: Prometheus,
    alertmanager: Alertmanager,
    _head_node: HeadNode,
}

impl Ward {
    async fn start() -> Result<Self> {
        let mut nodes = Vec::new();
        for (index, release) in RELEASES.into_iter().enumerate() {
            let node = Node {
                release,
                shows_health: true,
                ..Node::p5en(index as u32)
            };
            nodes.push(DcgmExporter::start(node).await?);
        }
        let ministack = MiniStack::start([]).await?;
        let [people, programs] = topics(&ministack).await?;
        let events = Events::subscribe(&ministack, &programs).await?;
        let definition = rules::definition(&people, &programs).await?;
        let (sns, credentials) = (ministack.url(), MiniStack::credentials());
        let alertmanager = Alertmanager::start(&definition, &sns, &credentials, SPEED).await?;
        let prometheus = Prometheus::start(prometheus::Options {
            lookback: Some(Duration::from_secs(300) / SPEED),
            ..rules::options(CLUSTER).await?
        });
        let prometheus = prometheus.await?;
        prometheus.send_alerts_to(&alertmanager.address())?;
        let amp = AmpGateway::start(prometheus.url(), amp_gateway::Options::default()).await?;
        let workspace = amp.workspace_url();
        let head_node = HeadNode::start(&nodes, CLUSTER, workspace, Credentials::example()).await?;
        Ok(Self {
            ministack,
            events,
            told: BTreeMap::new(),
            began: Instant::now(),
            nodes,
            amp,
            prometheus,
            alertmanager,
            _head_node: head_node,
        })
    }

    /// Reads the queue until as many findings are told in a state.
    async fn listen(&mut self, state: &str, findings: usize) -> Result<()> {
        let began = Instant::now();
        while self.told.get(state).map_or(0, BTreeMap::len) < findings {
            let told = || format!("{:#?}\n{}", self.told, self.alertmanager.log());
            ensure!(began.elapsed() < LIMIT, "not all {state}: {}", told());
            self.receive().await?;
        }
        Ok(())
    }

    /// Reads the queue until it is empty, and for a while after the last finding in a state.
    async fn listen_on(&mut self, state: &str) -> Result<()> {
        let last = self.told[state].values().flatten().max().copied();
        let until = last.context("findings")? + MORE;
        while self.receive().await? > 0 || self.began.elapsed() < until {}
        Ok(())
    }

    /// How many events have arrived.
    async fn receive(&mut self) -> Result<usize> {
        let events = self.events.receive(&self.ministack).await?;
        let count = events.len();
        for event in events {
            ensure!(event["cluster"] == CLUSTER, "{event}");
            let names = ["instanceId", "gpu", "uuid", "reason", "severity", "action"];
            let finding = names.map(|name| event[name].as_str().unwrap_or_default().to_owned());
            let state = event["state"].as_str().context("a state")?.to_owned();
            let times = self.told.entry(state).or_default();
            times.entry(finding).or_default().push(self.began.elapsed());
        }
        Ok(count)
    }

    fn findings(&self) -> BTreeSet<Finding> {
        let of_gpus = ILLNESSES.iter().map(|illness| {
            let node = self.nodes[illness.node].node();
            let labels = &node.series()[illness.gpu as usize].labels;
            let (_, uuid) = labels.split_once("UUID=\"").unwrap();
            let (uuid, _) = uuid.split_once('"').unwrap();
            let gpu = illness.gpu.to_string();
            let Illness {
                reason,
                severity,
                action,
                ..
            } = illness;
            [&node.instance_id, &gpu, uuid, reason, severity, action].map(str::to_owned)
        });
        let down = [
            &self.nodes[DOWN].node().instance_id,
            "",
            "",
            "dcgm-exporter does not answer",
            "critical",
            "restart_exporter",
        ];
        of_gpus.chain([down.map(str::to_owned)]).collect()
    }

    /// The newest value of a series without labels but the cluster.
    async fn recorded(&self, query: &str) -> Result<Option<f64>> {
        let url = format!("{}/api/v1/query", self.prometheus.url());
        let url = reqwest::Url::parse_with_params(&url, [("query", query)])?;
        let answer: Value = serde_json::from_slice(&reqwest::get(url).await?.bytes().await?)?;
        ensure!(answer["status"] == "success", "{query}: {answer}");
        let value = answer["data"]["result"][0]["value"][1].as_str();
        Ok(value.map(str::parse).transpose()?)
    }
}

/// The topics for people and programs.
async fn topics(ministack: &MiniStack) -> Result<[String; 2]> {
    let mut topics = Vec::new();
    for name in ["people", "events"] {
        let create = ["sns", "create-topic", "--name", name];
        let topic = ministack.aws(&create).await?;
        topics.push(topic["TopicArn"].as_str().context("a name")?.to_owned());
    }
    topics.try_into().map_err(|topics| anyhow!("{topics:?}"))
}

#[tokio::test]
async fn every_illness_is_told_once_and_so_is_its_end() -> Result<()> {
    let mut ward = Ward::start().await?;
    sleep(WARM_UP).await;
    ward.receive().await?;
    assert_eq!(ward.told, BTreeMap::new(), "a healthy fleet raises nothing");
    assert_eq!(ward.recorded("cluster:gpus_unhealthy").await?, Some(0.0));

    for illness in &ILLNESSES {
        (illness.befall)(&ward.nodes[illness.node], illness.gpu);
    }
    ward.nodes[DOWN].go_down();
    last_xid(&ward.nodes[APPLICATION.0], APPLICATION.1, "31");
    let began = ward.began.elapsed();
    let findings = ward.findings();
    ward.listen("firing", findings.len()).await?;
    is_published(&ward).await?;
    ward.listen_on("firing").await?;
    let firing = ward.told["firing"].clone();
    assert_eq!(firing.keys().cloned().collect::<BTreeSet<_>>(), findings);
    assert!(firing.values().all(|times| times.len() == 1), "{firing:#?}");
    let slowest = firing.values().flatten().max().copied().unwrap_or_default();
    eprintln!(
        "{} findings: missed 0, false 0, the slowest after {:.1} of ten-times-shorter minutes",
        findings.len(),
        (slowest - began).as_secs_f64() * f64::from(SPEED) / 60.0
    );

    for node in &ward.nodes {
        node.reboot();
    }
    ward.listen("resolved", findings.len()).await?;
    ward.listen_on("resolved").await?;
    let resolved = ward.told["resolved"].keys().cloned();
    assert_eq!(resolved.collect::<BTreeSet<_>>(), findings);
    assert_eq!(ward.told["firing"], firing, "nothing is told again");
    assert_eq!(ward.recorded("cluster:gpus_unhealthy").await?, Some(0.0));
    Ok(())
}

/// The function publishes the counts of the last minute, and its log names each GPU.
async fn is_published(ward: &Ward) -> Result<()> {
    let cloudwatch = CloudWatch::start().await?;
    let environment = BTreeMap::from([
        ("AMP_WORKSPACE_URL", ward.amp.workspace_url().to_owned()),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch.url()),
        ("CLUSTER_NAME", CLUSTER.to_owned()),
        ("SETTLE_SECONDS", "1".to_owned()),
    ]);
    let function = Function::start(bootstrap(FUNCTION)?, environment).await?;
    // The end of a minute from which all of this was known.
    #[expect(clippy::disallowed_methods, reason = "the rehearsal is in real time")]
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    sleep(Duration::from_secs(62 - now.as_secs() % 60)).await;
    function.invoke("{}").await?.reply()?;
    let critical = |illness: &&Illness| illness.severity == "critical";
    let missing = 1;
    let unhealthy = ILLNESSES.iter().filter(critical).count() - missing;
    for (metric, value) in [
        ("GPUsUnhealthy", unhealthy as f64),
        // That of node 3, and those of the node whose exporter is down.
        ("GPUsMissing", 1.0 + 8.0),
        ("GPUsThrottled", 3.0),
    ] {
        let datums = cloudwatch.datums();
        let datum = datums.iter().find(|datum| datum.name == metric);
        assert_eq!(datum.context(metric)?.values, [(value, 1.0)], "{metric}");
    }
    let log = function.log();
    for [instance, gpu, _, reason, ..] in ward.findings() {
        let who = match gpu.as_str() {
            "" => instance,
            gpu => format!("GPU {gpu} of {instance}"),
        };
        let lines = log.lines().filter(|line| line.contains(&format!("{who} ")));
        assert!(
            lines.into_iter().any(|line| line.contains(&reason)),
            "{who}: {reason}\n{log}"
        );
    }
    Ok(())
}
