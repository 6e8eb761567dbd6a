//! Parameters and outputs: what a user may set and what a stack tells.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use testkit::project::repository;

use crate::templates::template::{ENTRIES, PARTS, TEMPLATES, Template};

/// What scripts and people read by name.
const OUTPUTS: [&str; 18] = [
    "AMPPrometheusEndpoint",
    "AMPQueryPolicyArn",
    "AMPRemoteWritePolicyArn",
    "AMPWorkspaceArn",
    "AMPWorkspaceId",
    "AlarmTopicArn",
    "AlertManagerDefinition",
    "DcgmToCloudWatchFunctionName",
    "GpuDashboardUrl",
    "GpuEventsTopicArn",
    "GrafanaDashboardsUrl",
    "GrafanaDataSourceHealth",
    "GrafanaDataSourceSetupFunctionName",
    "GrafanaDataSourceStatus",
    "GrafanaPeopleStatus",
    "ManagedGrafanaWorkspaceEndpoint",
    "ManagedGrafanaWorkspaceId",
    "MonitoringType",
];

#[test]
fn every_parameter_is_described_and_bounded_and_has_a_default_where_it_can() {
    // Those of a further cluster that only its owner knows.
    const GIVEN: [(&str, &str); 5] = [
        ("metrics.yaml", "AmpWorkspaceId"),
        ("alarms.yaml", "AlarmTopicArn"),
        ("alarms.yaml", "DeadLetterQueueName"),
        ("health.yaml", "AmpWorkspaceId"),
        ("efficiency.yaml", "AmpWorkspaceId"),
    ];
    let mut given = Vec::new();
    for name in ENTRIES {
        for (parameter, declared) in Template::load(name).section("Parameters") {
            for key in ["Description", "ConstraintDescription", "Type"] {
                assert!(!declared[key].is_null(), "{name}: {parameter} has no {key}");
            }
            if declared["Default"].is_null() {
                given.push((name, parameter.clone()));
            }
            let is_bounded = ["AllowedPattern", "AllowedValues", "MaxValue"]
                .iter()
                .any(|key| !declared[key].is_null());
            assert!(is_bounded, "{name}: {parameter} takes anything");
        }
    }
    assert_eq!(
        given,
        GIVEN.map(|(name, parameter)| (name, parameter.to_owned()))
    );
}

/// A parameter is the same wherever it stands, and is passed on as it is.
#[test]
fn stacks_pass_on_every_parameter_of_their_parts() {
    let root = [
        ("Network", "network.yaml"),
        ("Monitoring", "monitoring.yaml"),
    ];
    let mut made = BTreeSet::new();
    for (stack, parts) in [
        ("parallelcluster-infrastructure.yaml", &root[..]),
        ("monitoring.yaml", &PARTS[..]),
    ] {
        let stack = Template::load(stack);
        let mut passed_on = BTreeSet::new();
        for (part, template) in parts {
            let passed = &stack.resource(part)["Properties"]["Parameters"];
            let template = Template::load(template);
            let expected: BTreeSet<_> = template.section("Parameters").keys().collect();
            let told: BTreeSet<_> = passed.as_object().unwrap().keys().collect();
            assert_eq!(told, expected, "{part}");
            for (parameter, declared) in template.section("Parameters") {
                if passed[parameter] != json!({"Ref": parameter}) {
                    made.insert(format!("{part} {parameter}"));
                    continue;
                }
                passed_on.insert(parameter.clone());
                // The parts that nobody deploys by hand say no more than the type, and the root alone
                // can do without monitoring.
                if declared["Description"].is_string() && parameter != "MonitoringType" {
                    let own = &stack.section("Parameters")[parameter];
                    assert_eq!(own, declared, "{part}: {parameter}");
                }
            }
        }
        let own = stack.section("Parameters").keys().cloned();
        let not_passed: Vec<_> = own.filter(|name| !passed_on.contains(name)).collect();
        let kept = not_passed
            .iter()
            .all(|name| ["MonitoringType", "NamePrefix"].contains(&&**name));
        assert!(kept, "{not_passed:?}");
    }
    assert_eq!(made, MADE.map(str::to_owned).into());
}

