//! The built `dcgm-to-cloudwatch` between a real Prometheus and a strict CloudWatch.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::doubles::amp_gateway;
use testkit::doubles::cloudwatch::Failure;
use testkit::doubles::dcgm_exporter::{Field, MigInstance, Node, Release, Series};
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::Outcome;
use testkit::oracle::{METRICS, Oracle, Published, Values, published};
use testkit::pipeline::{Pipeline, event, minute, rfc3339, scheduled};
use testkit::real::prometheus::{History, every};
use tokio::net::TcpListener;

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);

/// What CloudWatch should hold of these nodes' minute.
fn expected(nodes: &[Node], start: SystemTime) -> Published {
    let mut oracle = Oracle::new(start..start + MINUTE, MINUTE);
    oracle.add_load(nodes, &every(SCRAPE, start, start + MINUTE));
    oracle.expected()
}

/// Five minutes of load, the newest of which ended four minutes ago.
fn history(nodes: &[Node]) -> Result<(SystemTime, History)> {
    let first = minute(10);
    let mut history = History::new()?;
    let times = every(SCRAPE, first, first + 5 * MINUTE);
    history.fleet(nodes, &Field::published(), &times, Node::load)?;
    Ok((first, history))
}

async fn two_nodes() -> Result<(Vec<Node>, SystemTime, Pipeline)> {
    let nodes = vec![Node::p5en(0), Node::p5en(1)];
    let (first, history) = history(&nodes)?;
    Ok((nodes, first, Pipeline::start(history).await?))
}

#[tokio::test]
async fn a_scheduled_minute_of_96_series_takes_six_queries_and_one_request() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(
        published(&pipeline.cloudwatch.datums()),
        expected(&nodes, first)
    );
    assert_eq!(queries(&pipeline).len(), 6);
    // And what the rules say.
    assert_eq!(pipeline.amp.requests().len(), 6 + 1);
    assert_eq!(pipeline.cloudwatch.requests().len(), 1);
    assert_eq!(
        reply,
        json!({
            "mode": "scheduled", "dryRun": false,
            "periods": [{
                "start": rfc3339(first), "end": rfc3339(first + MINUTE),
                "gpus": 16, "series": 96, "samples": 384, "datums": 103,
            }],
            "dropped": {}, "requests": 1, "watermark": null, "lagSeconds": 60,
            "complete": true, "degraded": [], "absent": [],
            "detail": {"points": 0, "requests": 0, "bytes": 0, "refused": 0},
            "metrics": 103, "estimatedMonthlyUsd": 30.9,
            "cost": {"metricsUsd": 30.9, "detailUsd": 0.0},
        })
    );
    Ok(())
}

