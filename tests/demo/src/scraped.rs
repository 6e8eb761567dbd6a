//! When Prometheus scraped whom: what it stored itself, asked without the function.

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use testkit::real::prometheus::Prometheus;
use tokio::time::{sleep, timeout};

/// A field that every release calls the same, never loaded as history, never published, never broken.
const CLOCK: &str = "DCGM_FI_PROF_PCIE_TX_BYTES";

/// How long Prometheus may let us wait for a scrape that is due.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each node's scrapes, by its instance id: their times in milliseconds, rising.
pub(crate) type ScrapeTimes = BTreeMap<String, Vec<i64>>;

#[derive(Deserialize)]
struct Answer {
    data: Matrix,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Every scrape that is stored.
pub(crate) async fn times(prometheus: &Prometheus) -> anyhow::Result<ScrapeTimes> {
    let url = prometheus.url() + "/api/v1/query";
    let request = reqwest::Client::new()
        .post(url)
        .header("content-type", "application/x-www-form-urlencoded")
        .body(format!("query={CLOCK}{{gpu=\"0\"}}[30m]"));
    let reply = request.send().await?.error_for_status()?.text().await?;
    let answer: Answer = serde_json::from_str(&reply).context("prometheus's answer")?;
    let times = answer.data.result.into_iter().map(|mut series| {
        let node = series.metric.remove("instance_id").unwrap_or_default();
        let millis = |(seconds, _): (f64, String)| (seconds * 1000.0).round() as i64;
        (node, series.values.into_iter().map(millis).collect())
    });
    Ok(times.collect())
}

/// Awaits a scrape of every one of `nodes` at `from` or later. A node's scrapes come one after the
/// other, so that by then all before `from` are stored too.
pub(crate) async fn all_since(
    prometheus: &Prometheus,
    nodes: usize,
    from_ms: i64,
) -> anyhow::Result<ScrapeTimes> {
    let complete = async {
        loop {
            let times = times(prometheus).await?;
            let reached = |times: &Vec<i64>| times.last().is_some_and(|last| *last >= from_ms);
            if times.len() == nodes && times.values().all(reached) {
                return Ok(times);
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    match timeout(PATIENCE, complete).await {
        Ok(times) => times,
        Err(_) => bail!(
            "prometheus has not scraped every node after {PATIENCE:?}; it logged:\n{}",
            prometheus.log()
        ),
    }
}
