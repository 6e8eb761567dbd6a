//! Fleets of exporters of every release, through the built function: one metric in one unit, whatever the
//! exporters call it.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::json;
use testkit::doubles::dcgm_exporter::{Field, Node, Release};
use testkit::oracle::{GPUS_REPORTING, METRICS, Oracle, Published, published};
use testkit::pipeline::{Pipeline, minute, scheduled};
use testkit::real::prometheus::{History, every};

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
const NODES: u32 = 16;

/// What CloudWatch has to hold of the nodes' scrapes in a minute.
fn expected(
    nodes: &[Node],
    start: SystemTime,
    times: impl Fn(&Node) -> Vec<SystemTime>,
) -> Published {
    let mut oracle = Oracle::new(start..start + MINUTE, MINUTE);
    for node in nodes {
        oracle.add_load(std::slice::from_ref(node), &times(node));
    }
    oracle.expected()
}

fn fleet(release: impl Fn(u32) -> Release) -> Vec<Node> {
    let node = |index| Node {
        release: release(index),
        ..Node::p5en(index)
    };
    (0..NODES).map(node).collect()
}

/// Half of the nodes are new, then the others are upgraded in the middle of a minute, one exporter is
/// restarted, and one shows the old names beside the new ones.
#[tokio::test]
async fn a_rolling_upgrade_changes_no_metric() -> Result<()> {
    let first = minute(10);
    let minutes: Vec<_> = (0..5).map(|index| first + index * MINUTE).collect();
    let upgrade = minutes[2] + 2 * SCRAPE;
    let restart = minutes[3] + SCRAPE;
    let both = minutes[4];
    let is_old = |index: u32| index < NODES / 2;
    let before = fleet(|index| match index {
        0..4 => Release::V4_5,
        4..8 => Release::V4_8_2,
        _ => Release::V4_9,
    });
    let after = fleet(|_| Release::V4_9);
    let scrapes = |node: &Node, start: SystemTime| {
        let mut times = every(SCRAPE, start, start + MINUTE);
        // An exporter that starts misses a scrape.
        times.retain(|time| {
            !(*time == upgrade && is_old(node.index) || *time == restart && node.index == 11)
        });
        times
    };
    let mut history = History::new()?;
    let fields = Field::published();
    for (old, new) in before.iter().zip(&after) {
        let times: Vec<_> = minutes.iter().flat_map(|one| scrapes(old, *one)).collect();
        let at = times.partition_point(|time| *time < upgrade);
        let (earlier, later) = times.split_at(at);
        history.fleet(std::slice::from_ref(old), &fields, earlier, Node::load)?;
        history.fleet(std::slice::from_ref(new), &fields, later, Node::load)?;
    }
    let old_names = Node {
        release: Release::V4_8_3,
        ..after[5].clone()
    };
    history.fleet(
        &[old_names],
        &fields,
        &every(SCRAPE, both, both + MINUTE),
        Node::load,
    )?;

    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    for start in minutes {
        let asked = pipeline.amp.requests().len();
        let reply = function.invoke(scheduled(start)?).await?.reply()?;
        assert_eq!(
            (&reply["complete"], &reply["absent"]),
            (&json!(true), &json!([]))
        );
        // One for each metric, and one for what the rules say.
        assert_eq!(pipeline.amp.requests().len() - asked, METRICS.len() + 1);
        let mut held = published(&pipeline.cloudwatch.datums());
        held.retain(|(.., time), _| *time == start);
        assert_eq!(held, expected(&after, start, |node| scrapes(node, start)));
    }
    Ok(())
}

/// Series of one GPU, with a value for each scrape of a minute.
fn add(
    history: &mut History,
    name: &str,
    labels: &str,
    start: SystemTime,
    values: &[f64],
) -> Result<()> {
    let times = every(SCRAPE, start, start + values.len() as u32 * SCRAPE);
    history.series(name, labels, times.into_iter().zip(values.iter().copied()))
}

