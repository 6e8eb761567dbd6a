//! The environment as checked configuration. Every mistake is told, by name, value and what was
//! expected.

use std::collections::{BTreeMap, BTreeSet};

use amp::WorkspaceUrl;
use startup::{Environment, InvalidEnvironment};
use strum::{EnumString, VariantNames};

use crate::cloudwatch::limits::{is_metric_name, is_namespace};
use crate::due::period::Cadence;
use crate::gpu::metric::{self, DEFAULT_FIELDS, GPUS_REPORTING, Metric};
use crate::gpu::rollup::DimensionSet;
use crate::gpu::unit::Unit;
use crate::otlp::endpoint::Endpoint;
use crate::prometheus::pace::Budget;
use crate::prometheus::selector;

/// URL of the AMP workspace to read.
pub(crate) const ENV_AMP_WORKSPACE_URL: &str = "AMP_WORKSPACE_URL";
/// Stands in for AMP's scheme, host and port, as the SDKs' own variables of this form do.
pub(crate) const ENV_AWS_ENDPOINT_URL_AMP: &str = "AWS_ENDPOINT_URL_AMP";
/// Stands in for CloudWatch's endpoint. The SDK reads it itself, for all but OTLP.
pub(crate) const ENV_AWS_ENDPOINT_URL_CLOUDWATCH: &str = "AWS_ENDPOINT_URL_CLOUDWATCH";
/// Megabytes that Lambda gives the function.
pub(crate) const ENV_AWS_LAMBDA_FUNCTION_MEMORY_SIZE: &str = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE";
/// Region of the function, and of AMP where the workspace URL does not name it.
pub(crate) const ENV_AWS_REGION: &str = "AWS_REGION";
/// Name of the ParallelCluster cluster.
pub(crate) const ENV_CLUSTER_NAME: &str = "CLUSTER_NAME";
/// CloudWatch namespace.
pub(crate) const ENV_METRIC_NAMESPACE: &str = "METRIC_NAMESPACE";
/// Which DCGM fields to publish.
pub(crate) const ENV_DCGM_FIELDS: &str = "DCGM_FIELDS";
/// Which dimension sets to publish.
pub(crate) const ENV_DIMENSION_SETS: &str = "DIMENSION_SETS";
/// How the metrics of each GPU are published.
pub(crate) const ENV_GPU_DETAIL: &str = "GPU_DETAIL";
/// Extra PromQL label matchers.
pub(crate) const ENV_SERIES_SELECTOR: &str = "SERIES_SELECTOR";
/// Labels that may name the instance.
pub(crate) const ENV_INSTANCE_ID_LABELS: &str = "INSTANCE_ID_LABELS";
/// Length of a published period.
pub(crate) const ENV_PERIOD_SECONDS: &str = "PERIOD_SECONDS";
/// How long a period rests before it is published.
pub(crate) const ENV_SETTLE_SECONDS: &str = "SETTLE_SECONDS";
/// How far back a run catches up.
pub(crate) const ENV_MAX_CATCH_UP_SECONDS: &str = "MAX_CATCH_UP_SECONDS";
/// SSM parameter of the watermark.
pub(crate) const ENV_WATERMARK_PARAMETER: &str = "WATERMARK_PARAMETER";
/// Cap on the distinct metrics of a period.
pub(crate) const ENV_MAX_METRICS: &str = "MAX_METRICS";

/// Megabytes of the smallest function Lambda has.
/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-memory.html>
const MIN_MEMORY_MEGABYTES: usize = 128;

/// How the metrics of each GPU are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, EnumString, VariantNames)]
#[strum(serialize_all = "kebab-case")]
enum GpuDetail {
    /// As the dimension set `gpu`, where that is asked for.
    Metrics,
    /// Every sample by OTLP.
    Otlp,
    /// The newest sample of each minute by OTLP.
    OtlpMinute,
    /// Not at all.
    None,
}

impl GpuDetail {
    /// Of each GPU and metric, the newest sample in every interval of so many milliseconds is sent by OTLP.
    fn otlp_interval_ms(self) -> Option<u32> {
        match self {
            Self::Otlp => Some(1),
            Self::OtlpMinute => Some(60_000),
            Self::Metrics | Self::None => None,
        }
    }
}

