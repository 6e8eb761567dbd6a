//! ListMetrics, GetMetricStatistics and GetMetricData.

use std::collections::{BTreeMap, HashSet};

use super::api::{
    Datapoint, Dimension, GetMetricDataInput, GetMetricDataOutput, GetMetricStatisticsInput,
    GetMetricStatisticsOutput, ListMetricsInput, ListMetricsOutput, Metric, MetricDataQuery,
    MetricDataResult, MetricStat,
};
use super::failure::{Failure, Refusal};
use super::statistics::{Aggregate, Statistic, Window};
use super::store::{MetricKey, Store};
use super::wire::Timestamp;

/// "Up to 500 results are returned for any one call."
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_ListMetrics.html>
const METRICS_A_PAGE: usize = 500;
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html>
const MOST_DATAPOINTS: i64 = 1440;
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricData.html>
const MOST_QUERIES: usize = 500;

/// One page of the metrics that match. The token is the number of metrics already told.
pub(super) fn list_metrics(
    store: &Store,
    input: &ListMetricsInput,
) -> Result<ListMetricsOutput, Refusal> {
    let told = match &input.next_token {
        None => 0,
        Some(token) => token.parse().map_err(|_| {
            Failure::InvalidParameterValue.because(format!(
                "The value {token} for parameter NextToken is invalid."
            ))
        })?,
    };
    let mut matching = store
        .metrics()
        .filter(|metric| is_listed(metric, input))
        .skip(told);
    let metrics: Vec<_> = matching.by_ref().take(METRICS_A_PAGE).map(listed).collect();
    let next_token = matching.next().map(|_| (told + metrics.len()).to_string());
    Ok(ListMetricsOutput {
        metrics,
        next_token,
    })
}

/// "If you specify one dimension name and a metric has that dimension and also other dimensions, it
/// will be returned."
fn is_listed(metric: &MetricKey, input: &ListMetricsInput) -> bool {
    let is = |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|w| w == found);
    let has = |filter: &Dimension| {
        let name = filter.name.as_deref().unwrap_or_default();
        let found = metric.dimensions.get(name);
        found.is_some_and(|found| is(&filter.value, found))
    };
    is(&input.namespace, &metric.namespace)
        && is(&input.metric_name, &metric.name)
        && input.dimensions.iter().flatten().all(has)
}

fn listed(metric: &MetricKey) -> Metric {
    let dimension = |(name, value): (&String, &String)| Dimension {
        name: Some(name.clone()),
        value: Some(value.clone()),
    };
    Metric {
        namespace: Some(metric.namespace.clone()),
        metric_name: Some(metric.name.clone()),
        dimensions: Some(metric.dimensions.iter().map(dimension).collect()),
    }
}

pub(super) fn get_metric_statistics(
    store: &Store,
    input: GetMetricStatisticsInput,
    now_ms: i64,
) -> Result<GetMetricStatisticsOutput, Refusal> {
    let metric = MetricKey {
        namespace: required("Namespace", input.namespace)?,
        name: required("MetricName", input.metric_name)?,
        dimensions: dimensions(input.dimensions)?,
    };
    let window = Window::new(
        required("StartTime", input.start_time)?.0,
        required("EndTime", input.end_time)?.0,
        required("Period", input.period)?,
        now_ms,
    )
    .map_err(|message| Failure::InvalidParameterValue.because(message))?;
    if window.periods() > MOST_DATAPOINTS {
        return Err(Failure::InvalidParameterCombination.because(format!(
            "You have requested up to {} datapoints, which exceeds the limit of \
             {MOST_DATAPOINTS}. You may reduce the datapoints requested by increasing Period, or \
             decreasing the time range.",
            window.periods()
        )));
    }
    let asked = asked_statistics(input.statistics, input.extended_statistics)?;
    let datums = store
        .of(&metric)
        .filter(|datum| input.unit.as_ref().is_none_or(|unit| *unit == datum.unit));
    let datapoints = window
        .aggregate(datums)
        .iter()
        .filter_map(|(&(start_ms, unit), aggregate)| datapoint(start_ms, unit, aggregate, &asked))
        .collect();
    Ok(GetMetricStatisticsOutput {
        label: metric.name,
        datapoints,
    })
}

/// "you must specify either Statistics or ExtendedStatistics, but not both"
fn asked_statistics(
    statistics: Option<Vec<String>>,
    extended: Option<Vec<String>>,
) -> Result<Vec<(String, Statistic)>, Refusal> {
    let statistics = statistics.unwrap_or_default();
    let extended = extended.unwrap_or_default();
    if statistics.is_empty() == extended.is_empty() {
        let message = "Specify either Statistics or ExtendedStatistics, but not both.";
        return Err(Failure::InvalidParameterCombination.because(message));
    }
    let are_percentiles = statistics.is_empty();
    let parse = |text: String| match text.parse() {
        Ok(statistic) if matches!(statistic, Statistic::Percentile(_)) == are_percentiles => {
            Ok((text, statistic))
        }
        _ => Err(Failure::InvalidParameterValue.because(format!(
            "The value {text} for parameter Statistics is invalid."
        ))),
    };
    statistics.into_iter().chain(extended).map(parse).collect()
}