#[tokio::test]
async fn every_form_of_event_is_understood() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    // Settled so long that the newest minute of the history is what a run by hand publishes.
    let settle = minute(0).duration_since(first + MINUTE)?.as_secs();
    let function = pipeline
        .function(&[("SETTLE_SECONDS", &settle.to_string())])
        .await?;
    for payload in ["", "null", "{}", "  "] {
        let reply = function.invoke(payload).await?.reply()?;
        assert_eq!(reply["mode"], "manual", "{payload:?}");
        assert_eq!(reply["complete"], true, "{payload:?}");
    }
    let reply = function.invoke(event("manual", &[])?).await?.reply()?;
    assert_eq!(reply["mode"], "manual");
    let rule = event("rule", &[("time", rfc3339(first + 2 * MINUTE))])?;
    assert_eq!(function.invoke(rule).await?.reply()?["mode"], "scheduled");

    let (first, history) = history(&nodes)?;
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    let times = [
        ("start", rfc3339(first + SCRAPE)),
        ("end", rfc3339(first + MINUTE + SCRAPE)),
    ];
    let reply = function.invoke(event("backfill", &times)?).await?.reply()?;
    assert_eq!(reply["mode"], "backfill");
    let mut both = expected(&nodes, first);
    both.extend(expected(&nodes, first + MINUTE));
    assert_eq!(published(&pipeline.cloudwatch.datums()), both);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_tells_what_it_would_publish_and_publishes_nothing() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    let payload = json!({
        "start": rfc3339(first), "end": rfc3339(first + MINUTE), "dryRun": true,
    });
    let reply = function.invoke(payload.to_string()).await?.reply()?;
    assert_eq!(pipeline.cloudwatch.requests(), []);
    assert_eq!(
        (&reply["dryRun"], &reply["requests"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(
        (&reply["metrics"], &reply["estimatedMonthlyUsd"]),
        (&json!(103), &json!(30.9))
    );
    let datums = reply["datums"].as_array().context("datums")?;
    assert_eq!(datums.len(), 20);
    let all = expected(&nodes, first);
    for datum in datums {
        let dimensions = datum["Dimensions"].as_array().context("dimensions")?.iter();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let key = (
            text(&datum["MetricName"]),
            dimensions
                .map(|one| (text(&one["Name"]), text(&one["Value"])))
                .collect(),
            first,
        );
        let (unit, values) = all.get(&key).with_context(|| format!("{datum}"))?;
        assert_eq!(
            (&text(&datum["Unit"]), &datum["Timestamp"]),
            (unit, &json!(rfc3339(first)))
        );
        let (told, counts): (Vec<f64>, Vec<f64>) = values.iter().copied().unzip();
        assert_eq!(
            (&datum["Values"], &datum["Counts"]),
            (&json!(told), &json!(counts))
        );
    }
    Ok(())
}

/// An exporter of old, GPUs in MIG instances, and GPUs that several jobs share.
fn nodes_of_every_kind() -> [Node; 3] {
    let mut old = Node::p5en(0);
    old.release = Release::V4_5;
    let mut mig = Node::p5en(1);
    mig.mig = [1, 2]
        .map(|id| {
            (
                0,
                MigInstance {
                    profile: "1g.18gb".to_owned(),
                    id,
                },
            )
        })
        .to_vec();
    let mut shared = Node::p5en(2);
    shared.hpc_jobs = vec!["train".to_owned(), "evaluate".to_owned()];
    [old, mig, shared]
}

#[tokio::test]
async fn nodes_of_every_kind_are_published_under_their_instance() -> Result<()> {
    let nodes = nodes_of_every_kind();
    let (first, history) = history(&nodes)?;
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(
        published(&pipeline.cloudwatch.datums()),
        expected(&nodes, first)
    );
    let series: usize = nodes.iter().map(|node| node.series().len() * 6).sum();
    assert_eq!(reply["periods"][0]["series"], series);
    Ok(())
}

#[tokio::test]
async fn garbage_costs_its_own_samples_and_shows_in_dropped() -> Result<()> {
    let nodes = vec![Node::p5en(0), Node::p5en(1)];
    let first = minute(10);
    let times = every(SCRAPE, first, first + MINUTE);
    let garbage = [
        (f64::NAN, "notANumber"),
        (f64::INFINITY, "infinite"),
        (9_223_372_036_854_775_794.0, "dcgmBlank"),
        (140_737_488_355_328.0, "dcgmBlank"),
        (808_334_905.0, "outOfRange"),
    ];
    let spoilt = |node: &Node, series: &Series, field: Field, time: SystemTime| {
        let is_spoilt = node.index == 0 && field.name == METRICS[0].0;
        match garbage.get(series.gpu as usize) {
            Some((value, _)) if is_spoilt => *value,
            _ => node.load(series, field, time),
        }
    };
    let mut history = History::new()?;
    history.fleet(&nodes, &Field::published(), &times, spoilt)?;
    let utilisation = times.iter().map(|time| (*time, 50.0));
    let odd = [
        r#"gpu="",instance_id="i-0""#.to_owned(),
        format!(r#"gpu="0",instance_id="{}""#, "x".repeat(2_000)),
        r#"gpu="0",instance_id="i-é""#.to_owned(),
        r#"gpu="0",job="dcgm""#.to_owned(),
    ];
    for labels in &odd {
        history.series(METRICS[0].0, labels, utilisation.clone())?;
    }
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(
        reply["dropped"],
        json!({
            "notANumber": 4, "infinite": 4, "dcgmBlank": 8, "outOfRange": 4,
            "noGpu": 4, "noInstanceId": 4, "unpublishableLabel": 8,
        })
    );
    assert_eq!(reply["periods"][0]["samples"], 384 - 20);

    let mut all = expected(&nodes, first);
    let spoilt_gpus: Vec<String> = (0..garbage.len()).map(|gpu| gpu.to_string()).collect();
    all.retain(|(metric, dimensions, _), _| {
        let is_first = dimensions.get("InstanceId") == Some(&nodes[0].instance_id);
        let gpu = dimensions.get("GPU");
        let is_spoilt = is_first && gpu.is_some_and(|gpu| spoilt_gpus.contains(gpu));
        !(metric == METRICS[0].1 && (is_spoilt || dimensions.is_empty()))
    });
    let mut found = published(&pipeline.cloudwatch.datums());
    let rollup = (METRICS[0].1.to_owned(), BTreeMap::new(), first);
    let (_, values) = found.remove(&rollup).context("the cluster's utilisation")?;
    assert_eq!(
        values.iter().map(|(_, count)| count).sum::<f64>(),
        64.0 - 20.0
    );
    assert_eq!(found, all);
    Ok(())
}

/// A gauge of dcgm-exporter's own whose series differ by a label that is no dimension.
#[tokio::test]
async fn series_of_a_gpu_that_differ_by_another_label_all_count() -> Result<()> {
    let first = minute(10);
    let mut history = History::new()?;
    for (event, value) in [("sw_thermal", 2.0), ("hw_slowdown", 1.0), ("idle", 1.0)] {
        let labels = format!(r#"gpu="0",UUID="GPU-1",instance_id="i-0",clock_event="{event}""#);
        let times = every(SCRAPE, first, first + MINUTE);
        let samples = times.into_iter().map(|time| (time, value));
        history.series("DCGM_EXP_CLOCK_EVENTS_COUNT", &labels, samples)?;
    }
    let pipeline = Pipeline::start(history).await?;
    let fields = "DCGM_EXP_CLOCK_EVENTS_COUNT=GPUClockEvents:Count";
    let function = pipeline.function(&[("DCGM_FIELDS", fields)]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(
        (&reply["periods"][0]["samples"], &reply["dropped"]),
        (&json!(8), &json!({}))
    );
    let events: Vec<_> = published(&pipeline.cloudwatch.datums())
        .into_iter()
        .filter(|((metric, ..), _)| metric == "GPUClockEvents")
        .map(|(_, (_, values))| values)
        .collect();
    assert_eq!(events, [[(1.0, 4.0), (2.0, 4.0)], [(1.0, 4.0), (2.0, 4.0)]]);
    Ok(())
}

#[tokio::test]
async fn a_node_scraped_by_two_exporters_is_one_node() -> Result<()> {
    let first = minute(10);
    let node = Node::p5en(0);
    let mut history = History::new()?;
    for (name, offset) in [("ip-10-0-0-1", 0), ("0a1b2c3d4e5f", 5)] {
        let exporter = Node {
            hostname: name.to_owned(),
            ..node.clone()
        };
        let start = first + Duration::from_secs(offset);
        for field in Field::published() {
            for series in exporter.series() {
                let times = every(SCRAPE, start, first + MINUTE);
                let samples = times
                    .into_iter()
                    .map(|time| (time, node.load(&series, field, time)));
                history.series(field.name, &series.labels, samples)?;
            }
        }
    }
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    let period = &reply["periods"][0];
    assert_eq!(
        (&period["gpus"], &reply["metrics"]),
        (&json!(8), &json!(55))
    );
    assert_eq!(period["samples"], 2 * 8 * 6 * 4);
    let names: BTreeSet<_> = pipeline
        .cloudwatch
        .datums()
        .into_iter()
        .filter_map(|mut datum| datum.dimensions.remove("InstanceId"))
        .collect();
    assert_eq!(names, BTreeSet::from(["0a1b2c3d4e5f".to_owned()]));
    let log = function.log();
    let told = "8 GPUs report under two names at once, such as GPU-00000000-0000-4000-8000-000000000000 \
                as 0a1b2c3d4e5f and as ip-10-0-0-1";
    assert_eq!(log.matches(told).count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn a_placeholder_for_a_sensor_that_is_not_there_is_no_reading() -> Result<()> {
    let first = minute(10);
    let times = every(SCRAPE, first, first + MINUTE);
    for (field, real, unit) in [
        ("DCGM_FI_DEV_GPU_TEMP", 60.0, "None"),
        ("DCGM_FI_DEV_MEMORY_TEMP", 60.0, "None"),
        ("DCGM_FI_DEV_POWER_USAGE", 700.0, "None"),
        ("DCGM_FI_DEV_SM_CLOCK", 1980.0, "None"),
        ("DCGM_FI_DEV_MEM_CLOCK", 3201.0, "None"),
    ] {
        let mut history = History::new()?;
        for (gpu, value) in [(0, real), (1, 0.0)] {
            let labels = format!(r#"gpu="{gpu}",instance_id="i-0""#);
            history.series(field, &labels, times.iter().map(|time| (*time, value)))?;
        }
        let pipeline = Pipeline::start(history).await?;
        let fields = format!("{field}=Reading:{unit}");
        let function = pipeline.function(&[("DCGM_FIELDS", &fields)]).await?;
        let reply = function.invoke(scheduled(first)?).await?.reply()?;
        assert_eq!(reply["dropped"], json!({"outOfRange": 4}), "{field}");
        let key = ("Reading".to_owned(), BTreeMap::new(), first);
        let (_, rollup) = &published(&pipeline.cloudwatch.datums())[&key];
        assert_eq!(rollup, &[(real, 4.0)], "{field}");
    }
    Ok(())
}

/// Accepted by the function, and by a real Prometheus.
#[tokio::test]
async fn a_selector_takes_what_prometheus_takes() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    for selector in [
        r#"hostname=~"ip-10-0-0-[0-9]{1,3}[.].*""#,
        r"hostname=~'ip-10-0-0-[0-9]{1,3}[.].*'",
        r"hostname=~`ip-10-0-0-[0-9]{1,3}\..*`",
        r#"cluster='p5en', hostname!="", # all of ours }"#,
        "cluster=~`p5en|\n{}`,",
    ] {
        let function = pipeline.function(&[("SERIES_SELECTOR", selector)]).await?;
        let reply = function.invoke(scheduled(first)?).await?.reply();
        let reply = reply.with_context(|| selector.to_owned())?;
        assert_eq!(reply["periods"][0]["gpus"], 16, "{selector}");
    }
    Ok(())
}

/// AMP is built on Cortex, which reports a reply over its message limit as an internal error.
#[tokio::test]
async fn a_reply_over_a_limit_inside_of_amp_is_asked_for_in_parts() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    pipeline
        .amp
        .fail_next(1, amp_gateway::Failure::MessageTooLarge);
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["complete"], true);
    assert_eq!(
        published(&pipeline.cloudwatch.datums()),
        expected(&nodes, first)
    );
    let asked = queries(&pipeline);
    assert_eq!(asked.iter().filter(|query| is_by_gpu(query)).count(), 6 * 9);

    // Without the text, two in a row are a sign.
    let one_field = [
        ("PERIOD_SECONDS", "5"),
        ("DCGM_FIELDS", "DCGM_FI_DEV_GPU_UTIL"),
    ];
    let function = pipeline.function(&one_field).await?;
    let asked = queries(&pipeline).len();
    let failure = amp_gateway::Failure::Status(500);
    pipeline.amp.fail_next_of_fields(2, failure);
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["complete"], true);
    let shorter = |query: &&String| query.ends_with(",}[30s]");
    assert_eq!(
        queries(&pipeline)[asked..].iter().filter(shorter).count(),
        2
    );
    Ok(())
}

#[tokio::test]
async fn labels_of_a_hostile_node_are_values_and_never_anything_else() -> Result<()> {
    let first = minute(10);
    let readings = every(SCRAPE, first, first + MINUTE)
        .into_iter()
        .map(|time| (time, 50.0));
    let published = r#"i-0"} or vector(1e9) # "InstanceId","GPU""#;
    let control = "i-1\n{\"level\":\"ERROR\",\"message\":\"GPU on fire\"}";
    let mut history = History::new()?;
    for instance in [published, control] {
        let labels = format!("gpu=\"0\",instance_id={}", exposed(instance));
        history.series(METRICS[0].0, &labels, readings.clone())?;
    }
    let pipeline = Pipeline::start(history).await?;
    let log_all = [
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
        ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
    ];
    let function = pipeline.function(&log_all).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;

    assert_eq!(reply["dropped"], json!({"unpublishableLabel": 4}));
    let of_gpus: Vec<_> = pipeline
        .cloudwatch
        .datums()
        .into_iter()
        .map(|datum| datum.dimensions)
        .filter(|dimensions| !dimensions.is_empty())
        .collect();
    let as_it_came = [("GPU", "0"), ("InstanceId", published)]
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(of_gpus, [as_it_came.into()]);
    let asked: BTreeSet<_> = queries(&pipeline).into_iter().collect();
    let plain = METRICS.map(|(field, ..)| plain_query(field, 60));
    // And what the exporter has in place of the other five fields.
    let names = r#"count by(__name__)({__name__=~"DCGM_.+",})"#.to_owned();
    assert_eq!(asked, plain.into_iter().chain([names]).collect());
    for line in function.log().lines() {
        let line: Value = serde_json::from_str(line).context("a log line is no JSON")?;
        assert_ne!(line["level"], "ERROR");
    }
    Ok(())
}

/// A label's value as an exposition writes it.
fn exposed(value: &str) -> String {
    format!(
        "\"{}\"",
        value
            .replace('\\', r"\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    )
}

#[tokio::test]
async fn a_period_without_samples_publishes_nothing() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    let reply = function
        .invoke(scheduled(first - 10 * MINUTE)?)
        .await?
        .reply()?;
    assert_eq!(pipeline.cloudwatch.requests(), []);
    assert_eq!(reply["periods"][0]["gpus"], 0);
    assert_eq!(
        (&reply["complete"], &reply["metrics"]),
        (&json!(true), &json!(0))
    );
    Ok(())
}

#[tokio::test]
async fn many_metrics_and_many_values_are_split_not_lost() -> Result<()> {
    // 125 nodes of 8 GPUs and one field: 1,000 metrics, their rollup and GPUsReporting; 4,000
    // distinct values of power in the rollup.
    let nodes: Vec<Node> = (0..125).map(Node::p5en).collect();
    let first = minute(10);
    let power = Field::named("DCGM_FI_DEV_POWER_USAGE").context("power")?;
    let times = every(SCRAPE, first, first + MINUTE);
    let mut history = History::new()?;
    history.fleet(&nodes, &[power], &times, |node, series, _, time| {
        let scrape = time.duration_since(first).unwrap_or_default().as_secs() / 15;
        f64::from(node.index * 32 + series.gpu * 4) + scrape as f64 + 0.5
    })?;
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[("DCGM_FIELDS", power.name)]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["metrics"], 1_002);
    // 1,000 + 1 + 4,000 / 150 rounded up
    assert_eq!(reply["periods"][0]["datums"], 1_028);
    let sizes: Vec<usize> = pipeline
        .cloudwatch
        .requests()
        .iter()
        .map(|request| request.datums)
        .collect();
    assert_eq!(sizes.iter().sum::<usize>(), 1_028);
    assert_eq!(sizes.len(), 2);
    let all = published(&pipeline.cloudwatch.datums());
    let (_, rollup) = &all[&("GPUPowerUsage".to_owned(), BTreeMap::new(), first)];
    let wanted: Values = (0..4_000)
        .map(|value| (f64::from(value) + 0.5, 1.0))
        .collect();
    assert_eq!(rollup, &wanted);
    Ok(())
}

#[tokio::test]
async fn over_the_cap_the_finest_dimension_set_is_left_out_and_told() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    let changes = [
        ("MAX_METRICS", "102"),
        ("DIMENSION_SETS", "gpu,instance,cluster"),
    ];
    let function = pipeline.function(&changes).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["degraded"], json!(["gpu"]));
    assert_eq!(reply["metrics"], 6 * (nodes.len() + 1) + 1);
    assert!(function.log().contains("MAX_METRICS"), "{}", function.log());
    let dimensions: BTreeSet<usize> = pipeline
        .cloudwatch
        .datums()
        .iter()
        .map(|datum| datum.dimensions.len())
        .collect();
    assert_eq!(dimensions, BTreeSet::from([0, 1]));
    Ok(())
}

#[tokio::test]
async fn short_periods_are_published_at_high_resolution() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[("PERIOD_SECONDS", "30")]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["periods"].as_array().map(Vec::len), Some(2));
    let datums = pipeline.cloudwatch.datums();
    assert!(datums.iter().all(|datum| datum.storage_resolution == 1));
    assert_eq!(datums.len(), 2 * 103);
    Ok(())
}

