//! The stack's alarms on the samples of each GPU: their queries on a real Prometheus that holds what the built
//! function sent by OTLP.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use saphyr::{LoadableYamlNode as _, Yaml};
use serde_json::Value;
use testkit::doubles::cloudwatch::CloudWatch;
use testkit::doubles::dcgm_exporter::{Field, Node, Series};
use testkit::pipeline::{Pipeline, event, minute, rfc3339};
use testkit::project::repository;
use testkit::real::prometheus::{self, History, Prometheus, every};
use testkit::real::remote_write::Request;

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
const MINUTES: u32 = 40;
/// How old the newest sample that is visible may be.
const DELAY: Duration = Duration::from_secs(255);

/// The query of one of the stack's alarms, for the cluster `p5en`.
fn query(alarm: &str) -> Result<String> {
    let text = std::fs::read_to_string(repository("infra/alarms.yaml"))?;
    let template = Yaml::load_from_str(&text)?;
    let path = [
        "Resources",
        alarm,
        "Properties",
        "EvaluationCriteria",
        "PromQLCriteria",
        "Query",
    ];
    let mut node = template.first().context("a document")?;
    for key in path {
        node = node
            .as_mapping_get(key)
            .with_context(|| format!("{alarm} has no {key}"))?;
    }
    let Yaml::Tagged(_, query) = node else {
        anyhow::bail!("{alarm}: no !Sub");
    };
    let query = query.as_str().context("a text")?;
    let query = query
        .replace("${ClusterName}", "p5en")
        .replace("${GpuTemperatureThreshold}", "85");
    anyhow::ensure!(!query.contains("${"), "{query}");
    Ok(query)
}

/// Sends what an endpoint holds on to a Prometheus that takes samples out of order.
async fn forward(cloudwatch: &CloudWatch, prometheus: &Prometheus) -> Result<()> {
    let mut request = Request::default();
    for ((name, labels), samples) in cloudwatch.otlp_samples() {
        let labels: Vec<_> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{value}\""))
            .collect();
        let samples = samples
            .into_iter()
            .map(|(at, value)| (UNIX_EPOCH + Duration::from_millis(at.unsigned_abs()), value));
        request.series(&name, &labels.join(","), samples);
    }
    request.send(&prometheus.url()).await
}

async fn ask(prometheus: &Prometheus, query: &str, at: SystemTime) -> Result<Vec<Value>> {
    let time = at.duration_since(UNIX_EPOCH)?.as_secs().to_string();
    let url = format!("{}/api/v1/query", prometheus.url());
    let url = reqwest::Url::parse_with_params(&url, [("query", query), ("time", &time)])?;
    let reply: Value = serde_json::from_slice(&reqwest::get(url).await?.bytes().await?)?;
    let result = reply["data"]["result"].as_array();
    Ok(result.with_context(|| reply.to_string())?.clone())
}

/// Instance and GPU of each series that a query returns.
async fn named(
    prometheus: &Prometheus,
    alarm: &str,
    at: SystemTime,
) -> Result<Vec<(String, String)>> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let series = ask(prometheus, &query(alarm)?, at).await?;
    let mut named: Vec<_> = series
        .iter()
        .map(|series| {
            (
                text(&series["metric"]["instance_id"]),
                text(&series["metric"]["gpu"]),
            )
        })
        .collect();
    named.sort();
    Ok(named)
}

/// Four busy nodes. GPU 3 of the first is hot, GPU 5 of the second draws little, GPU 2 of the third falls
/// silent after 20 minutes, and so does the fourth node as a whole.
fn value(node: &Node, series: &Series, field: Field, _: SystemTime) -> f64 {
    match (field.name, node.index, series.gpu) {
        ("DCGM_FI_DEV_GPU_TEMP", 0, 3) => 91.0,
        ("DCGM_FI_DEV_GPU_TEMP", ..) => 63.0,
        ("DCGM_FI_DEV_POWER_USAGE", 1, 5) => 210.0,
        ("DCGM_FI_DEV_POWER_USAGE", ..) => 640.0 + f64::from(series.gpu),
        _ => 50.0,
    }
}

fn history(nodes: &[Node], first: SystemTime) -> Result<History> {
    let mut history = History::new()?;
    for field in Field::published() {
        for node in nodes {
            for series in node.series() {
                let is_silent = node.index == 3 || (node.index == 2 && series.gpu == 2);
                let minutes = if is_silent { 20 } else { MINUTES };
                let times = every(SCRAPE, first, first + minutes * MINUTE);
                let samples = times
                    .into_iter()
                    .map(|time| (time, value(node, &series, field, time)));
                history.series(field.name, &node.stored_labels(&series), samples)?;
            }
        }
    }
    Ok(history)
}

#[tokio::test]
async fn each_alarm_names_the_gpu_and_no_other() -> Result<()> {
    let nodes: Vec<Node> = (0..4).map(Node::p5en).collect();
    let first = minute(u64::from(MINUTES) + 10);
    let end = first + MINUTES * MINUTE;
    let pipeline = Pipeline::start(history(&nodes, first)?).await?;
    let function = pipeline
        .function(&[
            ("GPU_DETAIL", "otlp"),
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512"),
        ])
        .await?;
    let times = [("start", rfc3339(first)), ("end", rfc3339(end))];
    let reply = function.invoke(event("backfill", &times)?).await?.reply()?;
    assert_eq!(reply["complete"], true);
    assert_eq!(reply["detail"]["refused"], 0);

    let prometheus = Prometheus::start(prometheus::Options {
        config: "storage: {tsdb: {out_of_order_time_window: 14d}}\n".to_owned(),
        remote_write_receiver: true,
        ..Default::default()
    })
    .await?;
    // Once more: what is sent again changes nothing.
    forward(&pipeline.cloudwatch, &prometheus).await?;
    forward(&pipeline.cloudwatch, &prometheus).await?;
    let now = end + DELAY - SCRAPE;
    let gpu = |node: usize, gpu: &str| vec![(nodes[node].instance_id.clone(), gpu.to_owned())];
    assert_eq!(named(&prometheus, "GpuHotAlarm", now).await?, gpu(0, "3"));
    assert_eq!(named(&prometheus, "GpuWeakAlarm", now).await?, gpu(1, "5"));
    assert_eq!(
        named(&prometheus, "GpuMissingAlarm", now).await?,
        gpu(2, "2")
    );

    let mut count = 0;
    for field in Field::published() {
        let name = field.name;
        let query = format!("sum(count_over_time({name}{{cluster=\"p5en\"}}[2h]))");
        let of_field = ask(&prometheus, &query, now).await?;
        let of_field = of_field[0]["value"][1].as_str().context(name)?;
        count += of_field.parse::<u64>()?;
    }
    assert_eq!(reply["detail"]["points"], count);
    // Before the silence.
    let before: BTreeMap<_, _> =
        BTreeMap::from([("GpuWeakAlarm", gpu(1, "5")), ("GpuMissingAlarm", vec![])]);
    for (alarm, expected) in before {
        let named = named(&prometheus, alarm, first + 20 * MINUTE).await?;
        assert_eq!(named, expected, "{alarm}");
    }
    Ok(())
}