/// A data point that has none of the asked statistics is left out.
fn datapoint(
    start_ms: i64,
    unit: &str,
    aggregate: &Aggregate,
    asked: &[(String, Statistic)],
) -> Option<Datapoint> {
    let values = |percentiles: bool| -> BTreeMap<String, f64> {
        asked
            .iter()
            .filter(|(_, statistic)| matches!(statistic, Statistic::Percentile(_)) == percentiles)
            .filter_map(|(name, statistic)| Some((name.clone(), aggregate.value(*statistic)?)))
            .collect()
    };
    let (statistics, extended_statistics) = (values(false), values(true));
    let any = !statistics.is_empty() || !extended_statistics.is_empty();
    any.then(|| Datapoint {
        timestamp: Timestamp(start_ms),
        unit: unit.to_owned(),
        statistics,
        extended_statistics,
    })
}

pub(super) fn get_metric_data(
    store: &Store,
    input: GetMetricDataInput,
    now_ms: i64,
) -> Result<GetMetricDataOutput, Refusal> {
    let start_ms = required("StartTime", input.start_time)?.0;
    let end_ms = required("EndTime", input.end_time)?.0;
    let queries = required("MetricDataQueries", input.metric_data_queries)?;
    if queries.len() > MOST_QUERIES {
        return Err(invalid(format!(
            "The collection MetricDataQueries must not have a size greater than {MOST_QUERIES}."
        )));
    }
    // "TimestampDescending returns the newest data first [...] the default"
    let newest_first = match input.scan_by.as_deref() {
        None | Some("TimestampDescending") => true,
        Some("TimestampAscending") => false,
        Some(other) => {
            return Err(invalid(format!(
                "The value {other} for parameter ScanBy is invalid."
            )));
        }
    };
    let mut ids = HashSet::new();
    let mut metric_data_results = Vec::new();
    for query in queries {
        let return_data = query.return_data.unwrap_or(true);
        let window = |period| Window::new(start_ms, end_ms, period, now_ms).map_err(invalid);
        let mut result = run(store, query, window)?;
        if !ids.insert(result.id.clone()) {
            let message = format!(
                "The values for parameter id in MetricDataQueries are not unique: {}",
                result.id
            );
            return Err(invalid(message));
        }
        if newest_first {
            result.timestamps.reverse();
            result.values.reverse();
        }
        if return_data {
            metric_data_results.push(result);
        }
    }
    Ok(GetMetricDataOutput {
        metric_data_results,
    })
}

/// One query, oldest data point first.
fn run(
    store: &Store,
    query: MetricDataQuery,
    window: impl Fn(i64) -> Result<Window, Refusal>,
) -> Result<MetricDataResult, Refusal> {
    let id = required("MetricDataQueries.member.Id", query.id)?;
    if !id.starts_with(|c: char| c.is_ascii_lowercase())
        || id.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_')
    {
        return Err(invalid(format!(
            "The value {id} for parameter Id is invalid: the first character must be a lowercase \
             letter, the others letters, numbers or underscores."
        )));
    }
    if let Some(expression) = query.expression {
        return Err(invalid(format!(
            "Error in expression '{id}': this double has no metric math, search or query, only \
             MetricStat: {expression}"
        )));
    }
    let MetricStat {
        metric,
        period,
        stat,
        unit,
    } = required("MetricStat", query.metric_stat)?;
    let metric = required("Metric", metric)?;
    let metric = MetricKey {
        namespace: required("Namespace", metric.namespace)?,
        name: required("MetricName", metric.metric_name)?,
        dimensions: dimensions(metric.dimensions)?,
    };
    let statistic = required("Stat", stat)?.parse().map_err(invalid)?;
    let datums = store
        .of(&metric)
        .filter(|datum| unit.as_ref().is_none_or(|unit| *unit == datum.unit));
    let (timestamps, values) = window(required("Period", period)?)?
        .aggregate(datums)
        .iter()
        .filter_map(|(&(start_ms, _), aggregate)| {
            Some((Timestamp(start_ms), aggregate.value(statistic)?))
        })
        .unzip();
    Ok(MetricDataResult {
        id,
        label: query.label.unwrap_or(metric.name),
        timestamps,
        values,
        status_code: "Complete",
    })
}

fn invalid(message: String) -> Refusal {
    Failure::ValidationError.because(message)
}

fn required<T>(parameter: &str, value: Option<T>) -> Result<T, Refusal> {
    value.ok_or_else(|| {
        Failure::MissingParameter.because(format!("The parameter {parameter} is required."))
    })
}

fn dimensions(dimensions: Option<Vec<Dimension>>) -> Result<BTreeMap<String, String>, Refusal> {
    let pair = |dimension: Dimension| {
        Ok((
            required("Dimensions.member.Name", dimension.name)?,
            required("Dimensions.member.Value", dimension.value)?,
        ))
    };
    dimensions.into_iter().flatten().map(pair).collect()
}
