//! The policies at work: what each role asks for in a run is allowed, its neighbours are not.
//!
//! `permissions.rs` holds the statements; here they are resolved for one account and evaluated, so
//! that a condition or an ARN that fits no request shows.

use std::collections::BTreeSet;

use iam_rs::{Decision, IAMPolicy, IAMRequest, PolicyEvaluator};
use serde_json::{Value, json};

use crate::permissions::{
    CLOUDWATCH_LOGS, CLOUDWATCH_METRICS, CLOUDWATCH_NAMES, CREDENTIAL, PEOPLE, THROUGH_GRAFANA,
};
use crate::template::Template;

const ACCOUNT: &str = "111122223333";
const STRANGER: &str = "444455556666";
const INSTANCE: &str = "arn:aws:ec2:us-east-2:111122223333:instance/i-0123456789abcdef0";
const NAMESPACE: &str = "ParallelCluster/p5en/GPU";

/// What CloudFormation would put for a reference in a stack `gpu` that makes its own workspaces.
const NAMES: [(&str, &str); 15] = [
    ("AWS::Partition", "aws"),
    ("AWS::Region", "us-east-2"),
    ("AWS::AccountId", ACCOUNT),
    ("AWS::URLSuffix", "amazonaws.com"),
    ("ClusterName", "p5en"),
    ("AmpWorkspace.WorkspaceId", "ws-ours"),
    ("GrafanaWorkspace", "g-ours"),
    ("AmpWorkspaceId", "ws-ours"),
    ("DcgmToCloudWatchWatermark", "CFN-Watermark"),
    (
        "DcgmToCloudWatchLogGroup.Arn",
        "arn:aws:logs:us-east-2:111122223333:log-group:/aws/lambda/gpu-dcgm-to-cloudwatch:*",
    ),
    (
        "GrafanaDataSourceSetupLogGroup.Arn",
        "arn:aws:logs:us-east-2:111122223333:log-group:/aws/lambda/gpu-grafana-datasource-setup:*",
    ),
    ("DcgmToCloudWatch.Arn", FUNCTION),
    ("DeadLetterQueue.Arn", QUEUE),
    ("AlarmTopic", TOPIC),
    ("AWS::StackName", "gpu"),
];

const FUNCTION: &str = "arn:aws:lambda:us-east-2:111122223333:function:gpu-dcgm-to-cloudwatch";
const SET_UP: &str = "arn:aws:lambda:us-east-2:111122223333:function:gpu-grafana-datasource-setup";
const QUEUE: &str = "arn:aws:sqs:us-east-2:111122223333:gpu-dead-letters";
const TOPIC: &str = "arn:aws:sns:us-east-2:111122223333:gpu-alarms";
const AMP: &str = "arn:aws:aps:us-east-2:111122223333:workspace/ws-ours";
const OTHER_AMP: &str = "arn:aws:aps:us-east-2:111122223333:workspace/ws-other";
const GRAFANA: &str = "arn:aws:grafana:us-east-2:111122223333:/workspaces/g-ours";
const OTHER_GRAFANA: &str = "arn:aws:grafana:us-east-2:111122223333:/workspaces/g-other";
const METRICS: &str = "arn:aws:cloudwatch:us-east-2:111122223333:*";
const WATERMARK: &str = "arn:aws:ssm:us-east-2:111122223333:parameter/CFN-Watermark";
const LOG: &str =
    "arn:aws:logs:us-east-2:111122223333:log-group:/aws/lambda/gpu-dcgm-to-cloudwatch:log-stream:1";
const SET_UP_LOG: &str = "arn:aws:logs:us-east-2:111122223333:log-group:/aws/lambda/gpu-grafana-datasource-setup:log-stream:1";

/// The organisation's, in its management account.
const DIRECTORY: &str = "arn:aws:identitystore::999988887777:identitystore/d-9067641234";
const KEY: &str = "arn:aws:kms:eu-west-1:999988887777:key/mrk-1";
const APPLICATION: &str = "arn:aws:sso::999988887777:application/ssoins-1/apl-1";

