//! What is published, what the dashboard shows and what the alarms watch.

use std::collections::BTreeSet;

use dcgm_to_cloudwatch::gpu::{metric, verdict};
use serde_json::{Value, json};

use crate::templates::template::Template;
use suites::dashboard;

/// Stands for `${Namespace}` in the dashboard.
const NAMESPACE: &str = "ours";

fn monitoring() -> Template {
    Template::monitoring()
}

#[test]
fn every_metric_published_is_on_the_dashboard_or_watched_and_the_other_way_round() {
    let mut published: BTreeSet<String> = metric::DEFAULT_FIELDS
        .iter()
        .map(|field| metric::find(field).unwrap().name)
        .collect();
    published.insert(metric::GPUS_REPORTING.to_owned());
    published.extend(verdict::count_names().map(str::to_owned));
    let mut shown = metrics_shown();
    shown.extend(metrics_watched());
    assert_eq!(shown, published);
}

#[test]
fn the_fields_published_by_default_are_the_functions_own() {
    let template = monitoring();
    let fields = &template.section("Parameters")["DcgmFields"]["Default"];
    assert_eq!(fields, &metric::DEFAULT_FIELDS.join(","));
}

#[test]
fn the_dashboard_shows_what_the_documents_show() {
    let widgets = body()["widgets"].clone();
    let widget = |title: &str| {
        let found = widgets.as_array().unwrap().iter();
        let mut found = found.filter(|widget| widget["properties"]["title"] == title);
        found.next().unwrap_or_else(|| panic!("no widget {title}"))["properties"].clone()
    };
    let percent = json!({"min": 0, "max": 100});
    for (title, metrics, statistic, range) in [
        (
            "GPU utilisation",
            &["GPUUtilization", "GPUMemoryUtilization"][..],
            "Average",
            &percent,
        ),
        ("GPU temperature", &["GPUTemperature"], "Maximum", &percent),
        (
            "GPU power",
            &["GPUPowerUsage"],
            "Average",
            &json!({"min": 0}),
        ),
        (
            "GPU memory",
            &["GPUMemoryUsed", "GPUMemoryFree"],
            "Average",
            &json!({"min": 0}),
        ),
        (
            "GPU health",
            &[
                "GPUsUnhealthy",
                "GPUsMissing",
                "GPUsThrottled",
                "NodesStraggling",
            ],
            "Maximum",
            &json!({"min": 0}),
        ),
        (
            "GPUs idle, and their cost",
            &["GPUsIdle", "GPUIdleCostPerHour"],
            "Maximum",
            &json!({"min": 0}),
        ),
    ] {
        let widget = widget(title);
        let rows = widget["metrics"].as_array().unwrap();
        for (row, metric) in rows.iter().zip(metrics) {
            assert_eq!(row[1], *metric, "{title}");
            assert_eq!(row[2]["stat"], statistic, "{title}");
        }
        for limit in ["min", "max"] {
            assert_eq!(widget["yAxis"]["left"][limit], range[limit], "{title}");
        }
    }
}

#[test]
fn widgets_do_not_overlap() {
    let dashboard = body();
    let widgets = dashboard["widgets"].as_array().unwrap();
    let edge = |widget: &Value, at: &str, length: &str| {
        let at = widget[at].as_u64().unwrap();
        (at, at + widget[length].as_u64().unwrap())
    };
    let overlap = |(a, b), (c, d)| a < d && c < b;
    for (place, one) in widgets.iter().enumerate() {
        assert!(edge(one, "x", "width").1 <= 24);
        for other in &widgets[place + 1..] {
            let sideways = overlap(edge(one, "x", "width"), edge(other, "x", "width"));
            let downwards = overlap(edge(one, "y", "height"), edge(other, "y", "height"));
            assert!(!(sideways && downwards), "{one} and {other}");
        }
    }
}

/// CloudWatch evaluates an alarm on exactly one set of dimensions.
#[test]
fn gpu_alarms_watch_the_metric_of_the_whole_cluster() {
    for (id, alarm) in monitoring().of_type("AWS::CloudWatch::Alarm") {
        if is_ours(&alarm["Namespace"]) {
            assert!(alarm["Dimensions"].is_null(), "{id}");
        }
        for query in alarm["Metrics"].as_array().unwrap_or(&Vec::new()) {
            assert!(
                query["MetricStat"]["Metric"]["Dimensions"].is_null(),
                "{id}"
            );
        }
    }
}