fn labels(node: u32) -> String {
    format!(r#"gpu="0",UUID="GPU-{node}",instance_id="i-{node}",instance="10.0.0.{node}:9400""#)
}

/// The values of a metric in the cluster's roll-up.
fn rollup(pipeline: &Pipeline, metric: &str) -> Vec<(f64, f64)> {
    let datums = pipeline.cloudwatch.datums();
    let of_metric = datums
        .iter()
        .filter(|datum| datum.name == metric && datum.dimensions.is_empty());
    of_metric.flat_map(|datum| datum.values.clone()).collect()
}

/// 1 is one per cent under DCGM 4.6 and all of the GPU under 4.7.
#[tokio::test]
async fn what_else_a_node_exports_tells_a_ratio_from_per_cent() -> Result<()> {
    let first = minute(10);
    let mut history = History::new()?;
    for (node, memory, used) in [
        (1, "DCGM_FI_DEV_FB_USED", 80_000.0),
        (2, "DCGM_FI_DEV_FB_USED_BYTES", 8e10),
    ] {
        add(&mut history, memory, &labels(node), first, &[used; 4])?;
        let ratio = "DCGM_FI_DEV_GPU_UTIL_RATIO";
        add(&mut history, ratio, &labels(node), first, &[1.0; 4])?;
    }
    let pipeline = Pipeline::start(history).await?;
    for fields in ["DCGM_FI_DEV_GPU_UTIL", "GPUUtilization,GPUMemoryUsed"] {
        let function = pipeline.function(&[("DCGM_FIELDS", fields)]).await?;
        function.invoke(scheduled(first)?).await?.reply()?;
    }
    let values = rollup(&pipeline, "GPUUtilization");
    assert_eq!(values, [(1.0, 4.0), (100.0, 4.0), (1.0, 4.0), (100.0, 4.0)]);
    Ok(())
}

#[tokio::test]
async fn a_field_is_known_by_every_name() -> Result<()> {
    let first = minute(10);
    let nodes = fleet(|index| [Release::V4_8_3, Release::V4_9][index as usize % 2]);
    let mut history = History::new()?;
    let times = every(SCRAPE, first, first + MINUTE);
    history.fleet(&nodes, &Field::published(), &times, Node::load)?;
    let pipeline = Pipeline::start(history).await?;
    let mut runs = Vec::new();
    for fields in [
        "DCGM_FI_DEV_GPU_TEMP,DCGM_FI_DEV_FB_USED",
        "DCGM_FI_DEV_GPU_TEMP_CELSIUS,DCGM_FI_DEV_FB_USED_BYTES",
        "GPUTemperature,GPUMemoryUsed",
    ] {
        let before = pipeline.cloudwatch.datums().len();
        let function = pipeline.function(&[("DCGM_FIELDS", fields)]).await?;
        let reply = function.invoke(scheduled(first)?).await?.reply()?;
        assert_eq!(reply["periods"][0]["gpus"], 8 * NODES);
        runs.push(published(&pipeline.cloudwatch.datums()[before..]));
    }
    let mut wanted = expected(&nodes, first, |_| times.clone());
    wanted.retain(|(metric, ..), _| {
        ["GPUTemperature", "GPUMemoryUsed", GPUS_REPORTING].contains(&metric.as_str())
    });
    assert_eq!(runs, [wanted.clone(), wanted.clone(), wanted]);
    Ok(())
}

#[tokio::test]
async fn a_metric_that_no_gpu_has_is_told_with_the_names_that_there_are() -> Result<()> {
    let first = minute(10);
    let mut history = History::new()?;
    for name in ["DCGM_FI_DEV_GPU_TEMP", "DCGM_FI_DEV_HBM_TEMP_KELVIN"] {
        add(&mut history, name, &labels(1), first, &[60.0; 40])?;
    }
    let pipeline = Pipeline::start(history).await?;
    let fields = "GPUTemperature,GPUMemoryTemperature";
    let function = pipeline.function(&[("DCGM_FIELDS", fields)]).await?;
    for start in [first, first + MINUTE] {
        let reply = function.invoke(scheduled(start)?).await?.reply()?;
        assert_eq!(reply["absent"], json!(["GPUMemoryTemperature"]));
    }
    let told = "no series of GPUMemoryTemperature: is the field in the exporter's counters file? Its \
                other fields: DCGM_FI_DEV_HBM_TEMP_KELVIN";
    let log = function.log();
    assert_eq!(log.matches(told).count(), 1, "{log}");

    // Where no GPU reports at all, no metric is missing.
    let reply = function.invoke(scheduled(first - 10 * MINUTE)?).await?;
    assert_eq!(reply.reply()?["absent"], json!([]));
    Ok(())
}

#[tokio::test]
async fn counters_are_published_as_what_was_counted_in_the_period() -> Result<()> {
    let first = minute(10);
    let before = first - MINUTE;
    let mut history = History::new()?;
    let mut series = |name: &str, more: &str, from, values: &[f64]| {
        add(&mut history, name, &(labels(1) + more), from, values)
    };
    // What shows that the GPU was there before.
    series("DCGM_FI_DEV_GPU_TEMP", "", before, &[60.0; 8])?;
    // 5 in the minute, 2 of them after a restart; the exporter is upgraded in between.
    let replays = [10.0, 10.0, 10.0, 10.0, 12.0, 13.0];
    series("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "", before, &replays)?;
    series(
        "DCGM_FI_DEV_PCIE_REPLAY_TOTAL",
        "",
        first + 2 * SCRAPE,
        &[0.0, 2.0],
    )?;
    // Appears with its first event.
    series(
        "DCGM_FI_DEV_ECC_DBE_VOL_TOTAL",
        "",
        first + SCRAPE,
        &[1.0, 1.0, 3.0],
    )?;
    // Kinds of errors add up, and so do links.
    for link in ["0", "1"] {
        let more = format!(",nvlink=\"{link}\"");
        let errors = [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0];
        series(
            "DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL",
            &more,
            before,
            &errors,
        )?;
        series(
            "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
            &more,
            before,
            &errors,
        )?;
    }
    // 700 W, in millijoules.
    let energy: Vec<f64> = (0..8)
        .map(|scrape| f64::from(scrape) * 10_500_000.0)
        .collect();
    series("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "", before, &energy)?;
    // 15 of 60 seconds, in nanoseconds.
    let throttled = [0.0, 0.0, 0.0, 0.0, 0.0, 15e9, 15e9, 15e9];
    series(
        "DCGM_FI_DEV_CLOCKS_EVENT_REASON_SW_THERM_SLOWDOWN_NS",
        "",
        before,
        &throttled,
    )?;

    let pipeline = Pipeline::start(history).await?;
    let fields = "GPUPCIeReplays,GPUECCDoubleBitErrors,GPUNVLinkErrors,GPUEnergy,GPUThrottled";
    let function = pipeline.function(&[("DCGM_FIELDS", fields)]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["absent"], json!([]));
    for (metric, value, unit) in [
        ("GPUPCIeReplays", 5.0, "Count"),
        ("GPUECCDoubleBitErrors", 3.0, "Count"),
        ("GPUNVLinkErrors", 4.0, "Count"),
        ("GPUEnergy", 42_000.0, "None"),
        ("GPUThrottled", 25.0, "Percent"),
    ] {
        assert_eq!(rollup(&pipeline, metric), [(value, 1.0)], "{metric}");
        let datums = pipeline.cloudwatch.datums();
        let datum = datums.iter().find(|datum| datum.name == metric);
        assert_eq!(datum.context(metric)?.unit, unit);
    }
    Ok(())
}