/// Every call of a run and of a set-up, Lambda's own among them.
const CALLS: [(&str, &[&str], &str); 21] = [
    ("AmpRemoteWritePolicy", &["aps:RemoteWrite"], AMP),
    (
        "AmpQueryPolicy",
        &[
            "aps:GetLabels",
            "aps:GetMetricMetadata",
            "aps:GetSeries",
            "aps:QueryMetrics",
        ],
        AMP,
    ),
    ("DcgmToCloudWatchRole", &["aps:QueryMetrics"], AMP),
    (
        "DcgmToCloudWatchRole",
        &["cloudwatch:PutMetricData"],
        METRICS,
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
        "DcgmToCloudWatchRole",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        LOG,
    ),
    (
        "DcgmToCloudWatchScheduleRole",
        &["lambda:InvokeFunction"],
        FUNCTION,
    ),
    ("DcgmToCloudWatchScheduleRole", &["sqs:SendMessage"], QUEUE),
    ("GrafanaDataSourceSetupRole", &CREDENTIAL, GRAFANA),
    ("GrafanaDataSourceSetupRole", &PEOPLE, GRAFANA),
    (
        "GrafanaDataSourceSetupRole",
        &["sso:ListInstances"],
        "arn:aws:sso:::instance/ssoins-1",
    ),
    (
        "GrafanaDataSourceSetupRole",
        &["identitystore:GetGroupId", "identitystore:GetUserId"],
        DIRECTORY,
    ),
    (
        "GrafanaDataSourceSetupRole",
        &["identitystore:GetUserId"],
        "arn:aws:identitystore:::user/ada",
    ),
    (
        "GrafanaDataSourceSetupRole",
        &["identitystore:GetGroupId"],
        "arn:aws:identitystore:::group/operators",
    ),
    // Amazon Managed Grafana makes these for the function.
    ("GrafanaDataSourceSetupRole", &THROUGH_GRAFANA, APPLICATION),
    (
        "GrafanaDataSourceSetupRole",
        &["logs:CreateLogStream", "logs:PutLogEvents"],
        SET_UP_LOG,
    ),
    // Identity Center makes it for the function.
    ("GrafanaDataSourceSetupRole", &["kms:Decrypt"], KEY),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_METRICS, METRICS),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_LOGS, LOG),
    ("GrafanaWorkspaceRole", &CLOUDWATCH_NAMES, INSTANCE),
    (
        "GrafanaWorkspaceRole",
        &[
            "aps:GetLabels",
            "aps:GetMetricMetadata",
            "aps:GetSeries",
            "aps:QueryMetrics",
        ],
        AMP,
    ),
];

/// What somebody who got hold of a role would try next.
const TRESPASSES: [(&str, &str, &str); 27] = [
    ("AmpRemoteWritePolicy", "aps:RemoteWrite", OTHER_AMP),
    ("AmpRemoteWritePolicy", "aps:QueryMetrics", AMP),
    ("AmpRemoteWritePolicy", "aps:DeleteWorkspace", AMP),
    ("AmpQueryPolicy", "aps:RemoteWrite", AMP),
    ("DcgmToCloudWatchRole", "aps:QueryMetrics", OTHER_AMP),
    ("DcgmToCloudWatchRole", "aps:RemoteWrite", AMP),
    ("DcgmToCloudWatchRole", "cloudwatch:DeleteAlarms", METRICS),
    ("DcgmToCloudWatchRole", "ssm:DeleteParameter", WATERMARK),
    (
        "DcgmToCloudWatchRole",
        "ssm:GetParameter",
        "arn:aws:ssm:us-east-2:111122223333:parameter/database-password",
    ),
    ("DcgmToCloudWatchRole", "logs:PutLogEvents", SET_UP_LOG),
    ("DcgmToCloudWatchRole", "lambda:InvokeFunction", FUNCTION),
    ("DcgmToCloudWatchRole", "sts:AssumeRole", FUNCTION),
    (
        "DcgmToCloudWatchScheduleRole",
        "lambda:InvokeFunction",
        SET_UP,
    ),
    (
        "DcgmToCloudWatchScheduleRole",
        "lambda:UpdateFunctionCode",
        FUNCTION,
    ),
    ("DcgmToCloudWatchScheduleRole", "sqs:ReceiveMessage", QUEUE),
    (
        "GrafanaDataSourceSetupRole",
        "grafana:CreateWorkspaceServiceAccountToken",
        OTHER_GRAFANA,
    ),
    (
        "GrafanaDataSourceSetupRole",
        "grafana:DeleteWorkspace",
        GRAFANA,
    ),
    (
        "GrafanaDataSourceSetupRole",
        "grafana:UpdateWorkspaceAuthentication",
        GRAFANA,
    ),
    ("GrafanaDataSourceSetupRole", "aps:QueryMetrics", AMP),
    (
        "GrafanaDataSourceSetupRole",
        "grafana:UpdatePermissions",
        OTHER_GRAFANA,
    ),
    (
        "GrafanaDataSourceSetupRole",
        "identitystore:CreateUser",
        DIRECTORY,
    ),
    (
        "GrafanaDataSourceSetupRole",
        "identitystore:DescribeUser",
        "arn:aws:identitystore:::user/ada",
    ),
    ("GrafanaDataSourceSetupRole", "iam:PassRole", FUNCTION),
    ("GrafanaDataSourceSetupRole", "kms:Decrypt", KEY),
    ("GrafanaWorkspaceRole", "logs:PutLogEvents", LOG),
    ("GrafanaWorkspaceRole", "aps:QueryMetrics", OTHER_AMP),
    ("GrafanaWorkspaceRole", "cloudwatch:PutMetricData", METRICS),
];

