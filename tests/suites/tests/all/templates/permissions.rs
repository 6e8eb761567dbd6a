//! Who may do what: the roles' statements word for word, and the functions' calls against them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use testkit::project::repository;

use crate::templates::template::Template;

/// In the part that may make it, and in the others.
const WORKSPACE: &str =
    "arn:${AWS::Partition}:aps:${AWS::Region}:${AWS::AccountId}:workspace/${Id}";
const GIVEN_WORKSPACE: &str =
    "arn:${AWS::Partition}:aps:${AWS::Region}:${AWS::AccountId}:workspace/${AmpWorkspaceId}";
const GRAFANA: &str =
    "arn:${AWS::Partition}:grafana:${AWS::Region}:${AWS::AccountId}:/workspaces/${Id}";
const WATERMARK: &str = "arn:${AWS::Partition}:ssm:${AWS::Region}:${AWS::AccountId}:parameter/${DcgmToCloudWatchWatermark}";

/// Where OTLP goes, if it is chosen.
const DATASET: &str =
    "arn:${AWS::Partition}:cloudwatch:${AWS::Region}:${AWS::AccountId}:dataset/default";

const DIRECTORY: &str = "arn:${AWS::Partition}:identitystore::*:identitystore/*, \
                         arn:${AWS::Partition}:identitystore:::group/*, \
                         arn:${AWS::Partition}:identitystore:::user/*";

/// For a token of the function's own, on every Grafana version.
pub(crate) const CREDENTIAL: [&str; 9] = [
    "grafana:CreateWorkspaceApiKey",
    "grafana:CreateWorkspaceServiceAccount",
    "grafana:CreateWorkspaceServiceAccountToken",
    "grafana:DeleteWorkspaceApiKey",
    "grafana:DeleteWorkspaceServiceAccount",
    "grafana:DeleteWorkspaceServiceAccountToken",
    "grafana:DescribeWorkspace",
    "grafana:ListWorkspaceServiceAccountTokens",
    "grafana:ListWorkspaceServiceAccounts",
];

/// For who may sign in.
pub(crate) const PEOPLE: [&str; 2] = ["grafana:ListPermissions", "grafana:UpdatePermissions"];

/// What Amazon Managed Grafana does with the rights of whoever calls UpdatePermissions.
pub(crate) const THROUGH_GRAFANA: [&str; 14] = [
    "sso-directory:DescribeGroup",
    "sso-directory:DescribeUser",
    "sso:AssociateProfile",
    "sso:CreateApplicationAssignment",
    "sso:DeleteApplicationAssignment",
    "sso:DescribeRegisteredRegions",
    "sso:DisassociateProfile",
    "sso:GetManagedApplicationInstance",
    "sso:GetProfile",
    "sso:GetSharedSsoConfiguration",
    "sso:ListApplicationAssignments",
    "sso:ListDirectoryAssociations",
    "sso:ListProfileAssociations",
    "sso:ListProfiles",
];

/// For queries, of people, tools and Grafana.
const QUERIES: [&str; 4] = [
    "aps:GetLabels",
    "aps:GetMetricMetadata",
    "aps:GetSeries",
    "aps:QueryMetrics",
];

/// What Grafana's alerting pages call, and a single silence, which they ask for to edit it:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/amp-configure-alerts.html>.
pub(crate) const ALERTS: [&str; 8] = [
    "aps:DeleteAlertManagerSilence",
    "aps:GetAlertManagerSilence",
    "aps:GetAlertManagerStatus",
    "aps:ListAlertManagerAlertGroups",
    "aps:ListAlertManagerAlerts",
    "aps:ListAlertManagerSilences",
    "aps:ListRules",
    "aps:PutAlertManagerSilences",
];