/// What is sent by OTLP, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OtlpDetail {
    /// Of each GPU and metric, the newest sample in every interval of so many milliseconds.
    pub(crate) interval_ms: u32,
    /// CloudWatch's endpoint.
    pub(crate) endpoint: Endpoint,
}

/// What the function does, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// The workspace, at the endpoint where it is to be reached.
    pub(crate) workspace: WorkspaceUrl,
    /// The region AMP's requests are signed for.
    pub(crate) amp_region: String,
    /// The cluster's name, of characters that a CloudWatch namespace may have.
    pub(crate) cluster: String,
    /// CloudWatch namespace.
    pub(crate) namespace: String,
    /// At least one.
    pub(crate) metrics: Vec<Metric>,
    /// Fine before coarse. `gpu` is not among them where the detail is not published as metrics.
    pub(crate) dimension_sets: Vec<DimensionSet>,
    /// The detail that is sent by OTLP.
    pub(crate) otlp: Option<OtlpDetail>,
    /// PromQL label matchers without braces; empty for none.
    pub(crate) series_selector: String,
    /// The first one a series bears names its instance.
    pub(crate) instance_id_labels: Vec<String>,
    /// How time is cut.
    pub(crate) cadence: Cadence,
    /// Name of the SSM parameter that holds the watermark.
    pub(crate) watermark_parameter: Option<String>,
    /// Cap on distinct metrics a period.
    pub(crate) max_metrics: usize,
    /// How much may be held at once.
    pub(crate) budget: Budget,
}

impl Config {
    /// Reads the configuration out of environment variables.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn read(mut env: Environment<'_>) -> Result<Self, InvalidEnvironment> {
        let workspace = env.required(ENV_AMP_WORKSPACE_URL, WorkspaceUrl::parse);
        let reached = env.or(ENV_AWS_ENDPOINT_URL_AMP, workspace.clone(), |endpoint| {
            workspace
                .as_ref()
                .map(|url| url.at_endpoint(endpoint))
                .transpose()
        });
        let aws_region = env.or(ENV_AWS_REGION, None, some).flatten();
        let amp_region = workspace
            .as_ref()
            .and_then(|url| url.region().map(str::to_owned))
            .or(aws_region.clone());
        if amp_region.is_none() {
            env.mistake(format!("{ENV_AWS_REGION} is not set"));
        }
        let cluster = env.required(ENV_CLUSTER_NAME, cluster_name);
        let namespace = env.or(
            ENV_METRIC_NAMESPACE,
            cluster
                .as_ref()
                .map(|name| format!("ParallelCluster/{name}/GPU")),
            |text| namespace(text).map(Some),
        );
        let default = DEFAULT_FIELDS.into_iter().filter_map(metric::find);
        let metrics = env.or(ENV_DCGM_FIELDS, default.collect(), metrics);
        let dimension_sets = env.or(
            ENV_DIMENSION_SETS,
            vec![DimensionSet::Gpu, DimensionSet::Cluster],
            dimension_sets,
        );
        let period_seconds = env.or(ENV_PERIOD_SECONDS, 60, period_seconds);
        let detail = env.or(ENV_GPU_DETAIL, GpuDetail::Metrics, |text| {
            gpu_detail(text, aws_region.as_deref(), period_seconds)
        });
        let otlp = otlp(&mut env, detail, aws_region.as_deref());
        let series_selector = env.or(ENV_SERIES_SELECTOR, String::new(), selector::parse);
        let instance_id_labels = env.or(
            ENV_INSTANCE_ID_LABELS,
            [
                "instance_id",
                "InstanceId",
                "Hostname",
                "hostname",
                "instance",
            ]
            .map(str::to_owned)
            .to_vec(),
            labels,
        );
        let settle_seconds = env.or(ENV_SETTLE_SECONDS, 60, |text| seconds(text, 0..=86_400));
        let max_catch_up_seconds = env.or(ENV_MAX_CATCH_UP_SECONDS, 10_800, |text| {
            seconds(text, 0..=1_209_600)
        });
        let watermark_parameter = env.or(ENV_WATERMARK_PARAMETER, None, parameter_name);
        let max_metrics = env.or(ENV_MAX_METRICS, 5_000, above_zero);
        let memory = env.or(
            ENV_AWS_LAMBDA_FUNCTION_MEMORY_SIZE,
            MIN_MEMORY_MEGABYTES,
            above_zero,
        );
        let config = (|| {
            Some(Self {
                workspace: reached??,
                amp_region: amp_region?,
                cluster: cluster?,
                namespace: namespace??,
                metrics: metrics?,
                dimension_sets: classic(dimension_sets?, detail?),
                otlp: otlp?,
                series_selector: series_selector?,
                instance_id_labels: instance_id_labels?,
                cadence: Cadence {
                    period_seconds: period_seconds?,
                    settle_seconds: settle_seconds?,
                    max_catch_up_seconds: max_catch_up_seconds?,
                },
                watermark_parameter: watermark_parameter?,
                max_metrics: max_metrics?,
                budget: Budget::of(memory?),
            })
        })();
        env.finish(config)
    }
}

