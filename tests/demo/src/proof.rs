//! Every number CloudWatch holds, read back by the AWS CLI and held against the oracle.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};
use testkit::account::Account;
use testkit::oracle::{Metric, Oracle, Statistic};

use crate::clock::{self, PERIOD, Span};

/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>
const QUERIES_A_CALL: usize = 500;

/// The periods asked for: that of publishing, and the documents'.
pub(crate) const PERIODS: [i64; 2] = [PERIOD, 60];

/// Sums that are added up in another order differ in their last bits.
const ROUNDING: f64 = 1e-12;

/// What is asked for: metric, statistic, length of the periods.
type Query = (Metric, Statistic, i64);

/// Data points by the start of their period.
pub(crate) type Points = BTreeMap<i64, f64>;

/// All that was read back.
#[derive(Debug)]
pub(crate) struct ReadBack(BTreeMap<Query, Points>);

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricData {
    metric_data_results: Vec<MetricDataResult>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct MetricDataResult {
    id: String,
    timestamps: Vec<chrono::DateTime<chrono::Utc>>,
    values: Vec<f64>,
}

impl ReadBack {
    /// Every statistic of every metric, in every length of period.
    pub(crate) async fn new(
        account: &Account,
        namespace: &str,
        metrics: &[Metric],
        span: Span,
    ) -> anyhow::Result<Self> {
        let mut queries: Vec<Query> = Vec::new();
        for metric in metrics {
            for statistic in Statistic::ALL {
                queries.extend(PERIODS.map(|period| (metric.clone(), statistic, period)));
            }
        }
        let start = clock::rfc3339(clock::floor(span.start, 60));
        let end = clock::rfc3339(span.end);
        let mut points = BTreeMap::new();
        for queries in queries.chunks(QUERIES_A_CALL) {
            let json: Vec<Value> = (0..)
                .zip(queries)
                .map(|(number, query)| metric_data_query(number, namespace, query))
                .collect();
            account.write("queries.json", serde_json::to_vec(&json)?)?;
            let queries_file = ["--metric-data-queries", "file://queries.json"];
            let times = ["--start-time", &start, "--end-time", &end];
            let ask = [&["get-metric-data"][..], &queries_file, &times].concat();
            let answer: MetricData = serde_json::from_value(account.aws_metrics(&ask).await?)?;
            for result in answer.metric_data_results {
                let number: Option<usize> = result.id[1..].parse().ok();
                let query = number.and_then(|number| queries.get(number));
                let query = query.context("get-metric-data answered what was not asked")?;
                let times = result.timestamps.iter().map(chrono::DateTime::timestamp);
                points.insert(query.clone(), times.zip(result.values).collect());
            }
        }
        Ok(Self(points))
    }

    pub(crate) fn points(&self, metric: &Metric, statistic: Statistic, period: i64) -> Points {
        let query = (metric.clone(), statistic, period);
        self.0.get(&query).cloned().unwrap_or_default()
    }
}

fn metric_data_query(number: usize, namespace: &str, query: &Query) -> Value {
    let (metric, statistic, period) = query;
    let dimensions = metric.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| json!({"Name": name, "Value": value}));
    let metric = json!({
        "Namespace": namespace,
        "MetricName": metric.name,
        "Dimensions": dimensions.collect::<Vec<_>>(),
    });
    let stat = json!({"Metric": metric, "Period": period, "Stat": statistic.name()});
    json!({"Id": format!("q{number}"), "MetricStat": stat})
}

/// The outcome of a comparison.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    pub(crate) numbers: usize,
    pub(crate) differences: Vec<String>,
}

/// All data points of a length of period.
pub(crate) fn compare(oracle: &Oracle, found: &ReadBack, period: i64) -> Comparison {
    let mut comparison = Comparison::default();
    for metric in &oracle.metrics() {
        for statistic in Statistic::ALL {
            let expected = oracle.points(metric, statistic, period);
            let found = found.points(metric, statistic, period);
            let about = format!("{} {}", described(metric), statistic.name());
            comparison.points(&about, &expected, &found);
        }
    }
    comparison
}

impl Comparison {
    fn points(&mut self, about: &str, expected: &Points, found: &Points) {
        let starts: BTreeSet<&i64> = expected.keys().chain(found.keys()).collect();
        for start in starts {
            self.numbers += 1;
            let (served, read) = (expected.get(start), found.get(start));
            if !agree(served, read) {
                let text = |number: Option<&f64>| number.map_or("nothing".into(), f64::to_string);
                self.differences.push(format!(
                    "{} {about}: served {}, read back {}",
                    clock::of_day(*start),
                    text(served),
                    text(read)
                ));
            }
        }
    }
}

fn agree(served: Option<&f64>, read: Option<&f64>) -> bool {
    match (served, read) {
        (Some(served), Some(read)) => (served - read).abs() <= served.abs() * ROUNDING,
        (None, None) => true,
        _ => false,
    }
}

/// Its name and dimensions, for a person.
pub(crate) fn described(metric: &Metric) -> String {
    let dimensions = metric.dimensions.iter();
    let dimensions = dimensions.map(|(name, value)| format!(" {name}={value}"));
    metric.name.clone() + &dimensions.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_that_differs_or_is_missing_or_is_too_much_is_told() {
        let points = |points: &[(i64, f64)]| points.iter().copied().collect::<Points>();
        let mut comparison = Comparison::default();
        let served = points(&[(0, 1.0), (10, 2.0), (20, 0.3)]);
        let read = points(&[(0, 1.0), (20, 0.1 + 0.2), (30, 4.0)]);
        comparison.points("M Sum", &served, &read);
        assert_eq!(comparison.numbers, 4);
        assert_eq!(
            comparison.differences,
            [
                "00:00:10 M Sum: served 2, read back nothing",
                "00:00:30 M Sum: served nothing, read back 4"
            ]
        );
        assert!(!agree(Some(&1.0), Some(&1.000_001)));
    }
}
