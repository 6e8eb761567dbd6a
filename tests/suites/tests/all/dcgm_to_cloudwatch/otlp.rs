//! Each GPU's samples by OTLP: the built function between a real Prometheus and the strict endpoint, and the
//! stack's alarms on what arrives there.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::doubles::cloudwatch::{CloudWatch, Failure, OtlpFailure, SeriesKey};
use testkit::doubles::dcgm_exporter::{Field, MigInstance, Node};
use testkit::doubles::parameter_store::ParameterStore;
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::{Function, Outcome};
use testkit::pipeline::{Pipeline, event, minute, rfc3339, scheduled};
use testkit::real::prometheus::{History, every};

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);
/// Samples are not taken at whole seconds.
const OFFSET: Duration = Duration::from_millis(3_217);
const PARAMETER: &str = "/pcluster-infra/dcgm-to-cloudwatch/watermark";

type Samples = BTreeMap<SeriesKey, BTreeMap<i64, f64>>;

struct Setting {
    nodes: Vec<Node>,
    first: SystemTime,
    pipeline: Pipeline,
    parameters: ParameterStore,
}

/// Some nodes' load over so many minutes, one of them with MIG instances.
async fn setting(nodes: u32, minutes: u32) -> Result<Setting> {
    let mut nodes: Vec<Node> = (0..nodes).map(Node::p5en).collect();
    let slice = |id| MigInstance {
        profile: "1g.18gb".to_owned(),
        id,
    };
    nodes[0].mig = vec![(0, slice(1)), (0, slice(2))];
    let first = minute(u64::from(minutes) + 10);
    let mut history = History::new()?;
    let times = every(SCRAPE, first + OFFSET, first + minutes * MINUTE);
    history.fleet(&nodes, &Field::published(), &times, Node::load)?;
    Ok(Setting {
        nodes,
        first,
        pipeline: Pipeline::start(history).await?,
        parameters: ParameterStore::start().await?,
    })
}

impl Setting {
    async fn function(&self, changes: &[(&str, &str)]) -> Result<Function> {
        let own = [
            ("GPU_DETAIL", "otlp"),
            ("WATERMARK_PARAMETER", PARAMETER),
            ("AWS_ENDPOINT_URL_SSM", self.parameters.url()),
        ];
        self.pipeline.function(&[&own[..], changes].concat()).await
    }

    fn cloudwatch(&self) -> &CloudWatch {
        &self.pipeline.cloudwatch
    }

    async fn run(&self, function: &Function, index: u32) -> Result<Outcome> {
        function
            .invoke(scheduled(self.first + index * MINUTE)?)
            .await
    }

    /// What the exporters served in these minutes, as `picked` of the times of each minute.
    fn served(
        &self,
        minutes: std::ops::Range<u32>,
        picked: impl Fn(Vec<SystemTime>) -> Vec<SystemTime>,
    ) -> Samples {
        let mut samples = Samples::new();
        for field in Field::published() {
            for node in &self.nodes {
                for series in node.series() {
                    let mut labels = BTreeMap::from([
                        ("cluster".to_owned(), "p5en".to_owned()),
                        ("instance_id".to_owned(), node.instance_id.clone()),
                        ("gpu".to_owned(), series.gpu.to_string()),
                    ]);
                    labels.extend(
                        series
                            .mig
                            .iter()
                            .map(|mig| ("GPU_I_ID".to_owned(), mig.id.to_string())),
                    );
                    let of_series = samples.entry((field.name.to_owned(), labels)).or_default();
                    for index in minutes.clone() {
                        let start = self.first + index * MINUTE;
                        for time in picked(every(SCRAPE, start + OFFSET, start + MINUTE)) {
                            of_series.insert(millis(time), node.load(&series, field, time));
                        }
                    }
                }
            }
        }
        samples
    }

    /// Holds that every sample of these minutes is there once, and nothing else.
    #[track_caller]
    fn assert_there(&self, minutes: std::ops::Range<u32>) {
        assert!(self.cloudwatch().otlp_samples() == self.served(minutes, |times| times));
        assert_eq!(self.cloudwatch().otlp_conflicts(), []);
    }