fn some(text: &str) -> Result<Option<String>, String> {
    Ok(Some(text.to_owned()))
}

fn cluster_name(text: &str) -> Result<String, String> {
    namespace(&format!("ParallelCluster/{text}/GPU"))?;
    Ok(text.to_owned())
}

fn namespace(text: &str) -> Result<String, String> {
    is_namespace(text).then(|| text.to_owned()).ok_or_else(|| {
        "expected at most 255 characters of A-Z a-z 0-9 . - _ / # :, beginning with neither ':' nor \
         'AWS/'"
            .to_owned()
    })
}

fn list(text: &str) -> Result<Vec<&str>, String> {
    let items: Vec<&str> = text
        .split(',')
        .map(str::trim)
        .filter(|item| !item.is_empty())
        .collect();
    if items.is_empty() {
        Err("the list names nothing".to_owned())
    } else {
        Ok(items)
    }
}

fn metrics(text: &str) -> Result<Vec<Metric>, String> {
    let metrics = list(text)?
        .into_iter()
        .map(|item| Ok((item, metric(item)?)))
        .collect::<Result<Vec<_>, String>>()?;
    let mut series = BTreeMap::new();
    let mut names = BTreeSet::from([GPUS_REPORTING]);
    for (item, metric) in &metrics {
        for one in &metric.series {
            if let Some(other) = series.insert(&one.name, item) {
                return Err(if other == item {
                    format!("{item} is named twice")
                } else {
                    format!("{other} and {item} are the same series")
                });
            }
        }
        if !names.insert(metric.name.as_str()) {
            return Err(format!("the metric name {} is used twice", metric.name));
        }
    }
    Ok(metrics.into_iter().map(|(_, metric)| metric).collect())
}

/// A metric's name, a series of it, or `FIELD=MetricName:Unit`.
fn metric(item: &str) -> Result<Metric, String> {
    let Some((field, rest)) = item.split_once('=') else {
        return metric::find(item).ok_or_else(|| {
            let known: Vec<_> = metric::names().collect();
            format!(
                "{item} is not known; name its metric as {item}=MetricName:Unit, or use one of {}",
                known.join(", ")
            )
        });
    };
    let form = "expected FIELD=MetricName:Unit";
    let (name, unit) = rest
        .split_once(':')
        .ok_or_else(|| format!("{item}: {form}"))?;
    if !is_series_name(field) {
        return Err(format!("{item}: {form}, FIELD a Prometheus metric name"));
    }
    if !is_metric_name(name) {
        return Err(format!(
            "{item}: {form}, MetricName 1 to 255 ASCII characters"
        ));
    }
    let unit: Unit = unit.parse().map_err(|_| {
        format!(
            "{item}: {unit:?} is no CloudWatch unit; use one of {}",
            Unit::names().join(", ")
        )
    })?;
    Ok(metric::custom(field, name, unit))
}

