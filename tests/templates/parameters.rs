//! Parameters and outputs: what a user may set and what a stack tells.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::template::{TEMPLATES, Template};

/// What scripts and people read by name.
const OUTPUTS: [&str; 14] = [
    "AMPPrometheusEndpoint",
    "AMPQueryPolicyArn",
    "AMPRemoteWritePolicyArn",
    "AMPWorkspaceArn",
    "AMPWorkspaceId",
    "DcgmToCloudWatchFunctionName",
    "GpuDashboardUrl",
    "GrafanaDashboardsUrl",
    "GrafanaDataSourceHealth",
    "GrafanaDataSourceSetupFunctionName",
    "GrafanaDataSourceStatus",
    "ManagedGrafanaWorkspaceEndpoint",
    "ManagedGrafanaWorkspaceId",
    "MonitoringType",
];

#[test]
fn every_parameter_is_described_bounded_and_has_a_default() {
    for name in TEMPLATES {
        for (parameter, declared) in Template::load(name).section("Parameters") {
            for key in ["Description", "ConstraintDescription", "Default", "Type"] {
                assert!(!declared[key].is_null(), "{name}: {parameter} has no {key}");
            }
            let is_bounded = ["AllowedPattern", "AllowedValues", "MaxValue"]
                .iter()
                .any(|key| !declared[key].is_null());
            assert!(is_bounded, "{name}: {parameter} takes anything");
        }
    }
}

#[test]
fn the_root_stack_passes_on_every_parameter_of_its_parts() {
    let root = Template::load("parallelcluster-infrastructure.yaml");
    let mut passed_on = BTreeSet::new();
    for (part, template) in [
        ("Network", "network.yaml"),
        ("Monitoring", "monitoring.yaml"),
    ] {
        let passed = &root.resource(part)["Properties"]["Parameters"];
        for (parameter, declared) in Template::load(template).section("Parameters") {
            if parameter == "NamePrefix" {
                assert_eq!(passed[parameter], json!({"Ref": "AWS::StackName"}));
                continue;
            }
            assert_eq!(passed[parameter], json!({"Ref": parameter}), "{part}");
            // The root alone can do without monitoring.
            if parameter != "MonitoringType" {
                assert_eq!(&root.section("Parameters")[parameter], declared, "{part}");
            }
            passed_on.insert(parameter.clone());
        }
    }
    let own: BTreeSet<_> = root.section("Parameters").keys().cloned().collect();
    assert_eq!(own, passed_on);
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
    for name in &TEMPLATES[..2] {
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
