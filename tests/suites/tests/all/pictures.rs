//! The page of the dashboards draws what its sources hold: read back from the page's elements in a
//! real browser, and compared with what Prometheus and CloudWatch answer when they are asked directly.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::iter::zip;
use std::sync::LazyLock;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use pictures::{Browser, CLOUDWATCH, Dashboard, Past};
use regex::Regex;
use serde_json::{Value, json};
use suites::dashboard;
use suites::grafana::{filled, panels, targets};
use testkit::project::repository;
use testkit::real::process;
use testkit::world::STACK;
use tokio::process::Command;

/// So few that a panel draws every sample there is.
const MINUTES: i64 = 20;

/// How far apart values are, in seconds: a query of Grafana's, one that says `1m`, CloudWatch's period.
const STEP: i64 = 15;
const MINUTE: i64 = 60;

#[tokio::test]
async fn the_page_draws_what_prometheus_and_cloudwatch_hold() {
    let past = Past::live(MINUTES).await.unwrap();
    let page = past.page().await.unwrap();
    let browser = Browser::find().unwrap();
    let (from, to) = past.span;
    let look = async |id: &str, chosen: &str| {
        let url = format!("{}?dashboard={id}&from={from}&to={to}{chosen}", page.url());
        let dom = browser.dom(&url).await.unwrap();
        assert!(
            dom.contains("data-height="),
            "{id} does not get ready: {dom}"
        );
        Drawn::all(&dom)
    };

    let body = Dashboard::cloudwatch(&past.account, STACK)
        .await
        .unwrap()
        .body;
    let drawn = look(CLOUDWATCH, "").await;
    assert_cloudwatch(&past, &body, &drawn).await;

    let mut values = 0;
    for Dashboard { id, body, .. } in Dashboard::grafana().unwrap() {
        let node = "i-00000000000000002";
        let (chosen, of_node) = match id.as_str() {
            "gpu-node" => (format!("&var-node={node}"), node),
            _ => (String::new(), ".*"),
        };
        let variables = [("cluster", ".*"), ("node", of_node), ("gpu", ".*")];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let prometheus = Reader {
            past: &past,
            variables: variables.into(),
        };
        let drawn = look(&id, &chosen).await;
        values += assert_grafana(&prometheus, &body, &drawn).await;
    }
    assert!(values > 10_000, "{values}");

    assert_environment_leads_here(&past).await;
}

/// The commands that the demo tells to try find the account.
async fn assert_environment_leads_here(past: &Past) {
    let environment = past.account.environment_file().unwrap();
    let script = format!(
        ". {environment}\n\
         aws cloudwatch list-metrics --metric-name GPUsReporting --output text\n\
         make invoke STACK={STACK} REGION=us-east-2 PAYLOAD='{{\"dryRun\":true}}'"
    );
    let mut shell = Command::new("bash");
    shell
        .args(["-euc", &script])
        .env_clear()
        .current_dir(repository(""));
    let printed = process::printed(shell.env("PATH", "/usr/bin:/bin"))
        .await
        .unwrap();
    assert!(printed.contains("ParallelCluster/p5en/GPU"), "{printed}");
    let reply = printed.replace(": ", ":");
    assert!(reply.contains("\"dryRun\":true"), "{printed}");
}

/// A panel as the browser holds it.
struct Drawn {
    title: String,
    html: String,
}

impl Drawn {
    fn all(dom: &str) -> Vec<Self> {
        let sections = dom.split("<section class=\"panel ").skip(1);
        let drawn = sections.map(|html| Self {
            title: text(
                html.split("</h2>")
                    .next()
                    .unwrap()
                    .rsplit('>')
                    .next()
                    .unwrap(),
            ),
            html: html.split("</section>").next().unwrap().to_owned(),
        });
        drawn.collect()
    }

    /// The values of an attribute, wherever it stands.
    fn attributes(&self, name: &str) -> Vec<String> {
        attributes(&self.html, name)
    }

    /// Each line: its label, and its values by their times.
    fn lines(&self) -> Vec<Line> {
        let Some(chart) = self.attributes("data-drawn").pop() else {
            return Vec::new();
        };
        let chart: Value = serde_json::from_str(&chart).unwrap();
        let times: Vec<i64> = serde_json::from_value(chart["times"].clone()).unwrap();
        let series = chart["series"].as_array().unwrap().iter();
        let lines = series.map(|series| {
            let [low, high] = serde_json::from_value(series["reach"].clone()).unwrap();
            let values: Vec<Option<f64>> =
                serde_json::from_value(series["values"].clone()).unwrap();
            assert_eq!(times.len(), values.len());
            let points = zip(&times, values).filter_map(|(at, value)| Some((*at, value?)));
            let points: BTreeMap<_, _> = points.collect();
            let is_seen = |value: &f64| (low..=high).contains(value);
            assert!(
                points.values().all(is_seen),
                "{}: not all in {low}..{high}",
                self.title
            );
            (series["label"].as_str().unwrap().to_owned(), points)
        });
        lines.collect()
    }

