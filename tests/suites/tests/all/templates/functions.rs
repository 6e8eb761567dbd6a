//! House rules for the functions' resources, and their environment against their own code.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use testkit::project::repository;

use crate::templates::template::Template;

fn monitoring() -> Template {
    Template::monitoring()
}

#[test]
fn every_function_runs_a_built_program_and_no_inline_code() {
    for (id, function) in monitoring().of_type("AWS::Lambda::Function") {
        assert_eq!(function["Runtime"], "provided.al2023", "{id}");
        assert_eq!(function["Handler"], "bootstrap", "{id}");
        assert!(function["Code"].as_str().unwrap().ends_with(".zip"), "{id}");
    }
}

#[test]
fn every_function_says_its_memory_time_and_what_becomes_of_failed_events() {
    let template = monitoring();
    let parameters = template.section("Parameters");
    for (id, function) in template.of_type("AWS::Lambda::Function") {
        let memory = &function["MemorySize"];
        let chosen = memory["Ref"]
            .as_str()
            .map(|name| &parameters[name]["Default"]);
        assert!(chosen.unwrap_or(memory).is_u64(), "{id}");
        assert!(function["Timeout"].is_u64(), "{id}");
        let (_, retries) = template
            .of_type("AWS::Lambda::EventInvokeConfig")
            .find(|(_, config)| config["FunctionName"] == json!({"Ref": id}))
            .unwrap_or_else(|| panic!("{id} has no EventInvokeConfig"));
        assert!(retries["MaximumRetryAttempts"].is_u64(), "{id}");
        assert!(retries["MaximumEventAgeInSeconds"].is_u64(), "{id}");
    }
}

#[test]
fn every_function_logs_json_to_a_group_of_its_own_that_forgets() {
    let template = monitoring();
    for (id, function) in template.of_type("AWS::Lambda::Function") {
        let logging = &function["LoggingConfig"];
        assert_eq!(logging["LogFormat"], "JSON", "{id}");
        let group = logging["LogGroup"]["Ref"].as_str().unwrap();
        let group = &template.resource(group)["Properties"];
        assert_eq!(group["RetentionInDays"], json!({"Ref": "LogRetentionDays"}));
        // `aws logs tail /aws/lambda/<function>` finds it.
        let name = |value: &Value| {
            let substituted = &value["Fn::Sub"];
            let text = substituted[0].as_str().or(substituted.as_str());
            text.unwrap().to_owned()
        };
        let expected = format!("/aws/lambda/{}", name(&function["FunctionName"]));
        assert_eq!(name(&group["LogGroupName"]), expected);
    }
}