#[test]
fn every_alarm_tells_somebody_and_says_what_missing_data_means() {
    // That of the part topic.yaml, as `parts_are_told_of_the_one_workspace_and_the_topics_of_the_stack` has it.
    let topic = json!([{"Ref": "AlarmTopicArn"}]);
    let part = Template::load("topic.yaml");
    assert_eq!(
        part.section("Outputs")["AlarmTopicArn"]["Value"],
        json!({"Fn::If": ["CreateAlarmTopic", {"Ref": "AlarmTopic"}, {"Ref": "AlarmTopicArn"}]})
    );
    for (id, alarm) in monitoring().of_type("AWS::CloudWatch::Alarm") {
        assert_eq!(alarm["AlarmActions"], topic, "{id}");
        assert_eq!(alarm["OKActions"], topic, "{id}");
        // A PromQL query returns no series where data is missing, and cannot say more of it.
        let is_promql = alarm["EvaluationCriteria"].is_object();
        assert_eq!(alarm["TreatMissingData"].is_string(), !is_promql, "{id}");
        assert!(alarm["AlarmDescription"].is_string(), "{id}");
    }
}

#[test]
fn what_can_break_is_watched() {
    let template = monitoring();
    let alarms: BTreeSet<_> = template
        .of_type("AWS::CloudWatch::Alarm")
        .filter_map(|(_, alarm)| {
            let subject = &alarm["Dimensions"][0]["Value"];
            let subject = subject["Ref"].as_str().or(subject["Fn::Sub"][0].as_str());
            Some(format!("{} {}", subject?, alarm["MetricName"].as_str()?))
        })
        .collect();
    let expected = [
        "${Prefix}-dcgm-to-cloudwatch Errors",
        "${Prefix}-dcgm-to-cloudwatch Invocations",
        "${Prefix}-dcgm-to-cloudwatch Throttles",
        "DeadLetterQueueName ApproximateNumberOfMessagesVisible",
        "GrafanaDataSourceSetupFunctionName Errors",
    ];
    assert_eq!(alarms, expected.map(String::from).into());
}

/// Amazon Managed Prometheus has a metric for each group of rules: a query adds those of the workspace up.
/// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-CW-usage-metrics.html>
#[test]
fn rules_and_alert_manager_are_watched_as_they_cannot_tell_of_themselves() {
    let template = Template::load("prometheus.yaml");
    let workspace = &template.section("Outputs")["WorkspaceId"]["Value"];
    let watched: BTreeSet<_> = template
        .of_type("AWS::CloudWatch::Alarm")
        .map(|(id, alarm)| {
            let queries = alarm["Metrics"].as_array().unwrap();
            assert_eq!(queries.len(), 1, "{id}");
            assert_eq!(queries[0]["ReturnData"], true, "{id}");
            assert_eq!(queries[0]["Period"], 300, "{id}");
            let failing = (&alarm["ComparisonOperator"], &alarm["Threshold"]);
            let above_zero = (&json!("GreaterThanThreshold"), &json!(0));
            assert_eq!(failing, above_zero, "{id}");
            // A workspace without rules, or with nothing to tell, fails in nothing.
            assert_eq!(alarm["TreatMissingData"], "notBreaching", "{id}");
            let query = &queries[0]["Expression"]["Fn::Sub"];
            assert_eq!(&query[1], &json!({"Id": workspace}), "{id}");
            format!("{id} {}", query[0].as_str().unwrap())
        })
        .collect();
    let expected = [
        (
            "AlertManagerFailingAlarm",
            "AlertManagerNotificationsFailed",
        ),
        ("RulesFailingAlarm", "RuleEvaluationFailures"),
        ("RulesLateAlarm", "RuleGroupIterationsMissed"),
    ]
    .map(|(id, metric)| {
        format!("{id} SELECT SUM({metric}) FROM \"AWS/Prometheus\" WHERE Workspace = '${{Id}}'")
    });
    assert_eq!(watched, expected.into());
}

/// Verdicts that need somebody; that GPUs are idle, and what it costs, is no fault.
#[test]
fn any_gpu_or_node_that_needs_somebody_is_told() {
    let template = Template::load("alarms.yaml");
    let watched: BTreeSet<_> = template
        .of_type("AWS::CloudWatch::Alarm")
        .filter(|(_, alarm)| is_verdict(alarm))
        .map(|(id, alarm)| {
            assert_eq!(alarm["Statistic"], "Maximum", "{id}");
            assert_eq!(alarm["Threshold"], 0, "{id}");
            assert_eq!(alarm["ComparisonOperator"], "GreaterThanThreshold", "{id}");
            let row = (&alarm["DatapointsToAlarm"], &alarm["EvaluationPeriods"]);
            assert_eq!(row, (&json!(3), &json!(10)), "{id}");
            assert_eq!(alarm["TreatMissingData"], "notBreaching", "{id}");
            alarm["MetricName"].as_str().unwrap().to_owned()
        })
        .collect();
    let expected = [
        "GPUsMissing",
        "GPUsThrottled",
        "GPUsUnhealthy",
        "NodesStraggling",
    ];
    assert_eq!(watched, expected.map(String::from).into());
}