#[tokio::test]
async fn a_refused_datum_costs_itself_and_not_its_batch() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    let is_refused = |name: &str, gpu: Option<&String>| {
        name == "GPUTemperature" && gpu.is_some_and(|gpu| gpu == "3")
    };
    pipeline.cloudwatch.fail_when(
        move |datum| is_refused(&datum.name, datum.dimensions.get("GPU")),
        Failure::InvalidParameterValue,
    );
    let function = pipeline.function(&[]).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["dropped"], json!({"refusedByCloudWatch": 8}));
    // Halved, each of the two is found among 103 datums by two requests for each of seven steps.
    let requests = pipeline.cloudwatch.requests().len();
    assert!(requests <= 1 + 2 * 2 * 7, "{requests}");
    let mut wanted = expected(&nodes, first);
    wanted.retain(|(metric, dimensions, _), _| !is_refused(metric, dimensions.get("GPU")));
    assert_eq!(published(&pipeline.cloudwatch.datums()), wanted);
    Ok(())
}

#[tokio::test]
async fn passing_failures_of_amp_are_waited_out() -> Result<()> {
    let (nodes, first, pipeline) = two_nodes().await?;
    use amp_gateway::Failure::{CutMidReply, Reset, Status};
    for failure in [Status(429), Status(500), Status(503), Reset, CutMidReply] {
        pipeline.amp.fail_next(2, failure);
    }
    let function = pipeline.function(&[]).await?;
    let outcome = function
        .invoke_with_timeout(scheduled(first)?, MINUTE)
        .await?;
    assert_eq!(outcome.reply()?["complete"], true);
    assert_eq!(pipeline.amp.requests().len(), 6 + 1 + 10);
    assert_eq!(
        published(&pipeline.cloudwatch.datums()),
        expected(&nodes, first)
    );
    Ok(())
}