    /// Each row of a timeline, likewise.
    fn timelines(&self) -> Vec<Line> {
        let rows = self.html.split("<div class=\"line\">").skip(1);
        let rows = rows.map(|row| {
            let label = row
                .split("</span>")
                .next()
                .unwrap()
                .rsplit('>')
                .next()
                .unwrap();
            let mut points = BTreeMap::new();
            for stretch in attributes(row, "data-stretch") {
                let (start, end, value): (i64, i64, f64) = serde_json::from_str(&stretch).unwrap();
                points.extend((start..end).step_by(STEP as usize).map(|at| (at, value)));
            }
            (text(label), points)
        });
        rows.collect()
    }

    /// Each row of a table: what stands in its columns, but for empty cells.
    fn rows(&self) -> BTreeSet<BTreeMap<String, String>> {
        let rows = self.html.split("<tr").skip(2).map(|row| {
            let cells = zip(
                attributes(row, "data-column"),
                attributes(row, "data-value"),
            );
            cells.filter(|(_, value)| !value.is_empty()).collect()
        });
        rows.collect()
    }
}

type Line = (String, BTreeMap<i64, f64>);

fn attributes(html: &str, name: &str) -> Vec<String> {
    let start = format!(" {name}=\"");
    let values = html.split(start.as_str()).skip(1);
    values
        .map(|rest| text(rest.split('"').next().unwrap()))
        .collect()
}

/// As it was before it was written as HTML.
fn text(html: &str) -> String {
    let pairs = [
        ("&quot;", "\""),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&nbsp;", "\u{a0}"),
        ("&amp;", "&"),
    ];
    pairs
        .iter()
        .fold(html.to_owned(), |text, (from, to)| text.replace(from, to))
}

async fn assert_cloudwatch(past: &Past, body: &Value, drawn: &[Drawn]) {
    let widgets = body["widgets"].as_array().unwrap();
    assert_eq!(drawn.len(), widgets.len());
    for (widget, drawn) in zip(widgets, drawn) {
        let properties = &widget["properties"];
        assert_eq!(drawn.title, properties["title"]);
        if widget["type"] != "metric" {
            continue;
        }
        let one = json!({"widgets": [widget]});
        let rows = dashboard::rows(&one).into_iter();
        let mut expected = Vec::new();
        for (row, options) in zip(rows, properties["metrics"].as_array().unwrap()) {
            let label = options.as_array().unwrap().last().unwrap()["label"]
                .as_str()
                .unwrap();
            match &row.fields[..] {
                [search] if search.contains("SEARCH") => expected.extend(of_each_gpu(past).await),
                [namespace, name, dimensions @ ..] => {
                    let metric = metric_stat(namespace, name, dimensions, &row.statistic);
                    let [points] = values(past, namespace, &[metric]).await.try_into().unwrap();
                    expected.push((label.to_owned(), points));
                }
                fields => panic!("{fields:?}"),
            }
        }
        if properties["stacked"] == true {
            expected = piled(expected);
        }
        let lines = drawn.lines();
        assert_same(&lines, &expected, &drawn.title);
        let seen: usize = lines.iter().map(|(_, points)| points.len()).sum();
        assert!(seen >= 18, "{}: {seen} values", drawn.title);
    }
}

/// What the dashboard's search is for.
async fn of_each_gpu(past: &Past) -> Vec<Line> {
    let namespace = "ParallelCluster/p5en/GPU";
    let ask = [
        "list-metrics",
        "--namespace",
        namespace,
        "--metric-name",
        "GPUUtilization",
    ];
    let listed = past.account.aws_metrics(&ask).await.unwrap();
    let (mut labels, mut metrics) = (Vec::new(), Vec::new());
    for metric_of in listed["Metrics"].as_array().unwrap() {
        let dimension = |name: &str| {
            let all = metric_of["Dimensions"].as_array().unwrap().iter();
            let mut named = all.filter(|dimension| dimension["Name"] == name);
            Some(named.next()?["Value"].as_str()?.to_owned())
        };
        if let (Some(gpu), Some(node)) = (dimension("GPU"), dimension("InstanceId")) {
            labels.push(format!("{gpu} {node}"));
            let dimensions = ["GPU", &gpu, "InstanceId", &node].map(str::to_owned);
            metrics.push(metric_stat(
                namespace,
                "GPUUtilization",
                &dimensions,
                "Average",
            ));
        }
    }
    assert_eq!(metrics.len(), 48);
    zip(labels, values(past, namespace, &metrics).await).collect()
}