/// <https://prometheus.io/docs/concepts/data_model/#metric-names-and-labels>
fn is_series_name(name: &str) -> bool {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    !name.is_empty() && name.bytes().all(is_part) && !name.as_bytes()[0].is_ascii_digit()
}

fn dimension_sets(text: &str) -> Result<Vec<DimensionSet>, String> {
    let sets = list(text)?.into_iter().map(|item| match item {
        "gpu" => Ok(DimensionSet::Gpu),
        "instance" => Ok(DimensionSet::Instance),
        "cluster" => Ok(DimensionSet::Cluster),
        _ => Err(format!("{item:?} is none of gpu, instance, cluster")),
    });
    Ok(sets
        .collect::<Result<BTreeSet<_>, _>>()?
        .into_iter()
        .collect())
}

/// The dimension sets that are published as metrics.
fn classic(mut sets: Vec<DimensionSet>, detail: GpuDetail) -> Vec<DimensionSet> {
    sets.retain(|set| *set != DimensionSet::Gpu || detail == GpuDetail::Metrics);
    sets
}

fn gpu_detail(
    text: &str,
    region: Option<&str>,
    period_seconds: Option<i64>,
) -> Result<GpuDetail, String> {
    let detail: GpuDetail = text
        .parse()
        .map_err(|_| format!("expected one of {}", GpuDetail::VARIANTS.join(", ")))?;
    if detail.otlp_interval_ms().is_none() {
        return Ok(detail);
    }
    let region = region.ok_or_else(|| format!("{ENV_AWS_REGION} is not set"))?;
    if Endpoint::of_region(region).is_none() {
        return Err(format!(
            "CloudWatch has no OTLP endpoint in {region}; use metrics or none"
        ));
    }
    if detail == GpuDetail::OtlpMinute && period_seconds.is_some_and(|seconds| seconds < 60) {
        return Err(format!(
            "the newest sample of a minute is not known before the minute ends; use otlp, or a \
             {ENV_PERIOD_SECONDS} of 60 or more"
        ));
    }
    Ok(detail)
}

/// What is sent by OTLP, if anything. `None` on a mistake, which is noted.
fn otlp(
    env: &mut Environment<'_>,
    detail: Option<GpuDetail>,
    region: Option<&str>,
) -> Option<Option<OtlpDetail>> {
    let Some(interval_ms) = detail?.otlp_interval_ms() else {
        return Some(None);
    };
    let own = Endpoint::of_region(region?)?;
    let endpoint = env.or(ENV_AWS_ENDPOINT_URL_CLOUDWATCH, own.clone(), |url| {
        own.at(url)
    })?;
    Some(Some(OtlpDetail {
        interval_ms,
        endpoint,
    }))
}

fn labels(text: &str) -> Result<Vec<String>, String> {
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    list(text)?
        .into_iter()
        .map(|label| {
            let valid = label.bytes().all(is_part) && !label.as_bytes()[0].is_ascii_digit();
            valid
                .then(|| label.to_owned())
                .ok_or_else(|| format!("{label:?} is no label name"))
        })
        .collect()
}

fn period_seconds(text: &str) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|&seconds: &i64| {
            [1, 5, 10, 20, 30].contains(&seconds)
                || (seconds % 60 == 0 && (60..=3_600).contains(&seconds))
        })
        .ok_or_else(|| "expected 1, 5, 10, 20, 30, or a multiple of 60 up to 3600".to_owned())
}

fn seconds(text: &str, range: std::ops::RangeInclusive<i64>) -> Result<i64, String> {
    text.parse()
        .ok()
        .filter(|seconds| range.contains(seconds))
        .ok_or_else(|| {
            format!(
                "expected a whole number of seconds from {} to {}",
                range.start(),
                range.end()
            )
        })
}