/// What a stack makes for its parts, of other parts or of its own name.
const MADE: [&str; 16] = [
    "Alarms AlarmTopicArn",
    "Alarms DeadLetterQueueName",
    "Alarms GrafanaDataSourceSetupFunctionName",
    "Alarms NamePrefix",
    "Efficiency AmpWorkspaceId",
    "Efficiency DashboardUrl",
    "Grafana AmpWorkspaceId",
    "Grafana NamePrefix",
    "Health AmpWorkspaceId",
    "Health DashboardUrl",
    "Metrics AmpWorkspaceId",
    "Metrics NamePrefix",
    "Monitoring NamePrefix",
    "Prometheus AlarmTopicArn",
    "Prometheus GpuEventsTopicArn",
    "Prometheus NamePrefix",
];

/// Every part that tells people or programs, or reads the workspace, has what the stack made for all.
#[test]
fn parts_are_told_of_the_one_workspace_and_the_topics_of_the_stack() {
    let stack = Template::load("monitoring.yaml");
    for (part, _) in PARTS {
        let told = &stack.resource(part)["Properties"]["Parameters"];
        let chosen = ["Prometheus", "Topic"].contains(&part);
        for (parameter, from, may_be_chosen) in [
            ("AmpWorkspaceId", "Prometheus.Outputs.WorkspaceId", chosen),
            (
                "AlarmTopicArn",
                "Topic.Outputs.AlarmTopicArn",
                part == "Topic",
            ),
            (
                "GpuEventsTopicArn",
                "Topic.Outputs.GpuEventsTopicArn",
                false,
            ),
        ] {
            let (made_by, output) = from.split_once('.').unwrap();
            let expected = if may_be_chosen {
                json!({"Ref": parameter})
            } else {
                json!({"Fn::GetAtt": [made_by, output]})
            };
            let is_told = !told[parameter].is_null();
            assert!(!is_told || told[parameter] == expected, "{part}: {told}");
        }
    }
}

/// Alerts lead to the dashboard of what they are about, in Grafana where there is one.
#[test]
fn alerts_lead_to_a_dashboard_of_grafana_or_of_cloudwatch() {
    let stack = Template::load("monitoring.yaml");
    for (part, file, dashboard) in [
        ("Health", "health", "gpu-health"),
        ("Efficiency", "efficiency", "gpu-efficiency"),
    ] {
        let url = &stack.resource(part)["Properties"]["Parameters"]["DashboardUrl"];
        let grafana =
            format!("${{Grafana.Outputs.Endpoint}}/d/{dashboard}?var-cluster=${{ClusterName}}");
        let cloudwatch = json!({"Fn::GetAtt": ["Alarms", "Outputs.GpuDashboardUrl"]});
        let expected = json!({"Fn::If": ["HasGrafana", {"Fn::Sub": grafana}, cloudwatch]});
        assert_eq!(url, &expected, "{part}");
        let file = repository(&format!("infra/dashboards/{file}.json"));
        let file: Value = serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(file["uid"], dashboard);
    }
}

#[test]
fn monitoring_can_be_chosen_as_the_documents_say() {
    let root = Template::load("parallelcluster-infrastructure.yaml");
    let choice = &root.section("Parameters")["MonitoringType"];
    assert_eq!(
        choice["AllowedValues"],
        json!(["amp+amg", "amp-only", "none"])
    );
}

#[test]
fn both_stacks_tell_what_is_read_by_name() {
    for name in &ENTRIES[..2] {
        let template = Template::load(name);
        for output in OUTPUTS {
            let told = template.section("Outputs").get(output);
            assert!(told.is_some(), "{name} has no output {output}");
        }
    }
}

#[test]
fn every_output_is_described() {
    for name in TEMPLATES {
        for (output, told) in Template::load(name).section("Outputs") {
            assert!(!told["Description"].is_null(), "{name}: {output}");
        }
    }
}

#[test]
fn the_root_stack_hands_up_every_output_of_monitoring_unchanged() {
    let root = Template::load("parallelcluster-infrastructure.yaml");
    for (output, told) in Template::load("monitoring.yaml").section("Outputs") {
        let handed_up = &root.section("Outputs")[output];
        if output == "MonitoringType" {
            continue;
        }
        let value = json!({"Fn::GetAtt": ["Monitoring", format!("Outputs.{output}")]});
        assert_eq!(handed_up["Value"], value);
        let condition = match &told["Condition"] {
            Value::Null => "HasMonitoring",
            _ => "HasGrafana",
        };
        assert_eq!(handed_up["Condition"], condition, "{output}");
    }
}