fn metric_stat(namespace: &str, name: &str, dimensions: &[String], statistic: &str) -> Value {
    let pairs = dimensions.chunks(2);
    let pairs = pairs.map(|pair| json!({"Name": pair[0], "Value": pair[1]}));
    let metric = json!({
        "Namespace": namespace, "MetricName": name, "Dimensions": pairs.collect::<Vec<_>>(),
    });
    json!({"Metric": metric, "Period": MINUTE, "Stat": statistic})
}

/// The values of metrics of one namespace, in one call.
async fn values(past: &Past, namespace: &str, metrics: &[Value]) -> Vec<BTreeMap<i64, f64>> {
    let queries = metrics.iter().enumerate();
    let queries = queries.map(|(at, stat)| json!({"Id": format!("m{at}"), "MetricStat": stat}));
    let queries = Value::from_iter(queries).to_string();
    let (from, to) = past.span;
    let (from, to) = (from.to_string(), to.to_string());
    let times = ["--start-time", &from, "--end-time", &to];
    let ask = [
        &["get-metric-data", "--metric-data-queries", &queries][..],
        &times,
    ]
    .concat();
    let found = match namespace.starts_with("AWS/") {
        true => {
            past.account
                .aws(&[&["cloudwatch"], &ask[..]].concat())
                .await
        }
        false => past.account.aws_metrics(&ask).await,
    };
    let found = found.unwrap();
    let results = found["MetricDataResults"].as_array().unwrap();
    let of = |at: usize| {
        results
            .iter()
            .find(|result| result["Id"] == format!("m{at}"))
    };
    (0..metrics.len())
        .map(|at| points(of(at).unwrap()))
        .collect()
}

fn points(result: &Value) -> BTreeMap<i64, f64> {
    let times = result["Timestamps"].as_array().unwrap().iter();
    let seconds = |time: &Value| {
        let time = chrono::DateTime::parse_from_rfc3339(time.as_str().unwrap());
        time.unwrap().timestamp()
    };
    let values = result["Values"].as_array().unwrap().iter();
    zip(
        times.map(seconds),
        values.map(|value| value.as_f64().unwrap()),
    )
    .collect()
}

/// But for the last bit, which `serde_json` may lose of a number that it reads.
fn assert_same(drawn: &[Line], held: &[Line], about: &str) {
    let near = |a: &f64, b: &f64| (a - b).abs() <= a.abs() * 1e-14;
    assert_eq!(drawn.len(), held.len(), "{about}");
    for ((label, drawn), (expected, held)) in zip(drawn, held) {
        assert_eq!(label, expected, "{about}");
        let same = drawn.keys().eq(held.keys())
            && zip(drawn.values(), held.values()).all(|(a, b)| near(a, b));
        assert!(
            same,
            "{about}, {label}: {drawn:?} is drawn, {held:?} is held"
        );
    }
}

/// Each on top of those before it.
fn piled(lines: Vec<Line>) -> Vec<Line> {
    let mut below: BTreeMap<i64, f64> = BTreeMap::new();
    let lines = lines.into_iter().map(|(label, points)| {
        let points = points.into_iter().map(|(at, value)| {
            let top = below.entry(at).or_default();
            *top += value;
            (at, *top)
        });
        (label, points.collect())
    });
    lines.collect()
}

/// Asks Prometheus as a panel does.
struct Reader<'a> {
    past: &'a Past,
    variables: BTreeMap<String, String>,
}

/// A series: its labels, and its values by their times.
type Series = (BTreeMap<String, String>, Vec<(i64, f64)>);

