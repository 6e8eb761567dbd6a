//! For those who come from the guides' daemon: the same metrics, and a time in which both run.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use dcgm_to_cloudwatch::gpu::metric;
use suites::guides;
use testkit::doubles::cloudwatch::Datum;
use testkit::doubles::dcgm_exporter::{Field, Node};
use testkit::pipeline::{Pipeline, minute, scheduled};
use testkit::real::prometheus::{History, every};

/// Their alarms and graphs go on.
#[tokio::test]
async fn single_gpus_have_the_metrics_of_the_guides() -> Result<()> {
    for (series, name, _) in guides::METRICS {
        assert_eq!(
            metric::find(series).map(|metric| metric.name).as_deref(),
            Some(name)
        );
    }
    let published = published("gpu,cluster").await?;
    let of_gpus = published
        .iter()
        .filter(|datum| !datum.dimensions.is_empty());
    let ours: BTreeSet<_> = of_gpus
        .map(
            |Datum {
                 namespace,
                 name,
                 unit,
                 dimensions,
                 ..
             }| {
                let dimensions: BTreeSet<_> = dimensions.keys().map(String::as_str).collect();
                (namespace.as_str(), name.as_str(), unit.as_str(), dimensions)
            },
        )
        .collect();
    let namespace = guides::NAMESPACE.replace("${CLUSTER_NAME}", "p5en");
    let theirs = guides::METRICS
        .map(|(_, name, unit)| (namespace.as_str(), name, unit, guides::DIMENSIONS.into()));
    assert_eq!(ours, theirs.into());
    Ok(())
}

/// The daemon's metrics all have dimensions.
#[tokio::test]
async fn beside_the_daemon_nothing_counts_twice() -> Result<()> {
    let published = published("cluster").await?;
    assert_eq!(published.len(), guides::METRICS.len() + 1);
    for datum in published {
        assert!(datum.dimensions.is_empty(), "{datum:?}");
    }
    Ok(())
}

/// A minute of a cluster, as CloudWatch got it.
async fn published(dimension_sets: &str) -> Result<Vec<Datum>> {
    let start = minute(10);
    let mut history = History::new()?;
    let times = every(Duration::from_secs(15), start, minute(9));
    history.fleet(&[Node::p5en(0)], &Field::published(), &times, Node::load)?;
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline
        .function(&[("DIMENSION_SETS", dimension_sets)])
        .await?;
    function.invoke(scheduled(start)?).await?.reply()?;
    Ok(pipeline.cloudwatch.datums())
}