#[tokio::test]
async fn each_failure_of_amp_is_told_by_its_type() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    use amp_gateway::Failure::{Garbage, Hang, NotAuthorized, Status};
    let rows = [
        (Status(429), "Throttled", "429", 4),
        (Status(503), "AmpUnavailable", "503", 4),
        (Hang, "AmpUnavailable", "no answer in time", 4),
        (Garbage, "AmpUnavailable", "can't be read", 60),
        (Status(400), "AmpRejected", "parse error", 60),
        (Status(413), "AmpRejected", "aggregated data size limit", 60),
        (Status(422), "AmpRejected", "too many samples", 60),
        (
            NotAuthorized,
            "AccessDenied",
            "aps:QueryMetrics on workspace ws-",
            60,
        ),
    ];
    let function = pipeline.function(&[]).await?;
    for (failure, error_type, part, seconds) in rows {
        pipeline.amp.fail_next(10_000, failure.clone());
        let outcome = function
            .invoke_with_timeout(scheduled(first)?, Duration::from_secs(seconds))
            .await?;
        let (told, message) = outcome.error().with_context(|| format!("{failure:?}"))?;
        assert_eq!(told, error_type, "{failure:?}: {message}");
        assert!(message.contains(part), "{failure:?}: {message}");
        pipeline.amp.recover();
    }
    assert_eq!(pipeline.cloudwatch.requests(), []);
    assert_eq!(
        function.invoke(scheduled(first)?).await?.reply()?["complete"],
        true
    );
    Ok(())
}