#[test]
fn every_call_of_a_run_and_of_a_set_up_is_allowed() {
    for (role, actions, resource) in CALLS {
        for action in actions {
            let mut request = role_request(action, resource);
            request["Context"]["aws:ViaAWSService"] = json!(THROUGH_GRAFANA.contains(action));
            request["Context"]["kms:ViaService"] = json!("identitystore.eu-west-1.amazonaws.com");
            assert!(
                allows(&policies_of(role), request),
                "{role} may not {action} on {resource}"
            );
        }
    }
}

#[test]
fn every_permission_is_asked_for() {
    let named: BTreeSet<_> = CALLS
        .iter()
        .flat_map(|(role, actions, _)| actions.iter().map(move |action| format!("{role} {action}")))
        .collect();
    let template = Template::monitoring();
    let roles = template.of_type("AWS::IAM::Role");
    for (role, _) in roles.chain(template.of_type("AWS::IAM::ManagedPolicy")) {
        let holder = template.resource(role)["Properties"]["Roles"][0]["Ref"].as_str();
        let role = holder.unwrap_or(role);
        for action in policies_of(role).iter().flat_map(actions) {
            assert!(
                named.contains(&format!("{role} {action}")),
                "{role}: {action} is in no row of CALLS"
            );
        }
    }
}

#[test]
fn a_role_in_wrong_hands_reaches_nothing_beside_its_work() {
    for (role, action, resource) in TRESPASSES {
        assert!(
            !allows(&policies_of(role), role_request(action, resource)),
            "{role} may {action} on {resource}"
        );
    }
}

#[test]
fn nobody_is_assigned_to_an_application_but_through_grafana() {
    let policies = policies_of("GrafanaDataSourceSetupRole");
    for action in THROUGH_GRAFANA {
        let mut request = role_request(action, APPLICATION);
        request["Context"] = json!({"aws:ViaAWSService": false});
        assert!(!allows(&policies, request), "{action}");
    }
}

#[test]
fn metrics_go_to_no_other_namespace() {
    let policies = policies_of("DcgmToCloudWatchRole");
    for namespace in ["ParallelCluster/other/GPU", "AWS/EC2", ""] {
        let mut request = role_request("cloudwatch:PutMetricData", METRICS);
        request["Context"] = json!({"cloudwatch:namespace": namespace});
        assert!(!allows(&policies, request), "{namespace:?}");
    }
}

#[test]
fn services_act_for_this_account_alone() {
    let template = Template::monitoring();
    for (role, service, source) in [
        (
            "DcgmToCloudWatchScheduleRole",
            "scheduler.amazonaws.com",
            "arn:aws:scheduler:us-east-2:111122223333:schedule-group/default",
        ),
        ("GrafanaWorkspaceRole", "grafana.amazonaws.com", GRAFANA),
    ] {
        let trust = &template.resource(role)["Properties"]["AssumeRolePolicyDocument"];
        let mut trust = resolved(trust);
        // A trust policy names no resource: it is the role's own.
        trust["Statement"][0]["Resource"] = json!("*");
        let assumed = |service: &str, account: &str| {
            let mut request = request(
                &json!({"Service": service}),
                "sts:AssumeRole",
                "arn:aws:iam::111122223333:role/gpu",
            );
            let source = source.replace(ACCOUNT, account);
            request["Context"] = json!({"aws:SourceAccount": account, "aws:SourceArn": source});
            allows(std::slice::from_ref(&trust), request)
        };
        assert!(assumed(service, ACCOUNT), "{role}");
        assert!(!assumed(service, STRANGER), "{role} for a stranger");
        assert!(!assumed("ec2.amazonaws.com", ACCOUNT), "{role} for EC2");
    }
}

