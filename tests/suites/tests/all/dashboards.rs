//! Grafana's dashboards: fit to be saved as they are, and every query of theirs answered by what the
//! head node's own configuration really sends to the workspace.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::LazyLock;
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use regex::Regex;
use serde_json::{Value, json};
use suites::grafana::{filled, interpolated, panels, targets};
use testkit::doubles::amp_gateway::{AmpGateway, Options};
use testkit::doubles::dcgm_exporter::{DcgmExporter, Node, Release};
use testkit::doubles::sigv4::Credentials;
use testkit::project::{repository, tool};
use testkit::real::head_node::HeadNode;
use testkit::real::process;
use testkit::real::prometheus::{self, Prometheus};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

/// A few scrapes, the sender's own delay of five seconds, and room for a busy machine.
const ARRIVAL_LIMIT: Duration = Duration::from_secs(120);

/// The first model that Grafana 10 writes: packages/grafana-schema, schemaVersion.
const GRAFANA_10: u64 = 38;

const CLUSTER: &str = "training";

#[test]
fn dashboards_are_saved_as_they_are() {
    let mut titles = BTreeSet::new();
    for (name, dashboard) in dashboards() {
        assert_eq!(dashboard["uid"], format!("gpu-{name}"));
        assert!(titles.insert(dashboard["title"].as_str().unwrap().to_owned()));
        assert_eq!(dashboard["schemaVersion"], GRAFANA_10, "{name}");
        assert_eq!(dashboard["tags"], json!(["gpu"]), "the links go by it");
        // What an export leaves in, and an import alone takes out.
        for field in ["id", "version", "__inputs", "__requires", "__elements"] {
            assert!(dashboard.get(field).is_none(), "{name}: {field}");
        }
        assert!(!dashboard.to_string().contains("${DS_"), "{name}");
    }
}

#[test]
fn panels_are_whole_and_beside_each_other() {
    for (name, dashboard) in dashboards() {
        let mut ids = BTreeSet::new();
        let mut taken = BTreeSet::new();
        for panel in panels(&dashboard) {
            let title = panel["title"].as_str().unwrap();
            assert!(ids.insert(panel["id"].as_u64().unwrap()), "{name}: {title}");
            let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
            assert!(place("x") + place("w") <= 24, "{name}: {title}");
            for x in place("x")..place("x") + place("w") {
                for y in place("y")..place("y") + place("h") {
                    assert!(taken.insert((x, y)), "{name}: {title} covers another");
                }
            }
            if panel["type"] != "row" {
                assert_eq!(panel["datasource"], source(), "{name}: {title}");
                assert!(!targets(&panel).is_empty(), "{name}: {title}");
            }
        }
    }
}

#[test]
fn every_query_is_sent_to_the_data_source_that_was_chosen() {
    for (name, dashboard) in dashboards() {
        let first = &dashboard["templating"]["list"][0];
        assert_eq!(
            (&first["name"], &first["type"]),
            (&json!("datasource"), &json!("datasource"))
        );
        for variable in variables(&dashboard) {
            assert_eq!(variable["datasource"], source(), "{name}");
        }
        for target in panels(&dashboard).iter().flat_map(targets) {
            assert_eq!(target["datasource"], source(), "{name}");
        }
    }
}

/// Grafana makes `$__rate_interval` four times the scrape interval, which it believes to be the data
/// source's 15 s unless a query says otherwise. Nodes are scraped once a minute.
#[test]
fn rates_of_node_exporters_counters_say_how_often_they_are_read() {
    let mut rates = 0;
    for target in dashboards()
        .values()
        .flat_map(panels)
        .flat_map(|panel| targets(&panel))
    {
        let query = target["expr"].as_str().unwrap();
        if query.contains("node_") && query.contains("$__rate_interval") {
            assert_eq!(target["interval"], "1m", "{query}");
            rates += 1;
        }
    }
    assert!(rates >= 3, "{rates}");
}

/// The metrics that the documents name.
#[test]
fn what_people_look_for_is_there() {
    let all: String = dashboards().values().map(Value::to_string).collect();
    for metric in [
        "DCGM_FI_DEV_GPU_UTIL",
        "DCGM_FI_DEV_MEM_COPY_UTIL",
        "DCGM_FI_DEV_GPU_TEMP",
        "DCGM_FI_DEV_POWER_USAGE",
        "node_cpu_seconds_total",
        "node_memory_MemAvailable_bytes",
        "node_disk_io_time_seconds_total",
        "node_network_receive_bytes_total",
    ] {
        assert!(all.contains(metric), "{metric}");
    }
}