/// The queries AMP was asked for metrics, not for what the rules say.
fn queries(pipeline: &Pipeline) -> Vec<String> {
    let requests = pipeline.amp.requests();
    let all = requests.iter().map(|request| request.parameter("query"));
    let of_metrics = all.filter(|query| !query.contains("cluster:"));
    of_metrics.map(str::to_owned).collect()
}

/// The query for a field under all of its names.
fn plain_query(field: &str, seconds: u64) -> String {
    let field = Field::named(field).expect("the exporter knows the six fields");
    let (older, newer) = (field.name, Release::V4_9.exported(field).name);
    format!("{{__name__=~\"{older}|{newer}\",}}[{seconds}s]")
}

fn is_by_gpu(query: &str) -> bool {
    query.contains(",gpu=\"") || query.contains(",gpu!~\"")
}

#[tokio::test]
async fn a_range_that_is_too_much_for_amp_is_halved() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[("PERIOD_SECONDS", "5")]).await?;
    pipeline.amp.fail_next(1, amp_gateway::Failure::Status(422));
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["complete"], true);
    assert_eq!(reply["periods"].as_array().map(Vec::len), Some(12));
    let samples: u64 = (0..12)
        .filter_map(|index| reply["periods"][index]["samples"].as_u64())
        .sum();
    assert_eq!(samples, 2 * 8 * 6 * 4);
    let mut queries = queries(&pipeline);
    queries.retain(|query| !query.ends_with(",}[60s]"));
    assert_eq!(queries.len(), 2 * 6);
    assert!(queries.iter().all(|query| query.ends_with(",}[30s]")));
    Ok(())
}