/// The names that alarms and dashboard are told, or make up themselves, are those of the resources.
#[test]
fn alarms_watch_what_there_is() {
    let template = monitoring();
    let name = |id: &str| template.resource(id)["Properties"]["FunctionName"]["Fn::Sub"].clone();
    assert_eq!(name("DcgmToCloudWatch")[0], "${Prefix}-dcgm-to-cloudwatch");
    let set_up = "grafana-datasource-setup";
    assert_eq!(
        name("GrafanaDataSourceSetup"),
        format!("${{NamePrefix}}-{set_up}")
    );
    let stacks = Template::load("monitoring.yaml");
    let passed = &stacks.resource("Alarms")["Properties"]["Parameters"];
    let told = &passed["GrafanaDataSourceSetupFunctionName"]["Fn::If"];
    assert_eq!(told[1]["Fn::Sub"][0], format!("${{Prefix}}-{set_up}"));
    let group = template.resource("DcgmToCloudWatchLogGroup")["Properties"]["LogGroupName"].clone();
    let body = template.resource("GpuDashboard")["Properties"]["DashboardBody"]["Fn::Sub"].clone();
    let query = format!("SOURCE '{}'", group["Fn::Sub"][0].as_str().unwrap());
    assert!(body[0].as_str().unwrap().contains(&query), "{query}");
}

/// A new stack pages nobody before its cluster can have come up, and before the rules can know it.
#[test]
fn an_alarm_on_silence_waits_for_the_first_data() {
    for (id, alarm) in monitoring().of_type("AWS::CloudWatch::Alarm") {
        let warm_up = &alarm["WarmUpConfiguration"]["WarmUpPeriodDurationInMinutes"];
        let is_on_silence = alarm["TreatMissingData"] == "breaching";
        let expected = match (is_on_silence, is_verdict(alarm)) {
            (true, _) => Some(120),
            (false, true) => Some(30),
            (false, false) => None,
        };
        assert_eq!(warm_up.as_u64(), expected, "{id}");
        assert_eq!(alarm["WarmUpConfiguration"].is_null(), expected.is_none());
    }
}

/// The newest points are filled in as not breaching until their data comes, minutes late.
#[test]
fn an_alarm_on_presence_can_do_without_the_newest_points() {
    const LATE: u64 = 4;
    for (id, alarm) in monitoring().of_type("AWS::CloudWatch::Alarm") {
        let ours = is_ours(&alarm["Namespace"]) || alarm["Metrics"].is_array();
        if ours && alarm["TreatMissingData"] == "notBreaching" {
            let of = |name: &str| alarm[name].as_u64().unwrap();
            let spare = of("EvaluationPeriods") - of("DatapointsToAlarm");
            assert!(spare >= LATE.min(of("DatapointsToAlarm") / 2), "{id}");
        }
    }
}

fn metrics_watched() -> BTreeSet<String> {
    let template = monitoring();
    let mut watched = BTreeSet::new();
    for (_, alarm) in template.of_type("AWS::CloudWatch::Alarm") {
        let queries = alarm["Metrics"].as_array().cloned().unwrap_or_default();
        let metrics = queries.iter().map(|query| &query["MetricStat"]["Metric"]);
        for metric in metrics
            .chain([alarm])
            .filter(|metric| is_ours(&metric["Namespace"]))
        {
            watched.insert(metric["MetricName"].as_str().unwrap().to_owned());
        }
    }
    watched
}

fn is_ours(namespace: &Value) -> bool {
    namespace == &json!({"Fn::Sub": "ParallelCluster/${ClusterName}/GPU"})
}

/// Whether the alarm is on what the rules say.
fn is_verdict(alarm: &Value) -> bool {
    let name = alarm["MetricName"].as_str().unwrap_or_default();
    is_ours(&alarm["Namespace"]) && verdict::count_names().contains(&name)
}

fn metrics_shown() -> BTreeSet<String> {
    let rows = dashboard::rows(&body());
    rows.iter()
        .filter_map(|row| match &row.fields[..] {
            [namespace, metric, ..] if namespace == NAMESPACE => Some(metric.clone()),
            [search] => Some(between(search, "MetricName=\"", "\"").to_owned()),
            _ => None,
        })
        .collect()
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap();
    rest.split_once(after).unwrap().0
}

/// The dashboard's body with something in place of every variable.
fn body() -> Value {
    let template = monitoring();
    let body = &template.resource("GpuDashboard")["Properties"]["DashboardBody"]["Fn::Sub"];
    let of_each_gpu = &body[1]["WidgetOfEachGpu"]["Fn::If"][1]["Fn::Sub"][0];
    let mut text = body[0]
        .as_str()
        .unwrap()
        .replace("${WidgetOfEachGpu}", of_each_gpu.as_str().unwrap())
        .replace("${Namespace}", NAMESPACE);
    while let Some(start) = text.find("${") {
        let end = start + text[start..].find('}').unwrap();
        text.replace_range(start..=end, "1");
    }
    serde_json::from_str(&text).unwrap()
}