#[test]
fn the_queue_and_the_topic_take_nothing_in_plain_text_and_no_strangers_alarms() {
    let template = Template::monitoring();
    let decide = |policy: &str, service: &str, action, resource, context: Value| {
        let document = resolved(&template.resource(policy)["Properties"]["PolicyDocument"]);
        let mut request = request(&json!({"Service": service}), action, resource);
        request["Context"] = context;
        decide(&[document], request)
    };
    let alarm = |account: &str, tls: bool| {
        let context = json!({"aws:SourceAccount": account, "aws:SecureTransport": tls});
        let service = "cloudwatch.amazonaws.com";
        decide("AlarmTopicPolicy", service, "sns:Publish", TOPIC, context)
    };
    assert_eq!(alarm(ACCOUNT, true), Decision::Allow);
    assert_eq!(alarm(STRANGER, true), Decision::NotApplicable);
    assert_eq!(alarm(ACCOUNT, false), Decision::Deny);
    let letter = |tls: bool| {
        let context = json!({"aws:SecureTransport": tls});
        let service = "scheduler.amazonaws.com";
        decide(
            "DeadLetterQueuePolicy",
            service,
            "sqs:SendMessage",
            QUEUE,
            context,
        )
    };
    // That it may be sent at all, the schedule's role says.
    assert_eq!(letter(true), Decision::NotApplicable);
    assert_eq!(letter(false), Decision::Deny);
}

fn allows(policies: &[Value], request: Value) -> bool {
    decide(policies, request) == Decision::Allow
}

fn decide(policies: &[Value], request: Value) -> Decision {
    let policies = policies
        .iter()
        .map(|document| serde_json::from_value::<IAMPolicy>(document.clone()).unwrap())
        .collect();
    let request: IAMRequest = serde_json::from_value(request).unwrap();
    PolicyEvaluator::with_policies(policies)
        .evaluate(&request)
        .unwrap()
        .decision
}

fn role_request(action: &str, resource: &str) -> Value {
    let role = json!({"AWS": format!("arn:aws:iam::{ACCOUNT}:role/gpu")});
    let mut request = request(&role, action, resource);
    request["Context"] = json!({"cloudwatch:namespace": NAMESPACE});
    request
}

fn request(principal: &Value, action: &str, resource: &str) -> Value {
    json!({"Principal": principal, "Action": action, "Resource": resource})
}

/// The documents of a role and of the managed policies that attach themselves to it, or of a managed
/// policy.
pub(crate) fn policies_of(id: &str) -> Vec<Value> {
    let template = Template::monitoring();
    let managed = template.of_type("AWS::IAM::ManagedPolicy");
    let attached = managed.filter(|(_, policy)| policy["Roles"][0]["Ref"] == id);
    let attached = attached.map(|(policy, _)| policy.as_str());
    let ids = std::iter::once(id).chain(attached);
    ids.flat_map(|id| own_documents(&template, id)).collect()
}

pub(crate) fn own_documents(template: &Template, id: &str) -> Vec<Value> {
    let properties = &template.resource(id)["Properties"];
    let inline = properties["Policies"].as_array().into_iter().flatten();
    inline
        .map(|policy| &policy["PolicyDocument"])
        .chain(properties.get("PolicyDocument"))
        .map(resolved)
        .collect()
}

fn actions(document: &Value) -> Vec<String> {
    let statements = document["Statement"].as_array().unwrap().iter();
    let actions = statements.flat_map(|statement| match &statement["Action"] {
        Value::Array(many) => many.clone(),
        one => vec![one.clone()],
    });
    actions
        .map(|action| action.as_str().unwrap().to_owned())
        .collect()
}

/// A part of the template as CloudFormation would hand it to IAM.
fn resolved(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(resolved).collect(),
        Value::Object(entries) => {
            let only = entries.iter().next().filter(|_| entries.len() == 1);
            only.and_then(|(key, argument)| function(key, argument))
                .unwrap_or_else(|| {
                    entries
                        .iter()
                        .map(|(key, value)| (key.clone(), resolved(value)))
                        .collect()
                })
        }
        scalar => scalar.clone(),
    }
}

fn function(name: &str, argument: &Value) -> Option<Value> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(match name {
        "Ref" => json!(named(&text(argument))),
        "Fn::GetAtt" => json!(named(&format!(
            "{}.{}",
            text(&argument[0]),
            text(&argument[1])
        ))),
        // The stack makes its own workspaces.
        "Fn::If" => resolved(&argument[1]),
        "Fn::Sub" => match argument {
            Value::Array(parts) => json!(substituted(&text(&parts[0]), &resolved(&parts[1]))),
            template => json!(substituted(&text(template), &Value::Null)),
        },
        _ => return None,
    })
}

fn substituted(template: &str, local: &Value) -> String {
    let mut parts = template.split("${");
    let mut whole = parts.next().unwrap().to_owned();
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap();
        whole += local[name].as_str().unwrap_or_else(|| named(name));
        whole += rest;
    }
    whole
}

fn named(name: &str) -> &'static str {
    NAMES
        .iter()
        .find(|(known, _)| *known == name)
        .unwrap_or_else(|| panic!("NAMES has no {name}"))
        .1
}