#[tokio::test]
async fn every_query_returns_series_of_what_the_head_node_sends() {
    // The older one tells of an XID of 0; that of the newer one is the first event.
    let nodes = [
        DcgmExporter::start(Node {
            release: Release::V4_5,
            shows_health: true,
            hpc_jobs: vec!["train".to_owned()],
            ..Node::p5en(1)
        }),
        DcgmExporter::start(Node {
            release: Release::V4_9,
            shows_health: true,
            hpc_jobs: vec!["train".to_owned()],
            ..Node::p5en(2)
        }),
    ];
    let nodes = futures_util::future::try_join_all(nodes).await.unwrap();
    let workspace = Prometheus::start(prometheus::Options {
        remote_write_receiver: true,
        ..prometheus::Options::default()
    });
    let workspace = workspace.await.unwrap();
    let amp = AmpGateway::start(workspace.url(), Options::default());
    let amp = amp.await.unwrap();
    let url = amp.workspace_url();
    let head_node = HeadNode::start(&nodes, CLUSTER, url, Credentials::example());
    let head_node = head_node.await.unwrap();
    let grafana = Reader {
        workspace: workspace.url(),
        client: reqwest::Client::new(),
    };

    let mut asked = 0;
    for (name, dashboard) in dashboards() {
        for choice in [Choice::All, Choice::One] {
            let values = grafana.resolve(&dashboard, choice, &head_node).await;
            for target in panels(&dashboard).iter().flat_map(targets) {
                let query = filled(&target, &values);
                let answered = timeout(ARRIVAL_LIMIT, grafana.series(&query)).await;
                let log = || head_node.prometheus.log();
                assert!(answered.is_ok(), "{name}: no data for {query}\n{}", log());
                asked += 1;
            }
        }
    }
    eprintln!("{asked} queries, every one with data");
    assert!(asked >= 80, "{asked}");
}

/// What somebody chose in a dashboard's lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Choice {
    All,
    One,
}

/// Asks the workspace as Grafana does.
struct Reader {
    workspace: String,
    client: reqwest::Client,
}

impl Reader {
    /// The values of a dashboard's variables: for each of them `.*`, or the first it offers.
    async fn resolve(
        &self,
        dashboard: &Value,
        choice: Choice,
        head_node: &HeadNode,
    ) -> BTreeMap<String, String> {
        let mut values = BTreeMap::new();
        for variable in variables(dashboard) {
            let name = variable["name"].as_str().unwrap().to_owned();
            let query = interpolated(variable["query"]["query"].as_str().unwrap(), &values);
            let offered = timeout(ARRIVAL_LIMIT, self.label_values(&query)).await;
            let log = || head_node.prometheus.log();
            let offered = offered.unwrap_or_else(|_| panic!("{name} offers nothing: {}", log()));
            let value = match choice {
                Choice::All => variable["allValue"].as_str().unwrap().to_owned(),
                Choice::One => offered[0].clone(),
            };
            values.insert(name, value);
        }
        values
    }

    /// Awaits values of `label_values(series, label)`.
    async fn label_values(&self, query: &str) -> Vec<String> {
        let arguments = query.strip_prefix("label_values(").unwrap();
        let (series, label) = arguments
            .strip_suffix(')')
            .unwrap()
            .rsplit_once(", ")
            .unwrap();
        let path = format!("label/{label}/values?match[]={}", encoded(series));
        loop {
            let values: Vec<String> =
                serde_json::from_value(self.get(&path).await["data"].clone()).unwrap();
            if !values.is_empty() {
                return values;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    /// Awaits series, each with a number. What the rules record is not there, as no rules are: `alerts` asks
    /// for these.
    async fn series(&self, query: &str) {
        let path = format!("query?query={}", encoded(query));
        loop {
            let answer = self.get(&path).await;
            assert_eq!(answer["status"], "success", "{query}: {answer}");
            if recorded(query).next().is_some() {
                return;
            }
            let series = answer["data"]["result"].as_array().unwrap();
            let is_number = |series: &Value| {
                series["value"][1]
                    .as_str()
                    .unwrap()
                    .parse()
                    .is_ok_and(f64::is_finite)
            };
            if !series.is_empty() && series.iter().all(is_number) {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
    }

    async fn get(&self, path: &str) -> Value {
        let url = format!("{}/api/v1/{path}", self.workspace);
        let answer = self.client.get(url).send().await.unwrap();
        serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
    }
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// Names of series that rules record.
fn recorded(query: &str) -> impl Iterator<Item = &str> {
    static NAME: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("(?:ALERTS|(?:gpu|node|cluster):[a-z_]+)").unwrap());
    NAME.find_iter(query).map(|name| name.as_str())
}

#[tokio::test]
async fn what_panels_show_of_the_rules_is_recorded() {
    let mut rules = "ALERTS".to_owned();
    for file in ["health", "efficiency"] {
        let mut render = Command::new(tool("python3"));
        render
            .arg(repository("infra/rules.py"))
            .args(["render", file]);
        rules += &process::printed(&mut render).await.unwrap();
    }
    let mut shown = BTreeSet::new();
    for dashboard in dashboards().values() {
        for target in panels(dashboard).iter().flat_map(targets) {
            let query = target["expr"].as_str().unwrap().to_owned();
            shown.extend(recorded(&query).map(str::to_owned));
        }
    }
    assert!(shown.len() >= 10, "{shown:?}");
    for name in shown.iter().filter(|name| *name != "ALERTS") {
        assert!(rules.contains(&format!("record: {name}\n")), "{name}");
    }
}

/// By name of the file.
fn dashboards() -> BTreeMap<String, Value> {
    let files = fs::read_dir(repository("infra/dashboards")).unwrap();
    let dashboards = files.map(|file| {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let content = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        (name, content)
    });
    dashboards.collect()
}

/// The variables that are queries.
fn variables(dashboard: &Value) -> Vec<Value> {
    let all = dashboard["templating"]["list"].as_array().unwrap().iter();
    all.filter(|variable| variable["type"] == "query")
        .cloned()
        .collect()
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}