#[tokio::test]
async fn a_period_that_is_too_much_for_amp_is_asked_for_by_gpu() -> Result<()> {
    let nodes = nodes_of_every_kind();
    let (first, history) = history(&nodes)?;
    let pipeline = Pipeline::start(history).await?;
    let function = pipeline.function(&[]).await?;
    pipeline.amp.fail_next(1, amp_gateway::Failure::Status(413));
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!(reply["complete"], true);
    assert_eq!(
        published(&pipeline.cloudwatch.datums()),
        expected(&nodes, first)
    );
    let asked = queries(&pipeline);
    assert_eq!(asked.iter().filter(|query| is_by_gpu(query)).count(), 6 * 9);
    // The next run does not try the whole again.
    function.invoke(scheduled(first + MINUTE)?).await?.reply()?;
    let next = &queries(&pipeline)[asked.len()..];
    assert_eq!(next.len(), 6 * 9);
    assert!(next.iter().all(|query| is_by_gpu(query)));
    Ok(())
}

/// An hour of six nodes' one field: 340 kB of JSON, 12,000 readings.
async fn an_hour() -> Result<(Vec<Node>, SystemTime, Pipeline)> {
    let nodes: Vec<Node> = (0..6).map(Node::p5en).collect();
    let hour = minute(0).duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 3600 - 1;
    let first = SystemTime::UNIX_EPOCH + Duration::from_secs(hour * 3600);
    let times = every(SCRAPE, first, first + 60 * MINUTE);
    let mut history = History::new()?;
    history.fleet(&nodes, &Field::published(), &times, Node::load)?;
    Ok((nodes, first, Pipeline::start(history).await?))
}

