//! Parameters and outputs: what a user may set and what a stack tells.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::template::{PARTS, TEMPLATES, Template};

/// What scripts and people read by name.
const OUTPUTS: [&str; 15] = [
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
    "GrafanaPeopleStatus",
    "ManagedGrafanaWorkspaceEndpoint",
    "ManagedGrafanaWorkspaceId",
    "MonitoringType",
];

/// The templates that people deploy by hand.
const ENTRIES: &[&str] = TEMPLATES.split_at(4).0;

#[test]
fn every_parameter_is_described_and_bounded_and_has_a_default_where_it_can() {
    // Those of a further cluster that only its owner knows.
    const GIVEN: [&str; 2] = ["AmpWorkspaceId", "DeadLetterQueueName"];
    for name in ENTRIES {
        for (parameter, declared) in Template::load(name).section("Parameters") {
            for key in ["Description", "ConstraintDescription", "Type"] {
                assert!(!declared[key].is_null(), "{name}: {parameter} has no {key}");
            }
            let has_default = !declared["Default"].is_null();
            assert!(
                has_default || GIVEN.contains(&parameter.as_str()),
                "{name}: {parameter}"
            );
            let is_bounded = ["AllowedPattern", "AllowedValues", "MaxValue"]
                .iter()
                .any(|key| !declared[key].is_null());
            assert!(is_bounded, "{name}: {parameter} takes anything");
        }
    }
}

/// A parameter is the same wherever it stands, and is passed on as it is.
#[test]
fn stacks_pass_on_every_parameter_of_their_parts() {
    let root = [
        ("Network", "network.yaml"),
        ("Monitoring", "monitoring.yaml"),
    ];
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
                    assert!(MADE.contains(&parameter.as_str()), "{part}: {parameter}");
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
}

/// What a stack makes for its parts, of other parts or of its own name.
const MADE: [&str; 4] = [
    "AmpWorkspaceId",
    "DeadLetterQueueName",
    "GrafanaDataSourceSetupFunctionName",
    "NamePrefix",
];

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