/// AWS's own AmazonGrafanaCloudWatchAccess, by what it is for.
pub(crate) const CLOUDWATCH_METRICS: [&str; 7] = [
    "cloudwatch:DescribeAlarmHistory",
    "cloudwatch:DescribeAlarms",
    "cloudwatch:DescribeAlarmsForMetric",
    "cloudwatch:GetInsightRuleReport",
    "cloudwatch:GetMetricData",
    "cloudwatch:GetMetricStatistics",
    "cloudwatch:ListMetrics",
];
pub(crate) const CLOUDWATCH_LOGS: [&str; 6] = [
    "logs:DescribeLogGroups",
    "logs:GetLogEvents",
    "logs:GetLogGroupFields",
    "logs:GetQueryResults",
    "logs:StartQuery",
    "logs:StopQuery",
];
pub(crate) const CLOUDWATCH_NAMES: [&str; 6] = [
    "ec2:DescribeInstances",
    "ec2:DescribeRegions",
    "ec2:DescribeTags",
    "oam:ListAttachedLinks",
    "oam:ListSinks",
    "tag:GetResources",
];

/// Every permission the stack gives: to whom, which actions, on what.
const PERMISSIONS: [(&str, &[&str], &str); 21] = [
    ("AmpQueryPolicy", &QUERIES, WORKSPACE),
    ("AmpRemoteWritePolicy", &["aps:RemoteWrite"], WORKSPACE),
    (
        "DcgmToCloudWatchRole",
        &["aps:QueryMetrics"],
        GIVEN_WORKSPACE,
    ),
    ("DcgmToCloudWatchRole", &["cloudwatch:PutMetricData"], "*"),
    (
        "DcgmToCloudWatchRole",
        &["cloudwatch:PutMetricData"],
        DATASET,
    ),
    (
        "DcgmToCloudWatchRole",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        "DcgmToCloudWatchLogGroup.Arn",
    ),
    (
        "DcgmToCloudWatchRole",
        &[
            "ssm:GetParameter",
            "ssm:GetParameterHistory",
            "ssm:PutParameter",
        ],
        WATERMARK,
    ),
    (
        "DcgmToCloudWatchScheduleRole",
        &["lambda:InvokeFunction"],
        "DcgmToCloudWatch.Arn",
    ),
    (
        "DcgmToCloudWatchScheduleRole",
        &["sqs:SendMessage"],
        "DeadLetterQueue.Arn",
    ),
    ("GrafanaDataSourceSetupRole", &CREDENTIAL, GRAFANA),
    ("GrafanaDataSourceSetupRole", &PEOPLE, GRAFANA),
    ("GrafanaDataSourceSetupRole", &["sso:ListInstances"], "*"),
    (
        "GrafanaDataSourceSetupRole",
        &["identitystore:GetGroupId", "identitystore:GetUserId"],
        DIRECTORY,
    ),
    ("GrafanaDataSourceSetupRole", &["kms:Decrypt"], "*"),
    ("GrafanaDataSourceSetupRole", &THROUGH_GRAFANA, "*"),
    (
        "GrafanaDataSourceSetupRole",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        "GrafanaDataSourceSetupLogGroup.Arn",
    ),
    ("GrafanaWorkspaceRole", &QUERIES, GIVEN_WORKSPACE),
    ("GrafanaWorkspaceRole", &ALERTS, GIVEN_WORKSPACE),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_METRICS, "*"),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_LOGS, "*"),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_NAMES, "*"),
];

#[test]
fn nobody_may_do_more_than_is_written_here() {
    let given: BTreeSet<_> = permissions();
    let expected = PERMISSIONS.map(|(who, actions, on)| Permission {
        who: who.to_owned(),
        actions: actions.iter().map(ToString::to_string).collect(),
        on: on.to_owned(),
    });
    assert_eq!(given, expected.into());
}

/// PutMetricData knows no resource; the namespace is all that holds it.
#[test]
fn metrics_can_be_published_to_the_clusters_namespace_alone() {
    let template = Template::monitoring();
    let function = &template.resource("DcgmToCloudWatch")["Properties"];
    let namespace = &function["Environment"]["Variables"]["METRIC_NAMESPACE"];
    let role = &template.resource("DcgmToCloudWatchRole")["Properties"];
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"]
        .as_array()
        .unwrap();
    let publish = statements
        .iter()
        .find(|s| s["Action"] == "cloudwatch:PutMetricData");
    assert_eq!(
        publish.unwrap()["Condition"],
        json!({"StringEquals": {"cloudwatch:namespace": namespace}})
    );
}