#[tokio::test]
async fn a_reply_too_large_for_the_function_s_memory_is_asked_for_by_gpu() -> Result<()> {
    let (nodes, first, pipeline) = an_hour().await?;
    // A megabyte's share for a reply is 256 KiB.
    let function = pipeline
        .function(&[
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1"),
            ("PERIOD_SECONDS", "3600"),
            ("DCGM_FIELDS", "DCGM_FI_DEV_GPU_UTIL"),
        ])
        .await?;
    let reply = function.invoke(hourly(first)?).await?.reply()?;
    assert_eq!(reply["periods"][0]["samples"], 6 * 8 * 240);
    assert_eq!(reply["periods"][0]["gpus"], 6 * 8);
    let util = Field::named("DCGM_FI_DEV_GPU_UTIL").context("a known field")?;
    let node = &nodes[5];
    let total: f64 = every(SCRAPE, first, first + 60 * MINUTE)
        .into_iter()
        .map(|time| node.load(&node.series()[7], util, time))
        .sum();
    let dimensions = BTreeMap::from([
        ("InstanceId".to_owned(), node.instance_id.clone()),
        ("GPU".to_owned(), "7".to_owned()),
    ]);
    let (_, values) = &published(&pipeline.cloudwatch.datums())
        [&("GPUUtilization".to_owned(), dimensions, first)];
    let sum: f64 = values.iter().map(|(value, count)| value * count).sum();
    assert!((sum - total).abs() < 1e-6, "{sum} is not {total}");
    let asked = queries(&pipeline);
    assert_eq!(asked[0], plain_query("DCGM_FI_DEV_GPU_UTIL", 3_600));
    assert_eq!(asked.len(), 1 + 9);
    Ok(())
}

#[tokio::test]
async fn a_period_too_large_for_the_function_s_memory_is_told_with_the_remedy() -> Result<()> {
    let (_, first, pipeline) = an_hour().await?;
    let function = pipeline
        .function(&[
            ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "1"),
            ("PERIOD_SECONDS", "3600"),
        ])
        .await?;
    let (error_type, message) = function.invoke(hourly(first)?).await?.error()?;
    assert_eq!(error_type, "AmpRejected");
    assert!(
        message.contains("give the function more memory"),
        "{message}"
    );
    assert_eq!(pipeline.cloudwatch.requests(), []);
    Ok(())
}

/// The run that publishes the hour from `first`.
fn hourly(first: SystemTime) -> Result<Vec<u8>> {
    let time = rfc3339(first + 61 * MINUTE);
    event("scheduler", &[("time", time)])
}

#[tokio::test]
async fn each_failure_of_cloudwatch_is_told_by_its_type() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    let rows = [
        (
            1,
            Failure::AccessDenied,
            "AccessDenied",
            "cloudwatch:PutMetricData for namespace",
        ),
        (1, Failure::ExpiredToken, "PublishFailed", "ExpiredToken"),
        (5, Failure::Throttling, "Throttled", "Rate exceeded"),
        (
            5,
            Failure::InternalServiceError,
            "PublishFailed",
            "InternalService",
        ),
    ];
    for (tries, failure, error_type, part) in rows {
        let before = pipeline.cloudwatch.requests().len();
        pipeline.cloudwatch.fail_next(tries, failure);
        let (told, message) = function.invoke(scheduled(first)?).await?.error()?;
        assert_eq!(told, error_type, "{failure:?}: {message}");
        assert!(message.contains(part), "{failure:?}: {message}");
        assert_eq!(
            pipeline.cloudwatch.requests().len() - before,
            tries,
            "{failure:?}"
        );
    }
    assert_eq!(pipeline.cloudwatch.datums(), []);
    Ok(())
}

#[tokio::test]
async fn events_of_no_accepted_form_are_refused_by_name() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let function = pipeline.function(&[]).await?;
    let rows = [
        (event("yesterday", &[])?, "start \"yesterday\""),
        (event("backfill-too-old", &[])?, "over 14 days ago"),
        (event("another-service", &[])?, "unknown field `Records`"),
        (
            event("scheduler", &[("time", "soon".to_owned())])?,
            "EventBridge",
        ),
        (b"[1]".to_vec(), "no JSON object"),
    ];
    for (payload, part) in rows {
        let (error_type, message) = function.invoke(payload).await?.error()?;
        assert_eq!(error_type, "InvalidEvent", "{message}");
        assert!(
            message.contains(part) && message.contains("accepted are"),
            "{message}"
        );
    }
    assert_eq!(pipeline.amp.requests().len(), 0);
    assert_eq!(
        function.invoke(scheduled(first)?).await?.reply()?["complete"],
        true
    );
    Ok(())
}

#[tokio::test]
async fn a_bad_environment_is_told_whole_at_the_start() -> Result<()> {
    let (_, _, pipeline) = two_nodes().await?;
    let changes = [
        ("DCGM_FIELDS", ",,"),
        ("PERIOD_SECONDS", "7"),
        ("CLUSTER_NAME", ""),
    ];
    let function = pipeline.function(&changes).await?;
    let Outcome::InitError {
        error_type,
        message,
    } = function.invoke("{}").await?
    else {
        anyhow::bail!("the function started");
    };
    assert_eq!(error_type, "InvalidConfiguration");
    for part in [
        "DCGM_FIELDS=\",,\": ",
        "PERIOD_SECONDS=\"7\": ",
        "CLUSTER_NAME is not set",
    ] {
        assert!(message.contains(part), "{message}");
        assert!(function.log().contains(part), "{}", function.log());
    }
    Ok(())
}