impl Reader<'_> {
    async fn ask(&self, target: &Value) -> Vec<Series> {
        let query = filled(target, &self.variables);
        let query = utf8_percent_encode(&query, NON_ALPHANUMERIC);
        let (from, to) = self.past.span;
        let step = if target["interval"] == "1m" {
            MINUTE
        } else {
            STEP
        };
        let path = match target["range"] == true {
            true => format!("query_range?start={from}&end={to}&step={step}&query={query}"),
            false => format!("query?time={to}&query={query}"),
        };
        let url = format!("{}/api/v1/{path}", self.past.prometheus.url());
        let answer = reqwest::get(url).await.unwrap().bytes().await.unwrap();
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        assert_eq!(answer["status"], "success", "{answer}");
        let result = answer["data"]["result"].as_array().unwrap().iter();
        let point = |point: &Value| {
            let at = point[0].as_f64().unwrap() as i64;
            (at, point[1].as_str().unwrap().parse().unwrap())
        };
        let series = result.map(|series| {
            let labels = serde_json::from_value(series["metric"].clone()).unwrap();
            let points = match &series["values"] {
                Value::Array(values) => values.iter().map(point).collect(),
                _ => vec![point(&series["value"])],
            };
            (labels, points)
        });
        series.collect()
    }

    /// The lines of all of a panel's queries.
    async fn lines(&self, panel: &Value) -> Vec<Line> {
        let mut lines = Vec::new();
        for target in targets(panel) {
            for (labels, points) in self.ask(&target).await {
                lines.push((name(&target, &labels), points.into_iter().collect()));
            }
        }
        lines
    }

    /// The rows of a table.
    async fn rows(&self, panel: &Value) -> BTreeSet<BTreeMap<String, String>> {
        let mut transformations = panel["transformations"].as_array().unwrap().iter();
        let organized = transformations.find(|one| one["id"] == "organize").unwrap();
        let is_shown = |name: &str| organized["options"]["excludeByName"][name] != true;
        let targets = targets(panel);
        let mut rows: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for target in &targets {
            let value_of = match &targets[..] {
                [_] => "Value".to_owned(),
                _ => format!("Value #{}", target["refId"].as_str().unwrap()),
            };
            for (labels, points) in self.ask(target).await {
                let row = rows.entry(labels.clone()).or_default();
                let value = (value_of.clone(), points[0].1.to_string());
                let cells = labels.into_iter().chain([value]);
                let cells = cells.filter(|(name, _)| is_shown(name));
                row.extend(cells.map(|(name, value)| (title(panel, &name), value)));
            }
        }
        rows.into_values().collect()
    }
}

/// A legend's entry.
fn name(target: &Value, labels: &BTreeMap<String, String>) -> String {
    static LABEL: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{\{(\w+)\}\}").unwrap());
    let format = target["legendFormat"].as_str().unwrap();
    let label = |found: &regex::Captures<'_>| labels.get(&found[1]).cloned().unwrap_or_default();
    LABEL.replace_all(format, label).trim().to_owned()
}

/// What stands over a column.
fn title(panel: &Value, column: &str) -> String {
    let overrides = panel["fieldConfig"]["overrides"].as_array().unwrap().iter();
    let mut own = overrides.filter(|one| one["matcher"]["options"] == column);
    let properties = own
        .next()
        .map(|one| one["properties"].as_array().unwrap().clone());
    let mut named = properties
        .into_iter()
        .flatten()
        .filter(|one| one["id"] == "displayName");
    named.next().map_or(column.to_owned(), |one| {
        one["value"].as_str().unwrap().to_owned()
    })
}

/// How many values were compared.
async fn assert_grafana(prometheus: &Reader<'_>, body: &Value, drawn: &[Drawn]) -> usize {
    let panels = panels(body);
    assert_eq!(drawn.len(), panels.len());
    let mut values = 0;
    for (panel, drawn) in zip(&panels, drawn) {
        let about = format!("{}: {}", body["title"], drawn.title);
        assert_eq!(drawn.title, panel["title"], "{about}");
        match panel["type"].as_str().unwrap() {
            "row" => {}
            "stat" => {
                let lines = prometheus.lines(panel).await;
                let value = lines.first().and_then(|(_, points)| points.values().next());
                let value = value.map(f64::to_string).unwrap_or_default();
                assert_eq!(drawn.attributes("data-value"), [value], "{about}");
                values += 1;
            }
            "table" => {
                let rows = prometheus.rows(panel).await;
                assert_eq!(drawn.rows(), rows, "{about}");
                values += rows.iter().map(BTreeMap::len).sum::<usize>();
            }
            kind => {
                let mut expected = prometheus.lines(panel).await;
                if panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal" {
                    expected = piled(expected);
                }
                let lines = match kind {
                    "state-timeline" => drawn.timelines(),
                    _ => drawn.lines(),
                };
                assert_same(&lines, &expected, &about);
                values += lines.iter().map(|(_, points)| points.len()).sum::<usize>();
            }
        }
    }
    values
}
