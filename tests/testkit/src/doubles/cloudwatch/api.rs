//! The shapes of the four operations, as botocore's model
//! (`data/cloudwatch/2010-08-01/service-2.json`) has them.
//!
//! Everything a caller can leave out is an `Option`, required or not: that it is missing is for
//! `limits` and `reads` to say. An unknown field is an error, never lost in silence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::wire::{Number, Timestamp};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct PutMetricDataInput {
    pub(super) namespace: Option<String>,
    pub(super) metric_data: Option<Vec<MetricDatum>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricDatum {
    pub(super) metric_name: Option<String>,
    pub(super) dimensions: Option<Vec<Dimension>>,
    pub(super) timestamp: Option<Timestamp>,
    pub(super) value: Option<Number>,
    pub(super) statistic_values: Option<StatisticValues>,
    pub(super) values: Option<Vec<Number>>,
    pub(super) counts: Option<Vec<Number>>,
    pub(super) unit: Option<String>,
    pub(super) storage_resolution: Option<i64>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Dimension {
    pub(super) name: Option<String>,
    pub(super) value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct StatisticValues {
    pub(super) sample_count: Option<Number>,
    pub(super) sum: Option<Number>,
    pub(super) minimum: Option<Number>,
    pub(super) maximum: Option<Number>,
}

/// Samples of which only the totals were published.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StatisticSet {
    /// How many samples.
    pub sample_count: f64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub minimum: f64,
    /// The largest.
    pub maximum: f64,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListMetricsInput {
    pub(super) namespace: Option<String>,
    pub(super) metric_name: Option<String>,
    pub(super) dimensions: Option<Vec<Dimension>>,
    pub(super) next_token: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct ListMetricsOutput {
    pub(super) metrics: Vec<Metric>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_token: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct Metric {
    pub(super) namespace: Option<String>,
    pub(super) metric_name: Option<String>,
    pub(super) dimensions: Option<Vec<Dimension>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetMetricStatisticsInput {
    pub(super) namespace: Option<String>,
    pub(super) metric_name: Option<String>,
    pub(super) dimensions: Option<Vec<Dimension>>,
    pub(super) start_time: Option<Timestamp>,
    pub(super) end_time: Option<Timestamp>,
    pub(super) period: Option<i64>,
    pub(super) statistics: Option<Vec<String>>,
    pub(super) extended_statistics: Option<Vec<String>>,
    pub(super) unit: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMetricStatisticsOutput {
    pub(super) label: String,
    pub(super) datapoints: Vec<Datapoint>,
}

/// The statistics asked for stand beside timestamp and unit under their own names, percentiles in
/// a map of their own.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Datapoint {
    pub(super) timestamp: Timestamp,
    pub(super) unit: String,
    #[serde(flatten)]
    pub(super) statistics: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) extended_statistics: BTreeMap<String, f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetMetricDataInput {
    pub(super) metric_data_queries: Option<Vec<MetricDataQuery>>,
    pub(super) start_time: Option<Timestamp>,
    pub(super) end_time: Option<Timestamp>,
    pub(super) scan_by: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricDataQuery {
    pub(super) id: Option<String>,
    pub(super) metric_stat: Option<MetricStat>,
    pub(super) expression: Option<String>,
    pub(super) label: Option<String>,
    pub(super) return_data: Option<bool>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct MetricStat {
    pub(super) metric: Option<Metric>,
    pub(super) period: Option<i64>,
    pub(super) stat: Option<String>,
    pub(super) unit: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GetMetricDataOutput {
    pub(super) metric_data_results: Vec<MetricDataResult>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct MetricDataResult {
    pub(super) id: String,
    pub(super) label: String,
    pub(super) timestamps: Vec<Timestamp>,
    pub(super) values: Vec<f64>,
    pub(super) status_code: &'static str,
}
