//! House rules that hold for every resource of every template.

use serde_json::Value;

use crate::templates::template::{TEMPLATES, Template};

/// Who may do something to everything, as `resource Sid`.
const ON_EVERYTHING: [&str; 10] = [
    // In a key's own policy * is that key.
    "AlarmTopicKey AccountAdministers",
    "AlarmTopicKey AlarmsPublish",
    "AlarmTopicKey AlertManagerPublishes",
    // These calls know no resource.
    "DcgmToCloudWatchRole PublishToOwnNamespace",
    // Amazon Managed Grafana's own calls, of which application it makes itself.
    "GrafanaDataSourceSetupRole AssignPeopleThroughGrafana",
    // The organisation's own key, by way of its directory alone.
    "GrafanaDataSourceSetupRole DecryptDirectory",
    "GrafanaDataSourceSetupRole FindIdentityCenter",
    // As AWS's own policy for this data source has it.
    "GrafanaWorkspaceRole ReadLogs",
    "GrafanaWorkspaceRole ReadMetrics",
    "GrafanaWorkspaceRole ReadNamesForVariables",
];

#[test]
fn only_what_knows_no_resource_is_allowed_on_everything() {
    let mut found = Vec::new();
    for_each_value(&mut |id, value| {
        let on_everything = match &value["Resource"] {
            Value::Array(several) => several.iter().any(|one| one == "*"),
            one => one == "*",
        };
        if value["Effect"] == "Allow" && on_everything {
            found.push(format!("{id} {}", value["Sid"].as_str().unwrap()));
        }
    });
    found.sort();
    assert_eq!(found, ON_EVERYTHING);
}

/// But for a key's administrators, who are those of the account.
#[test]
fn nobody_is_allowed_every_action_of_a_service() {
    for_each_value(&mut |id, value| {
        let actions = value["Action"].to_string();
        let is_deny = value["Effect"] == "Deny";
        let is_of_key = value["Sid"] == "AccountAdministers";
        let every = actions.contains(":*\"") || actions.contains("\"*\"");
        assert!(is_deny || is_of_key || !every, "{id}: {value}");
    });
}

#[test]
fn no_resource_names_a_partition_or_has_code_in_it() {
    for_each_value(&mut |id, value| {
        let text = value.as_str().unwrap_or_default();
        assert!(!text.contains("arn:aws"), "{id}: {text}");
        assert!(value["ZipFile"].is_null(), "{id} has inline code");
    });
}

#[test]
fn what_holds_data_says_what_becomes_of_it() {
    const HOLDS_DATA: [&str; 6] = [
        "AWS::APS::Workspace",
        "AWS::CloudFormation::Stack",
        "AWS::Grafana::Workspace",
        "AWS::KMS::Key",
        "AWS::Logs::LogGroup",
        "AWS::SQS::Queue",
    ];
    let mut checked = 0;
    for name in TEMPLATES {
        for (id, resource) in Template::load(name).section("Resources") {
            let kind = resource["Type"].as_str().unwrap();
            if !HOLDS_DATA.contains(&kind) {
                continue;
            }
            checked += 1;
            // A parameter that changes, or a stack that goes, must not take the history along.
            let holds_history = kind.ends_with("::Workspace");
            let expected = if holds_history {
                ("RetainExceptOnCreate", "Retain")
            } else {
                ("Delete", "Delete")
            };
            let policies = ["DeletionPolicy", "UpdateReplacePolicy"];
            let [deleted, replaced] = policies.map(|policy| resource[policy].as_str().unwrap());
            assert_eq!((deleted, replaced), expected, "{id}");
        }
    }
    assert!(checked > 0);
}

/// A workspace that is kept still reads with its role.
#[test]
fn what_a_kept_workspace_needs_is_kept_too() {
    let grafana = Template::load("grafana.yaml");
    let role = grafana.resource("GrafanaWorkspaceRole");
    assert_eq!(role["DeletionPolicy"], "RetainExceptOnCreate");
    // IAM deletes no managed policy that a role still bears.
    assert!(role["Properties"]["ManagedPolicyArns"].is_null());
}

#[test]
fn keys_are_rotated() {
    let template = Template::monitoring();
    let keys: Vec<_> = template.of_type("AWS::KMS::Key").collect();
    let ids: Vec<_> = keys.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["AlarmTopicKey"]);
    assert_eq!(keys[0].1["EnableKeyRotation"], true);
}

/// Every value in the resources of all templates, with the resource it is in.
fn for_each_value(visit: &mut impl FnMut(&str, &Value)) {
    fn walk(id: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
        visit(id, value);
        match value {
            Value::Array(items) => items.iter().for_each(|item| walk(id, item, visit)),
            Value::Object(fields) => fields.values().for_each(|field| walk(id, field, visit)),
            _ => {}
        }
    }
    for name in TEMPLATES {
        for (id, resource) in Template::load(name).section("Resources") {
            walk(id, resource, visit);
        }
    }
}