#[test]
fn functions_may_call_what_they_call_and_nothing_else() {
    for (role, function) in [
        ("DcgmToCloudWatchRole", "dcgm-to-cloudwatch"),
        ("GrafanaDataSourceSetupRole", "grafana-datasource-setup"),
    ] {
        let allowed: BTreeSet<_> = permissions()
            .into_iter()
            .filter(|permission| permission.who == role)
            .flat_map(|permission| permission.actions)
            // Lambda writes the log, the query of Amazon Managed Prometheus is no SDK's call, and
            // Identity Center decrypts with its caller's rights.
            .filter(|action| !action.starts_with("logs:"))
            .filter(|action| !["aps:QueryMetrics", "kms:Decrypt"].contains(&action.as_str()))
            .filter(|action| !THROUGH_GRAFANA.contains(&action.as_str()))
            .map(|action| action.split_once(':').unwrap().1.to_lowercase())
            .collect();
        assert_eq!(allowed, calls(function), "{function}");
    }
}

/// CloudFormation removes a former policy only after the set-up has cleaned up in the workspace that it
/// is for, if the policy is replaced and not changed: its name has to be another one.
#[test]
fn a_former_workspace_stays_in_reach_until_it_is_cleaned_up() {
    let template = Template::load("grafana.yaml");
    let policy = template.resource("GrafanaWorkspaceAccess");
    let name = &policy["Properties"]["ManagedPolicyName"]["Fn::Sub"];
    let workspace = &template.resource("GrafanaDataSource")["Properties"]["GrafanaWorkspaceId"];
    assert!(name[0].as_str().unwrap().ends_with("-${Id}"));
    assert_eq!(&name[1]["Id"], workspace);
    let after = &template.resource("GrafanaDataSource")["DependsOn"];
    assert!(
        after
            .as_array()
            .unwrap()
            .contains(&json!("GrafanaWorkspaceAccess"))
    );
}

#[test]
fn the_organisations_key_is_used_by_way_of_its_directory_alone() {
    let template = Template::load("grafana.yaml");
    let role = &template.resource("GrafanaDataSourceSetupRole")["Properties"];
    let statements = role["Policies"][0]["PolicyDocument"]["Statement"]
        .as_array()
        .unwrap();
    let decrypt = statements
        .iter()
        .find(|s| s["Action"] == "kms:Decrypt")
        .unwrap();
    let services = &decrypt["Condition"]["StringLike"]["kms:ViaService"];
    let expected = ["identitystore", "sso"]
        .map(|service| json!({"Fn::Sub": format!("{service}.*.${{AWS::URLSuffix}}")}));
    assert_eq!(services, &json!(expected));
}

#[test]
fn a_role_is_for_this_account_alone_where_a_service_acts_for_its_callers() {
    let template = Template::monitoring();
    for role in ["GrafanaWorkspaceRole", "DcgmToCloudWatchScheduleRole"] {
        let trust =
            &template.resource(role)["Properties"]["AssumeRolePolicyDocument"]["Statement"][0];
        let account = &trust["Condition"]["StringEquals"]["aws:SourceAccount"];
        assert_eq!(account, &json!({"Ref": "AWS::AccountId"}), "{role}");
    }
}

#[test]
fn the_queue_and_the_topics_are_encrypted_and_refuse_plain_text() {
    let template = Template::monitoring();
    let properties = |id: &str| template.resource(id)["Properties"].clone();
    assert_eq!(properties("DeadLetterQueue")["SqsManagedSseEnabled"], true);
    let topics: Vec<_> = template.of_type("AWS::SNS::Topic").collect();
    let ids: Vec<_> = topics.iter().map(|(id, _)| id.as_str()).collect();
    assert_eq!(ids, ["AlarmTopic", "GpuEventsTopic"]);
    for (id, topic) in topics {
        let key = json!({"Ref": "AlarmTopicKey"});
        assert_eq!(topic["KmsMasterKeyId"], key, "{id}");
    }
    for policy in [
        "DeadLetterQueuePolicy",
        "AlarmTopicPolicy",
        "GpuEventsTopicPolicy",
    ] {
        let statements = properties(policy)["PolicyDocument"]["Statement"].clone();
        let denied = statements.as_array().unwrap().iter().any(|statement| {
            let plain = &statement["Condition"]["Bool"]["aws:SecureTransport"];
            statement["Effect"] == "Deny" && statement["Principal"] == "*" && plain == false
        });
        assert!(denied, "{policy}");
    }
}