/// A proxy that answers nothing, and counts who came.
struct Proxy {
    url: String,
    visits: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let visits = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&visits);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                counter.fetch_add(1, Ordering::Relaxed);
                drop(connection);
            }
        });
        Ok(Self { url, visits })
    }

    /// Variables that make every request go by the proxy, in a process that obeys them.
    fn environment(&self) -> [(&'static str, &str); 4] {
        ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].map(|name| (name, &*self.url))
    }

    fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

#[tokio::test]
async fn what_stays_on_this_machine_is_never_proxied() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let proxy = Proxy::start().await?;
    let mut environment = proxy.environment().to_vec();
    let function = pipeline.function(&environment).await?;
    let reply = function.invoke(scheduled(first)?).await?.reply()?;
    assert_eq!((&reply["complete"], proxy.visits()), (&json!(true), 0));

    environment.push(("PERIOD_SECONDS", "7"));
    let function = pipeline.function(&environment).await?;
    let outcome = function.invoke("{}").await?;
    assert!(
        matches!(&outcome, Outcome::InitError { error_type, .. } if error_type == "InvalidConfiguration"),
        "{outcome:?}"
    );
    assert_eq!(proxy.visits(), 0);
    Ok(())
}

/// What goes over TLS to AWS goes by the proxy that the operator names.
#[tokio::test]
async fn what_leaves_this_machine_goes_by_the_proxy() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let proxy = Proxy::start().await?;
    let url = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1";
    let environment = [("HTTPS_PROXY", &*proxy.url), ("AMP_WORKSPACE_URL", url)];
    let function = pipeline.function(&environment).await?;
    let outcome = function.invoke_with_timeout(scheduled(first)?, Duration::from_secs(3));
    let (error_type, _) = outcome.await?.error()?;
    assert_eq!(error_type, "AmpUnavailable");
    assert!(proxy.visits() > 0);

    let environment = [
        ("HTTPS_PROXY", "proxy:secret@[::"),
        ("SETTLE_SECONDS", "60"),
    ];
    let function = pipeline.function(&environment).await?;
    assert_eq!(
        function.invoke(scheduled(first)?).await?.reply()?["complete"],
        true
    );
    let log = function.log();
    assert!(
        log.contains("HTTPS_PROXY is not used") && !log.contains("secret"),
        "{log}"
    );
    Ok(())
}

#[tokio::test]
async fn no_secret_reaches_a_log_line_or_an_error_at_any_level() -> Result<()> {
    let (_, first, pipeline) = two_nodes().await?;
    let trace = [
        ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
        ("RUST_LOG", "trace"),
        ("AWS_LAMBDA_LOG_FORMAT", "JSON"),
    ];
    let function = pipeline.function(&trace).await?;
    let mut told = String::new();
    use amp_gateway::Failure::{Garbage, Hang, NotAuthorized, Reset, Status};
    let failures = [
        None,
        Some(Status(400)),
        Some(Status(500)),
        Some(Status(403)),
        Some(NotAuthorized),
        Some(Garbage),
        Some(Reset),
        Some(Hang),
    ];
    for failure in failures {
        pipeline.amp.recover();
        if let Some(failure) = failure {
            pipeline.amp.fail_next(1_000, failure);
        }
        let outcome = function
            .invoke_with_timeout(scheduled(first)?, Duration::from_secs(4))
            .await?;
        told += &format!("{outcome:?}\n");
    }
    pipeline.amp.recover();
    // Signed too long ago: AWS's answer repeats the canonical request, session token included.
    pipeline.amp.set_clock_fast(Duration::from_secs(600));
    told += &format!("{:?}\n", function.invoke(scheduled(first)?).await?);
    pipeline.amp.set_clock_fast(Duration::ZERO);
    for failure in [Failure::AccessDenied, Failure::ExpiredToken] {
        pipeline.cloudwatch.fail_next(1, failure);
        told += &format!("{:?}\n", function.invoke(scheduled(first)?).await?);
    }
    pipeline.cloudwatch.fail_when(
        |datum| datum.name == "GPUTemperature",
        Failure::InvalidParameterValue,
    );
    told += &format!("{:?}\n", function.invoke(scheduled(first)?).await?);
    told += &function.log();

    assert!(
        told.contains("\"level\":\"DEBUG\""),
        "nothing below INFO was logged:\n{told}"
    );
    let Credentials {
        secret_access_key,
        session_token,
        ..
    } = Credentials::example();
    let session_token = session_token.context("the example has a session token")?;
    for secret in [
        secret_access_key.as_str(),
        session_token.as_str(),
        "AWS4-HMAC-SHA256",
        "Signature=",
        "x-amz-security-token",
        "SignedHeaders",
    ] {
        assert!(
            !told.to_lowercase().contains(&secret.to_lowercase()),
            "{secret}"
        );
    }
    Ok(())
}