/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>, `Name`.
/// Checked here because Parameter Store would refuse the name only after the first period is
/// published.
fn parameter_name(text: &str) -> Result<Option<String>, String> {
    const MAX_LEVELS: usize = 15;
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
    let name = text.strip_prefix('/').unwrap_or(text);
    let is_rooted = text.starts_with('/') || !text.contains('/');
    let levels: Vec<&str> = name.split('/').collect();
    let is_reserved = ["aws", "ssm"].iter().any(|prefix| {
        let start = name.get(..prefix.len()).unwrap_or_default();
        start.eq_ignore_ascii_case(prefix)
    });
    let is_name = text.len() <= 1_011
        && text.bytes().all(allowed)
        && is_rooted
        && levels.len() <= MAX_LEVELS
        && levels.iter().all(|level| !level.is_empty())
        && !is_reserved;
    if is_name {
        Ok(Some(text.to_owned()))
    } else {
        Err(format!(
            "expected an SSM parameter name of A-Z a-z 0-9 . - _ such as /p5en/watermark: with / at \
             its start if it has levels, at most {MAX_LEVELS} of them, and not beginning with aws or \
             ssm"
        ))
    }
}

fn above_zero(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|&number| number > 0)
        .ok_or_else(|| "expected a number above 0".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const URL: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1a2b";

    fn read(pairs: &[(&str, &str)]) -> Result<Config, String> {
        let lookup = |name: &str| {
            pairs
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Config::read(Environment::new(lookup)).map_err(|error| error.to_string())
    }

    fn with(name: &str, value: &str) -> Result<Config, String> {
        read(&[
            (name, value),
            (ENV_AMP_WORKSPACE_URL, URL),
            (ENV_CLUSTER_NAME, "p5en"),
        ])
    }

    #[test]
    fn the_defaults_are_those_documented() {
        let config = read(&[(ENV_AMP_WORKSPACE_URL, URL), (ENV_CLUSTER_NAME, "p5en")]).unwrap();
        assert_eq!(config.namespace, "ParallelCluster/p5en/GPU");
        assert_eq!(config.amp_region, "us-east-2");
        assert_eq!(config.metrics.len(), 6);
        assert_eq!(
            config.dimension_sets,
            [DimensionSet::Gpu, DimensionSet::Cluster]
        );
        assert_eq!(
            config.cadence,
            Cadence {
                period_seconds: 60,
                settle_seconds: 60,
                max_catch_up_seconds: 10_800
            }
        );
        assert_eq!(config.otlp, None);
        assert_eq!(
            (config.max_metrics, config.watermark_parameter),
            (5_000, None)
        );
    }

    #[test]
    fn tells_every_mistake_at_once_by_name_and_value() {
        let error = read(&[
            (ENV_CLUSTER_NAME, "p5\u{e9}n"),
            (ENV_DCGM_FIELDS, ",,"),
            (ENV_PERIOD_SECONDS, "7"),
        ])
        .unwrap_err();
        for part in [
            "AMP_WORKSPACE_URL is not set",
            "AWS_REGION is not set",
            "CLUSTER_NAME=",
            "DCGM_FIELDS=\",,\": the list names nothing",
            "PERIOD_SECONDS=\"7\": expected 1, 5, 10, 20, 30, or a multiple of 60 up to 3600",
        ] {
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn refuses_values_out_of_bounds() {
        let rows = [
            (ENV_AMP_WORKSPACE_URL, "https://example.com"),
            (ENV_METRIC_NAMESPACE, "AWS/EC2"),
            (ENV_METRIC_NAMESPACE, ":x"),
            (ENV_METRIC_NAMESPACE, "a\tb"),
            (ENV_DCGM_FIELDS, "DCGM_FI_DEV_UNKNOWN"),
            (ENV_DCGM_FIELDS, "DCGM_FI_DEV_GPU_UTIL,DCGM_FI_DEV_GPU_UTIL"),
            (
                ENV_DCGM_FIELDS,
                "X=GPUTemperature:None,DCGM_FI_DEV_GPU_TEMP",
            ),
            (ENV_DCGM_FIELDS, "X=GPUsReporting:Count"),
            (ENV_DCGM_FIELDS, "X=Y:Degrees"),
            (ENV_DCGM_FIELDS, "X=Y"),
            (ENV_DCGM_FIELDS, "X{a=\"b\"}=Y:None"),
            (ENV_DIMENSION_SETS, "gpu,job"),
            (ENV_SERIES_SELECTOR, "{cluster=\"a\"}"),
            (ENV_SERIES_SELECTOR, "cluster=\"a\"} or vector(1)"),
            (ENV_SERIES_SELECTOR, "cluster=\"a"),
            (ENV_SERIES_SELECTOR, "cluster='a"),
            (ENV_SERIES_SELECTOR, "cluster=`a"),
            (ENV_SERIES_SELECTOR, "cluster=\"a\nb\""),
            (ENV_SERIES_SELECTOR, "cluster='\"'} or vector(1) # '"),
            (ENV_SERIES_SELECTOR, r"cluster=`\`} or vector(1)"),
            (ENV_INSTANCE_ID_LABELS, "instance-id"),
            (ENV_PERIOD_SECONDS, "90"),
            (ENV_PERIOD_SECONDS, "3660"),
            (ENV_PERIOD_SECONDS, "0"),
            (ENV_PERIOD_SECONDS, "-60"),
            (ENV_SETTLE_SECONDS, "-1"),
            (ENV_MAX_CATCH_UP_SECONDS, "3h"),
            (ENV_WATERMARK_PARAMETER, "a b"),
            (ENV_WATERMARK_PARAMETER, "a/b"),
            (ENV_WATERMARK_PARAMETER, "/a//b"),
            (ENV_WATERMARK_PARAMETER, "/AWS/b"),
            (ENV_WATERMARK_PARAMETER, "ssm-watermark"),
            (
                ENV_WATERMARK_PARAMETER,
                "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16",
            ),
            (ENV_MAX_METRICS, "0"),
        ];
        for (name, value) in rows {
            let read = read(&[
                (name, value),
                (ENV_AMP_WORKSPACE_URL, URL),
                (ENV_CLUSTER_NAME, "p5en"),
            ]);
            let error = read.map(|_| ()).unwrap_err();
            assert!(
                error.contains(&format!("{name}={value:?}: ")),
                "{name}={value:?}: {error}"
            );
        }
    }

    #[test]
    fn otlp_takes_the_place_of_the_gpu_s_metrics() {
        use DimensionSet::{Cluster, Gpu, Instance};
        let detail = |value| {
            let config = read(&[
                (ENV_AMP_WORKSPACE_URL, URL),
                (ENV_CLUSTER_NAME, "p5en"),
                (ENV_AWS_REGION, "us-east-2"),
                (ENV_DIMENSION_SETS, "gpu,instance,cluster"),
                (ENV_GPU_DETAIL, value),
            ]);
            let config = config.unwrap();
            let otlp = config
                .otlp
                .map(|otlp| (otlp.interval_ms, otlp.endpoint.url.to_string()));
            (config.dimension_sets, otlp)
        };
        let url = "https://monitoring.us-east-2.amazonaws.com/v1/metrics".to_owned();
        let rest = vec![Instance, Cluster];
        assert_eq!(detail("metrics"), (vec![Gpu, Instance, Cluster], None));
        assert_eq!(detail("none"), (rest.clone(), None));
        assert_eq!(detail("otlp"), (rest.clone(), Some((1, url.clone()))));
        assert_eq!(detail("otlp-minute"), (rest, Some((60_000, url))));
    }

    #[test]
    fn says_where_and_when_there_is_no_otlp() {
        let rows: [(&[(&str, &str)], &str); 6] = [
            (
                &[(ENV_GPU_DETAIL, "OTLP"), (ENV_AWS_REGION, "us-east-2")],
                "GPU_DETAIL=\"OTLP\": expected one of metrics, otlp, otlp-minute, none",
            ),
            (
                &[(ENV_GPU_DETAIL, "otlp")],
                "GPU_DETAIL=\"otlp\": AWS_REGION is not set",
            ),
            (
                &[(ENV_GPU_DETAIL, "otlp"), (ENV_AWS_REGION, "me-south-1")],
                "CloudWatch has no OTLP endpoint in me-south-1; use metrics or none",
            ),
            (
                &[
                    (ENV_GPU_DETAIL, "otlp-minute"),
                    (ENV_AWS_REGION, "cn-north-1"),
                ],
                "CloudWatch has no OTLP endpoint in cn-north-1",
            ),
            (
                &[
                    (ENV_GPU_DETAIL, "otlp-minute"),
                    (ENV_AWS_REGION, "us-east-2"),
                    (ENV_PERIOD_SECONDS, "10"),
                ],
                "use otlp, or a PERIOD_SECONDS of 60 or more",
            ),
            (
                &[
                    (ENV_GPU_DETAIL, "otlp"),
                    (ENV_AWS_REGION, "us-east-2"),
                    (ENV_AWS_ENDPOINT_URL_CLOUDWATCH, "http://example.com"),
                ],
                "AWS_ENDPOINT_URL_CLOUDWATCH=\"http://example.com\": expected https://",
            ),
        ];
        for (pairs, part) in rows {
            let basic = [(ENV_AMP_WORKSPACE_URL, URL), (ENV_CLUSTER_NAME, "p5en")];
            let error = read(&[pairs, &basic].concat()).unwrap_err();
            assert!(error.contains(part), "{part} in {error}");
        }
    }

    #[test]
    fn takes_other_gauges_and_the_sets_in_any_order() {
        let config = with(
            ENV_DCGM_FIELDS,
            "DCGM_FI_DEV_GPU_UTIL, my:gauge=My Gauge:Bytes/Second",
        )
        .unwrap();
        assert_eq!(config.metrics[1].name, "My Gauge");
        assert_eq!(config.metrics[1].unit, Unit::BytesPerSecond);
        let config = with(ENV_DIMENSION_SETS, "cluster,instance,gpu,gpu").unwrap();
        use DimensionSet::{Cluster, Gpu, Instance};
        assert_eq!(config.dimension_sets, [Gpu, Instance, Cluster]);
    }

    #[test]
    fn a_matcher_may_have_braces_in_every_kind_of_string() {
        let rows = [
            (r#"job=~"a{2}\"}",cluster="b""#, None),
            ("hostname=~'p5en-[0-9]{1,3}'", None),
            ("hostname=~`p5en-[0-9]{1,3}\\`, cluster='it\\'s'", None),
            ("a=`\n}`", None),
            ("a=\"b\", # } a comment\n c='#'", Some("a=\"b\",  c='#'")),
        ];
        for (text, expected) in rows {
            let config = with(ENV_SERIES_SELECTOR, text).unwrap();
            assert_eq!(config.series_selector, expected.unwrap_or(text));
        }
    }

    #[test]
    fn the_endpoint_variable_moves_the_workspace_but_not_the_region() {
        let config = with(ENV_AWS_ENDPOINT_URL_AMP, "http://127.0.0.1:9009").unwrap();
        assert_eq!(
            config.workspace.as_str(),
            "http://127.0.0.1:9009/workspaces/ws-1a2b"
        );
        assert_eq!(config.amp_region, "us-east-2");
    }

    proptest! {
        #[test]
        fn no_value_makes_reading_panic(name in prop::sample::select(&[
            ENV_AMP_WORKSPACE_URL, ENV_AWS_ENDPOINT_URL_AMP, ENV_CLUSTER_NAME,
            ENV_METRIC_NAMESPACE, ENV_DCGM_FIELDS, ENV_DIMENSION_SETS, ENV_GPU_DETAIL, ENV_SERIES_SELECTOR,
            ENV_INSTANCE_ID_LABELS, ENV_PERIOD_SECONDS, ENV_SETTLE_SECONDS,
            ENV_MAX_CATCH_UP_SECONDS, ENV_WATERMARK_PARAMETER, ENV_MAX_METRICS,
        ][..]), value in any::<String>()) {
            if let Err(error) = with(name, &value) {
                prop_assert!(error.contains(name), "{}", error);
            }
        }

        #[test]
        fn a_namespace_that_is_accepted_keeps_cloudwatch_s_rules(value in any::<String>()) {
            if let Ok(config) = with(ENV_METRIC_NAMESPACE, &value) {
                prop_assert!((1..=255).contains(&config.namespace.len()));
                prop_assert!(config.namespace.is_ascii());
            }
        }
    }
}