    /// Minutes from the first in which CloudWatch has roll-ups, and how often.
    fn rolled_up(&self) -> BTreeMap<i64, usize> {
        let mut minutes = BTreeMap::new();
        for datum in self.cloudwatch().datums() {
            assert!(datum.dimensions.is_empty(), "{datum:?}");
            if datum.name == "GPUsReporting" {
                let minute = (datum.timestamp_ms - millis(self.first)) / 60_000;
                *minutes.entry(minute).or_default() += 1;
            }
        }
        minutes
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}

fn once(minutes: std::ops::Range<i64>) -> BTreeMap<i64, usize> {
    minutes.map(|minute| (minute, 1)).collect()
}

#[tokio::test]
async fn every_sample_arrives_with_its_value_and_its_millisecond() -> Result<()> {
    let setting = setting(6, 1).await?;
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    assert_eq!(setting.rolled_up(), once(0..1));
    let units = setting.cloudwatch().otlp_units();
    let unit = |name: &str| units[name].as_str();
    assert_eq!(
        [
            unit("DCGM_FI_DEV_GPU_UTIL"),
            unit("DCGM_FI_DEV_GPU_TEMP"),
            unit("DCGM_FI_DEV_POWER_USAGE"),
            unit("DCGM_FI_DEV_FB_USED")
        ],
        ["%", "Cel", "W", "MiBy"]
    );
    // 49 GPUs and MIG instances, 6 metrics, 4 samples.
    let points = 49 * 6 * 4;
    let exports = setting.cloudwatch().exports();
    let sizes: Vec<_> = exports.iter().map(|export| export.points).collect();
    assert_eq!(sizes.iter().sum::<usize>(), points);
    assert_eq!(sizes.len(), 2);
    assert!(
        exports
            .iter()
            .all(|export| export.wire_bytes < export.decoded_bytes / 4)
    );
    let bytes: usize = exports.iter().map(|export| export.decoded_bytes).sum();
    assert_eq!(
        reply["detail"],
        json!({"points": points, "requests": 2, "bytes": bytes, "refused": 0})
    );
    assert_eq!(
        (&reply["metrics"], &reply["cost"]["metricsUsd"]),
        (&json!(7), &json!(2.1))
    );
    let usd = |key: &str| reply["cost"][key].as_f64().unwrap_or_default();
    let sum = (usd("metricsUsd") + usd("detailUsd")) * 100.0;
    assert_eq!(reply["estimatedMonthlyUsd"], json!(sum.round() / 100.0));
    // 82 bytes a point, 8 more for those of a MIG instance: $0.50 a gigabyte, 43,800 minutes a month.
    let charged: usize = setting
        .served(0..1, |times| times)
        .iter()
        .map(|((name, labels), samples)| {
            let labels: usize = labels
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum();
            (name.len() + labels + 16) * samples.len()
        })
        .sum();
    let expected = charged as f64 * 43_800.0 * 0.5 / 1e9;
    assert_eq!(usd("detailUsd"), (expected * 100.0).round() / 100.0);
    Ok(())
}

/// 1,000 nodes.
#[tokio::test]
async fn all_samples_of_48_000_series_arrive() -> Result<()> {
    let setting = setting(1_000, 1).await?;
    let function = setting
        .function(&[("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "512")])
        .await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    // One GPU is two MIG instances.
    let points = (8_000 + 1) * 6 * 4;
    assert_eq!(reply["detail"]["points"], points);
    assert_eq!(reply["detail"]["requests"], 193);
    assert_eq!(
        reply["cost"],
        json!({"metricsUsd": 2.1, "detailUsd": 344.85})
    );
    Ok(())
}

#[tokio::test]
async fn otlp_minute_sends_the_newest_sample_of_each_minute() -> Result<()> {
    let setting = setting(2, 4).await?;
    let function = setting
        .function(&[("GPU_DETAIL", "otlp-minute"), ("PERIOD_SECONDS", "120")])
        .await?;
    let times = [
        ("start", rfc3339(setting.first)),
        ("end", rfc3339(setting.first + 4 * MINUTE)),
    ];
    function.invoke(event("backfill", &times)?).await?.reply()?;
    let newest = setting.served(0..4, |times| times.into_iter().last().into_iter().collect());
    assert!(setting.cloudwatch().otlp_samples() == newest);
    Ok(())
}

#[tokio::test]
async fn none_publishes_the_cluster_alone() -> Result<()> {
    let setting = setting(1, 1).await?;
    let function = setting.function(&[("GPU_DETAIL", "none")]).await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    assert_eq!(setting.cloudwatch().exports(), []);
    assert_eq!(setting.rolled_up(), once(0..1));
    assert_eq!(reply["detail"]["points"], 0);
    Ok(())
}

#[tokio::test]
async fn a_dry_run_counts_what_it_would_send() -> Result<()> {
    let setting = setting(2, 1).await?;
    let function = setting.function(&[]).await?;
    let times = [
        ("start", rfc3339(setting.first)),
        ("end", rfc3339(setting.first + MINUTE)),
    ];
    let mut payload: Value = serde_json::from_slice(&event("backfill", &times)?)?;
    payload["dryRun"] = true.into();
    let planned = function.invoke(payload.to_string()).await?.reply()?;
    assert_eq!(
        (
            setting.cloudwatch().exports(),
            setting.cloudwatch().requests()
        ),
        (vec![], vec![])
    );
    payload["dryRun"] = false.into();
    let done = function.invoke(payload.to_string()).await?.reply()?;
    assert!(
        planned["detail"]["points"]
            .as_u64()
            .is_some_and(|points| points > 0)
    );
    assert_eq!(
        (&planned["detail"], &planned["cost"]),
        (&done["detail"], &done["cost"])
    );
    Ok(())
}

#[tokio::test]
async fn what_is_sent_twice_is_there_once() -> Result<()> {
    let setting = setting(2, 2).await?;
    let function = setting.function(&[]).await?;
    let times = [
        ("start", rfc3339(setting.first)),
        ("end", rfc3339(setting.first + 2 * MINUTE)),
    ];
    for _ in 0..2 {
        function.invoke(event("backfill", &times)?).await?.reply()?;
    }
    setting.assert_there(0..2);
    let all: usize = setting
        .cloudwatch()
        .otlp_samples()
        .values()
        .map(BTreeMap::len)
        .sum();
    assert_eq!(setting.cloudwatch().otlp_copies(), all);
    Ok(())
}

#[tokio::test]
async fn a_busy_endpoint_is_waited_for() -> Result<()> {
    let setting = setting(2, 1).await?;
    let function = setting.function(&[]).await?;
    setting
        .cloudwatch()
        .fail_next_export(2, OtlpFailure::Throttled);
    setting
        .cloudwatch()
        .fail_next_export(1, OtlpFailure::StoredButUnavailable);
    setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    let statuses: Vec<_> = setting
        .cloudwatch()
        .exports()
        .iter()
        .map(|export| export.status)
        .collect();
    assert_eq!(statuses, [429, 429, 503, 200]);
    Ok(())
}

#[tokio::test]
async fn after_a_failure_the_next_run_sends_the_period_and_nothing_is_lost() -> Result<()> {
    let rows = [
        (
            1,
            OtlpFailure::Denied,
            "AccessDenied",
            "cloudwatch:PutMetricData on dataset/default",
        ),
        (
            5,
            OtlpFailure::Throttled,
            "Throttled",
            "OTLP endpoint: HTTP 429",
        ),
        (
            5,
            OtlpFailure::Unavailable,
            "PublishFailed",
            "OTLP: HTTP 503",
        ),
        (
            1,
            OtlpFailure::NotFound,
            "PublishFailed",
            "GPU_DETAIL=metrics does without it",
        ),
    ];
    let setting = setting(1, 4).await?;
    let function = setting.function(&[]).await?;
    for (minute, (times, failure, expected, part)) in (0..).zip(rows) {
        setting.cloudwatch().fail_next_export(times, failure);
        let (error_type, message) = setting.run(&function, minute).await?.error()?;
        assert_eq!(error_type, expected, "{message}");
        assert!(message.contains(part), "{message}");
        // No roll-up of a period whose samples are not there.
        assert_eq!(setting.rolled_up(), once(0..i64::from(minute)));
        setting.run(&function, minute).await?.reply()?;
        setting.assert_there(0..minute + 1);
        assert_eq!(setting.rolled_up(), once(0..i64::from(minute) + 1));
    }
    Ok(())
}

#[tokio::test]
async fn roll_ups_that_fail_leave_the_samples_there_once() -> Result<()> {
    let setting = setting(1, 1).await?;
    let function = setting.function(&[]).await?;
    setting.cloudwatch().fail_next(1, Failure::AccessDenied);
    setting.run(&function, 0).await?.error()?;
    setting.assert_there(0..1);
    setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    assert_eq!(setting.rolled_up(), once(0..1));
    Ok(())
}

#[tokio::test]
async fn whenever_a_run_is_killed_nothing_is_lost() -> Result<()> {
    let setting = setting(6, 3).await?;
    setting.parameters.set(PARAMETER, &rfc3339(setting.first));
    for delay in [60, 120, 180, 300] {
        let function = setting.function(&[]).await?;
        setting.cloudwatch().set_delay(Duration::from_millis(40));
        let run = setting.run(&function, 2);
        // Whether it ends before does not matter here.
        let _ = tokio::time::timeout(Duration::from_millis(delay), run).await;
        function.kill().await;
    }
    setting.cloudwatch().set_delay(Duration::ZERO);
    let function = setting.function(&[]).await?;
    setting.run(&function, 2).await?.reply()?;
    setting.assert_there(0..3);
    Ok(())
}

#[tokio::test]
async fn a_point_that_is_refused_costs_itself_alone() -> Result<()> {
    let setting = setting(2, 1).await?;
    let function = setting.function(&[]).await?;
    let is_of_gpu_3 =
        |labels: &BTreeMap<String, String>| labels.get("gpu").is_some_and(|gpu| gpu == "3");
    let bad = move |point: &testkit::doubles::cloudwatch::Point| {
        point.series.0 == "DCGM_FI_DEV_GPU_TEMP" && is_of_gpu_3(&point.series.1)
    };
    setting.cloudwatch().refuse_exports_with(bad);
    let reply = setting.run(&function, 0).await?.reply()?;
    // 2 nodes, 4 samples.
    assert_eq!(reply["detail"]["refused"], 8);
    assert!(function.log().contains("CloudWatch refuses a point"));
    let mut expected = setting.served(0..1, |times| times);
    expected.retain(|(name, labels), _| !(name == "DCGM_FI_DEV_GPU_TEMP" && is_of_gpu_3(labels)));
    assert!(setting.cloudwatch().otlp_samples() == expected);

    setting.cloudwatch().recover();
    setting.cloudwatch().reject_points(bad);
    let before = setting.cloudwatch().exports().len();
    let times = [
        ("start", rfc3339(setting.first)),
        ("end", rfc3339(setting.first + MINUTE)),
    ];
    let reply = function.invoke(event("backfill", &times)?).await?.reply()?;
    assert_eq!(reply["detail"]["refused"], 8);
    assert_eq!(
        setting.cloudwatch().exports().len(),
        before + 1,
        "nothing is sent again"
    );
    assert!(function.log().contains("CloudWatch refuses 8 of"));
    Ok(())
}

#[tokio::test]
async fn where_every_point_is_refused_the_run_ends_soon_and_says_what_to_do() -> Result<()> {
    let setting = setting(2, 1).await?;
    let function = setting.function(&[]).await?;
    setting.cloudwatch().refuse_exports_with(|_| true);
    let (error_type, message) = setting.run(&function, 0).await?.error()?;
    assert_eq!(error_type, "PublishFailed");
    for part in [
        "refuses each of 16 points alone",
        "DCGM_FI_DEV_FB_FREE of GPU ",
        "HTTP 400: ValidationException: injected by the test",
        "GPU_DETAIL=metrics",
    ] {
        assert!(message.contains(part), "{message}");
    }
    // All points together, then 16 alone.
    let sizes: Vec<_> = setting
        .cloudwatch()
        .exports()
        .iter()
        .map(|export| export.points)
        .collect();
    assert_eq!(sizes, [&[17 * 6 * 4], &[1; 16][..]].concat());
    assert_eq!(setting.rolled_up(), once(0..0));

    setting.cloudwatch().recover();
    setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    Ok(())
}

#[tokio::test]
async fn where_a_metric_is_refused_the_others_arrive() -> Result<()> {
    let setting = setting(2, 1).await?;
    let function = setting.function(&[]).await?;
    let is_refused = |name: &str| name == "DCGM_FI_DEV_GPU_UTIL";
    setting
        .cloudwatch()
        .refuse_exports_with(move |point| is_refused(&point.series.0));
    let reply = setting.run(&function, 0).await?.reply()?;
    assert_eq!(reply["detail"]["refused"], 17 * 4);
    let mut expected = setting.served(0..1, |times| times);
    expected.retain(|(name, _), _| !is_refused(name));
    assert!(setting.cloudwatch().otlp_samples() == expected);
    Ok(())
}

#[tokio::test]
async fn a_body_may_be_sent_as_it_is() -> Result<()> {
    let setting = setting(1, 1).await?;
    let function = setting
        .function(&[("AWS_DISABLE_REQUEST_COMPRESSION", "true")])
        .await?;
    setting.run(&function, 0).await?.reply()?;
    setting.assert_there(0..1);
    let exports = setting.cloudwatch().exports();
    assert!(
        exports
            .iter()
            .all(|export| export.wire_bytes == export.decoded_bytes)
    );
    Ok(())
}

#[tokio::test]
async fn a_region_without_the_endpoint_is_told_and_no_secret_is() -> Result<()> {
    let setting = setting(1, 1).await?;
    let function = setting.function(&[("AWS_REGION", "il-central-1")]).await?;
    let Outcome::InitError {
        error_type,
        message,
    } = setting.run(&function, 0).await?
    else {
        anyhow::bail!("it starts");
    };
    assert_eq!(error_type, "InvalidConfiguration");
    assert!(
        message.contains("no OTLP endpoint in il-central-1"),
        "{message}"
    );

    let function = setting
        .function(&[
            ("AWS_REGION", "eu-west-1"),
            ("WATERMARK_PARAMETER", ""),
            ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
        ])
        .await?;
    let (error_type, message) = setting.run(&function, 0).await?.error()?;
    assert_eq!(error_type, "AccessDenied", "{message}");
    let Credentials {
        secret_access_key,
        session_token,
        ..
    } = Credentials::example();
    let log = function.log();
    for secret in [secret_access_key, session_token.context("a token")?] {
        assert!(!log.contains(&secret) && !message.contains(&secret));
    }
    Ok(())
}