#[test]
fn no_two_functions_share_a_role() {
    let template = monitoring();
    let roles: Vec<_> = template
        .of_type("AWS::Lambda::Function")
        .map(|(_, function)| {
            function["Role"]["Fn::GetAtt"][0]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let distinct: BTreeSet<_> = roles.iter().collect();
    assert_eq!(distinct.len(), roles.len());
}

#[test]
fn functions_get_exactly_the_variables_they_read() {
    let template = monitoring();
    for (id, function) in [
        ("DcgmToCloudWatch", "dcgm-to-cloudwatch"),
        ("GrafanaDataSourceSetup", "grafana-datasource-setup"),
    ] {
        let variables = &template.resource(id)["Properties"]["Environment"]["Variables"];
        let given: BTreeSet<_> = variables.as_object().unwrap().keys().cloned().collect();
        assert_eq!(given, variables_read(function), "{function}");
    }
}

#[test]
fn the_custom_resource_gives_every_property_the_set_up_reads_and_no_other_it_might() {
    let template = monitoring();
    let resource = &template.resource("GrafanaDataSource")["Properties"];
    let given: BTreeSet<_> = resource.as_object().unwrap().keys().cloned().collect();
    let mut expected = quoted_after(&config_of("grafana-datasource-setup"), "property: \"");
    // CloudFormation's own, and what only makes the resource run again.
    expected.extend(
        [
            "ServiceToken",
            "ServiceTimeout",
            "GrafanaVersion",
            "CodeRevision",
        ]
        .map(String::from),
    );
    assert_eq!(given, expected);
}

#[test]
fn a_manual_run_sets_up_the_same_as_the_custom_resource() {
    let template = monitoring();
    let variables =
        &template.resource("GrafanaDataSourceSetup")["Properties"]["Environment"]["Variables"];
    let properties = &template.resource("GrafanaDataSource")["Properties"];
    for (variable, property) in [
        ("GRAFANA_WORKSPACE_ID", "GrafanaWorkspaceId"),
        ("AMP_WORKSPACE_URL", "AmpWorkspaceUrl"),
        ("AMP_REGION", "AmpRegion"),
        ("DATASOURCE_NAME", "DataSourceName"),
        ("DATASOURCE_UID", "DataSourceUid"),
        ("CLOUDWATCH_DATASOURCE_NAME", "CloudWatchDataSourceName"),
        ("DASHBOARD_FOLDER", "DashboardFolder"),
        ("DASHBOARD_OVERWRITE", "DashboardOverwrite"),
        ("GRAFANA_ADMINS", "GrafanaAdmins"),
        ("GRAFANA_EDITORS", "GrafanaEditors"),
        ("GRAFANA_VIEWERS", "GrafanaViewers"),
    ] {
        assert_eq!(variables[variable], properties[property]);
    }
}

#[test]
fn scheduled_runs_never_overlap_and_are_not_repeated() {
    let template = monitoring();
    for (id, function) in template.of_type("AWS::Lambda::Function") {
        let reserved = &function["ReservedConcurrentExecutions"]["Fn::If"];
        assert_eq!(reserved[1], 1, "{id}");
    }
    let retries = &template.resource("DcgmToCloudWatchInvokeConfig")["Properties"];
    assert_eq!(retries["MaximumRetryAttempts"], 0);
    let target = &template.resource("DcgmToCloudWatchSchedule")["Properties"]["Target"];
    // An EventBridge event, with the time that the run stands for.
    let input: Value = serde_json::from_str(target["Input"].as_str().unwrap()).unwrap();
    assert_eq!(input["time"], "<aws.scheduler.scheduled-time>");
    assert_eq!(input["source"], "aws.scheduler");
    assert_eq!(
        target["DeadLetterConfig"]["Arn"],
        json!({"Fn::GetAtt": ["DeadLetterQueue", "Arn"]})
    );
}

#[test]
fn cloudformation_waits_longer_for_the_set_up_than_it_may_take() {
    let template = monitoring();
    let properties = |id: &str| template.resource(id)["Properties"].clone();
    let run = properties("GrafanaDataSourceSetup")["Timeout"]
        .as_u64()
        .unwrap();
    let retries = properties("GrafanaDataSourceSetupInvokeConfig")["MaximumRetryAttempts"]
        .as_u64()
        .unwrap();
    let waits = properties("GrafanaDataSource")["ServiceTimeout"]
        .as_u64()
        .unwrap();
    assert!(run * (retries + 1) < waits);
}

/// The template gives what a user may choose, not what Lambda or a test sets.
fn variables_read(function: &str) -> BTreeSet<String> {
    let config = config_of(function);
    [": &str = \"", "variable: \""]
        .iter()
        .flat_map(|before| quoted_after(&config, before))
        .filter(|name| name.chars().all(|c| c.is_ascii_uppercase() || c == '_'))
        .filter(|name| !name.starts_with("AWS_"))
        .collect()
}

fn config_of(function: &str) -> String {
    fs::read_to_string(repository(&format!("functions/{function}/src/config.rs"))).unwrap()
}

/// Every `…` of `before…"`.
fn quoted_after(text: &str, before: &str) -> BTreeSet<String> {
    text.split(before)
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .collect()
}
