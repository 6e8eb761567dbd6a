//! The rules evaluated at times that are past, in their own order, each from what those before it
//! have recorded: what a workspace does every minute.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use testkit::real::remote_write::{Request, STALE};

type Labels = BTreeMap<String, String>;

#[derive(Debug)]
pub(super) struct Rules {
    prometheus: String,
    client: reqwest::Client,
    rules: Vec<Rule>,
    /// For each rule the series that it has recorded last.
    recorded: Vec<BTreeSet<Labels>>,
    /// Since when an alert's series are there.
    since: BTreeMap<(usize, Labels), i64>,
}

/// <https://prometheus.io/docs/prometheus/latest/querying/api/#rules>
#[derive(Debug, Deserialize)]
struct Rule {
    name: String,
    query: String,
    #[serde(default)]
    labels: Labels,
    #[serde(rename = "type")]
    kind: String,
    /// How long an alert waits, in seconds.
    #[serde(default)]
    duration: f64,
}

#[derive(Deserialize)]
struct Answer<T> {
    data: T,
}

#[derive(Deserialize)]
struct Groups {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Vector {
    result: Vec<Sample>,
}

#[derive(Deserialize)]
struct Sample {
    metric: Labels,
    value: (f64, String),
}

impl Rules {
    /// Those that a Prometheus was started with.
    pub(super) async fn of(prometheus: &str) -> anyhow::Result<Self> {
        let mut rules = Self {
            prometheus: prometheus.to_owned(),
            client: reqwest::Client::new(),
            rules: Vec::new(),
            recorded: Vec::new(),
            since: BTreeMap::new(),
        };
        let Groups { groups } = rules.get("rules").await?;
        rules.rules = groups.into_iter().flat_map(|group| group.rules).collect();
        ensure!(rules.rules.len() > 50, "prometheus has loaded no rules");
        rules.recorded = vec![BTreeSet::new(); rules.rules.len()];
        Ok(rules)
    }

    /// All of them at a time, in seconds since 1970.
    pub(super) async fn evaluate(&mut self, at: i64) -> anyhow::Result<()> {
        let time = UNIX_EPOCH + Duration::from_secs(at.unsigned_abs());
        for number in 0..self.rules.len() {
            let rule = &self.rules[number];
            let query = utf8_percent_encode(&rule.query, NON_ALPHANUMERIC);
            let Vector { result } = self.get(&format!("query?time={at}&query={query}")).await?;
            let mut request = Request::default();
            let mut recorded = BTreeSet::new();
            for Sample {
                metric,
                value: (_, value),
            } in result
            {
                let (labels, value) = if rule.kind == "alerting" {
                    let since = self.since.entry((number, metric.clone())).or_insert(at);
                    let fires = (at - *since) as f64 >= rule.duration;
                    (rule.alert(metric, fires), 1.0)
                } else {
                    (rule.record(metric), value.parse()?)
                };
                add(&mut request, &labels, time, value);
                recorded.insert(labels);
            }
            for ended in self.recorded[number].difference(&recorded) {
                add(&mut request, ended, time, f64::from_bits(STALE));
            }
            if !recorded.is_empty() || !self.recorded[number].is_empty() {
                request.send(&self.prometheus).await?;
            }
            self.recorded[number] = recorded;
        }
        Ok(())
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        let url = format!("{}/api/v1/{path}", self.prometheus);
        let reply = self.client.get(url).send().await?.error_for_status()?;
        let Answer { data } = serde_json::from_slice(&reply.bytes().await?)?;
        Ok(data)
    }
}

impl Rule {
    fn record(&self, mut labels: Labels) -> Labels {
        labels.insert("__name__".to_owned(), self.name.clone());
        labels.extend(self.labels.clone());
        labels
    }

    fn alert(&self, mut labels: Labels, fires: bool) -> Labels {
        let state = if fires { "firing" } else { "pending" };
        labels.extend(self.labels.clone());
        for (name, value) in [
            ("__name__", "ALERTS"),
            ("alertname", &self.name),
            ("alertstate", state),
        ] {
            labels.insert(name.to_owned(), value.to_owned());
        }
        labels
    }
}

fn add(request: &mut Request, labels: &Labels, time: SystemTime, value: f64) {
    let labels = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    request.labelled(labels, [(time, value)]);
}