/// Alert Manager's name in the region, as it is in every statement for it.
fn alert_manager() -> Value {
    let own_of_region = json!({"Fn::Sub": "${AWS::Region}.aps.amazonaws.com"});
    json!({"Service": {"Fn::If": ["IsOptInRegion", own_of_region, "aps.amazonaws.com"]}})
}

#[test]
fn topics_take_the_alarms_of_this_account_and_of_its_workspace_alone() {
    let account = json!({"aws:SourceAccount": {"Ref": "AWS::AccountId"}});
    let id = json!({"Fn::If": ["HasAmpWorkspace", {"Ref": "AmpWorkspaceId"}, "*"]});
    let workspace = json!({"aws:SourceArn": {"Fn::Sub": [WORKSPACE, {"Id": id}]}});
    let cloudwatch = |topic: &str| {
        json!({
            "Sid": "AlarmsPublish",
            "Effect": "Allow",
            "Principal": {"Service": "cloudwatch.amazonaws.com"},
            "Action": "sns:Publish",
            "Resource": {"Ref": topic},
            "Condition": {"StringEquals": account},
        })
    };
    let alerts = |topic: &str| {
        json!({
            "Sid": "AlertManagerPublishes",
            "Effect": "Allow",
            "Principal": alert_manager(),
            "Action": ["sns:GetTopicAttributes", "sns:Publish"],
            "Resource": {"Ref": topic},
            "Condition": {"StringEquals": account, "ArnLike": workspace},
        })
    };
    let without_tls = |topic: &str| {
        json!({
            "Sid": "DenyWithoutTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "sns:Publish",
            "Resource": {"Ref": topic},
            "Condition": {"Bool": {"aws:SecureTransport": false}},
        })
    };
    let [people, programs] = ["AlarmTopic", "GpuEventsTopic"];
    let template = Template::load("topic.yaml");
    for (policy, topic, statements) in [
        (
            "AlarmTopicPolicy",
            people,
            json!([cloudwatch(people), alerts(people), without_tls(people)]),
        ),
        // A program reads the events of Alert Manager, and nothing of another form.
        (
            "GpuEventsTopicPolicy",
            programs,
            json!([alerts(programs), without_tls(programs)]),
        ),
    ] {
        let policy = &template.resource(policy)["Properties"];
        assert_eq!(policy["Topics"], json!([{"Ref": topic}]));
        assert_eq!(policy["PolicyDocument"]["Statement"], statements);
    }
    assert_eq!(template.of_type("AWS::SNS::TopicPolicy").count(), 2);
}

#[test]
fn the_key_of_the_topics_is_used_for_this_accounts_alarms_alone() {
    let publishes = |sid: &str, service: Value| {
        json!({
            "Sid": sid,
            "Effect": "Allow",
            "Principal": service,
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        })
    };
    let root = json!({"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"});
    let expected = json!([
        {
            "Sid": "AccountAdministers",
            "Effect": "Allow",
            "Principal": {"AWS": root},
            "Action": "kms:*",
            "Resource": "*",
        },
        publishes("AlarmsPublish", json!({"Service": "cloudwatch.amazonaws.com"})),
        publishes("AlertManagerPublishes", alert_manager()),
    ]);
    let template = Template::load("topic.yaml");
    let key = &template.resource("AlarmTopicKey")["Properties"];
    assert_eq!(key["KeyPolicy"]["Statement"], expected);
}

/// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>
#[test]
fn alert_manager_has_the_regions_own_name_where_an_account_enables_the_region() {
    fn regions(conditions: &Value, condition: &Value) -> BTreeSet<String> {
        let parts = condition["Fn::Or"].as_array().unwrap();
        // More than ten are refused.
        assert!((2..=10).contains(&parts.len()), "{condition}");
        let of_part = |part: &Value| {
            if let Some(named) = part["Condition"].as_str() {
                return regions(conditions, &conditions[named]);
            }
            let compared = &part["Fn::Equals"];
            assert_eq!(compared[0], json!({"Ref": "AWS::Region"}));
            BTreeSet::from([compared[1].as_str().unwrap().to_owned()])
        };
        parts.iter().flat_map(of_part).collect()
    }
    let template = Template::load("topic.yaml");
    let conditions = Value::Object(template.section("Conditions").clone());
    let expected = [
        "af-south-1",
        "ap-east-1",
        "ap-east-2",
        "ap-south-2",
        "ap-southeast-3",
        "ap-southeast-4",
        "ap-southeast-5",
        "ap-southeast-6",
        "ap-southeast-7",
        "ca-west-1",
        "eu-central-2",
        "eu-south-1",
        "eu-south-2",
        "il-central-1",
        "me-central-1",
        "me-south-1",
        "mx-central-1",
    ];
    let found = regions(&conditions, &conditions["IsOptInRegion"]);
    assert_eq!(found, expected.map(str::to_owned).into());
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Permission {
    who: String,
    actions: Vec<String>,
    on: String,
}

fn permissions() -> BTreeSet<Permission> {
    let template = Template::monitoring();
    let mut permissions = BTreeSet::new();
    let none = Vec::new();
    for (id, role) in template.of_type("AWS::IAM::Role") {
        for policy in role["Policies"].as_array().unwrap_or(&none) {
            permissions.extend(statements(id, &policy["PolicyDocument"]));
        }
    }
    for (id, policy) in template.of_type("AWS::IAM::ManagedPolicy") {
        let role = policy["Roles"][0]["Ref"].as_str();
        permissions.extend(statements(role.unwrap_or(id), &policy["PolicyDocument"]));
    }
    permissions
}

fn statements(who: &str, document: &Value) -> Vec<Permission> {
    let one_or_many = |value: &Value| match value {
        Value::Array(many) => many.clone(),
        one => vec![one.clone()],
    };
    let permission = |statement: &Value| {
        assert_eq!(statement["Effect"], "Allow", "{who}");
        assert!(statement["Sid"].is_string(), "{who} does not say what for");
        let actions = one_or_many(&statement["Action"]);
        let mut actions: Vec<_> = actions
            .iter()
            .map(|action| action.as_str().unwrap().to_owned())
            .collect();
        actions.sort();
        Permission {
            who: who.to_owned(),
            actions,
            on: resource(&statement["Resource"]),
        }
    };
    document["Statement"]
        .as_array()
        .unwrap()
        .iter()
        .map(permission)
        .collect()
}

fn resource(value: &Value) -> String {
    if let Value::Array(many) = value {
        return many.iter().map(resource).collect::<Vec<_>>().join(", ");
    }
    let substituted = &value["Fn::Sub"];
    let text = [value, &value["Ref"], substituted, &substituted[0]]
        .into_iter()
        .find_map(Value::as_str);
    text.map_or_else(
        || {
            let attribute = value["Fn::GetAtt"].as_array().unwrap();
            format!(
                "{}.{}",
                attribute[0].as_str().unwrap(),
                attribute[1].as_str().unwrap()
            )
        },
        String::from,
    )
}

/// The SDK operations in a function's source, as IAM would write them but for upper case.
fn calls(function: &str) -> BTreeSet<String> {
    let source = repository(&format!("functions/{function}/src"));
    calls_in(&source).into_iter().collect()
}

fn calls_in(path: &Path) -> Vec<String> {
    if path.is_dir() {
        let files = fs::read_dir(path).unwrap();
        return files
            .flat_map(|file| calls_in(&file.unwrap().path()))
            .collect();
    }
    let source = fs::read_to_string(path).unwrap();
    let code = source.split("#[cfg(test)]").next().unwrap();
    let code: String = code.chars().filter(|c| !c.is_whitespace()).collect();
    code.split("client.")
        .skip(1)
        .filter_map(|rest| rest.split_once('('))
        // Only the SDK's methods have underscores; an HTTP client's are `get` and `post`.
        .filter(|(name, _)| {
            name.contains('_') && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        })
        .map(|(name, _)| name.replace('_', ""))
        .collect()
}
