//! The policies at work: what each role asks for in a run is allowed, its neighbours are not.
//!
//! `permissions.rs` holds the statements; here they are resolved for one account and evaluated, so
//! that a condition or an ARN that fits no request shows.

use std::collections::BTreeSet;

use iam_rs::{Decision, IAMPolicy, IAMRequest, PolicyEvaluator};
use serde_json::{Value, json};

use crate::templates::permissions::{
    ALERTS, CLOUDWATCH_LOGS, CLOUDWATCH_METRICS, CLOUDWATCH_NAMES, CREDENTIAL, PEOPLE,
    THROUGH_GRAFANA,
};
use crate::templates::template::Template;

const ACCOUNT: &str = "111122223333";
const STRANGER: &str = "444455556666";
const INSTANCE: &str = "arn:aws:ec2:us-east-2:111122223333:instance/i-0123456789abcdef0";
const NAMESPACE: &str = "ParallelCluster/p5en/GPU";

/// What CloudFormation would put for a reference in a stack `gpu` that makes its own workspaces.
const NAMES: [(&str, &str); 16] = [
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
    ("GpuEventsTopic", EVENTS),
    ("AWS::StackName", "gpu"),
];

/// The conditions that policies ask for, and those that hold in that stack.
const CONDITIONS: [&str; 4] = [
    "CreateAmpWorkspace",
    "CreateGrafanaWorkspace",
    "HasAmpWorkspace",
    "IsOptInRegion",
];
const HOLDING: [&str; 2] = ["CreateAmpWorkspace", "CreateGrafanaWorkspace"];

const FUNCTION: &str = "arn:aws:lambda:us-east-2:111122223333:function:gpu-dcgm-to-cloudwatch";
const SET_UP: &str = "arn:aws:lambda:us-east-2:111122223333:function:gpu-grafana-datasource-setup";
const QUEUE: &str = "arn:aws:sqs:us-east-2:111122223333:gpu-dead-letters";
const TOPIC: &str = "arn:aws:sns:us-east-2:111122223333:gpu-alarms";
const EVENTS: &str = "arn:aws:sns:us-east-2:111122223333:gpu-events";
const TOPIC_KEY: &str = "arn:aws:kms:us-east-2:111122223333:key/topics";
const ALARM: &str = "arn:aws:cloudwatch:us-east-2:111122223333:alarm:gpu-temperature";
const CLOUDWATCH: &str = "cloudwatch.amazonaws.com";
const ALERT_MANAGER: &str = "aps.amazonaws.com";
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
const CALLS: [(&str, &[&str], &str); 22] = [
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
    ("GrafanaWorkspaceRole", &ALERTS, AMP),
];

/// What somebody who got hold of a role would try next.
const TRESPASSES: [(&str, &str, &str); 34] = [
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
    (
        "GrafanaWorkspaceRole",
        "aps:PutAlertManagerSilences",
        OTHER_AMP,
    ),
    ("GrafanaWorkspaceRole", "aps:ListRules", OTHER_AMP),
    // Who is told of what, the stack alone says.
    ("GrafanaWorkspaceRole", "aps:PutAlertManagerDefinition", AMP),
    ("GrafanaWorkspaceRole", "aps:PutRuleGroupsNamespace", AMP),
    ("GrafanaWorkspaceRole", "aps:CreateAlertManagerAlerts", AMP),
    ("AmpQueryPolicy", "aps:PutAlertManagerSilences", AMP),
    ("DcgmToCloudWatchRole", "sns:Publish", TOPIC),
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
fn the_queue_takes_nothing_in_plain_text() {
    let letter = |tls: bool| {
        let service = json!({"Service": "scheduler.amazonaws.com"});
        let mut request = request(&service, "sqs:SendMessage", QUEUE);
        request["Context"] = json!({"aws:SecureTransport": tls});
        decide(&[policy_of("DeadLetterQueuePolicy", &HOLDING)], request)
    };
    // That it may be sent at all, the schedule's role says.
    assert_eq!(letter(true), Decision::NotApplicable);
    assert_eq!(letter(false), Decision::Deny);
}

/// A service's call on a topic or its key.
#[derive(Clone, Copy)]
struct Call<'a> {
    policy: &'a str,
    service: &'a str,
    action: &'a str,
    resource: &'a str,
    account: &'a str,
    source: &'a str,
    tls: bool,
    /// The conditions that hold in the stack.
    holding: &'a [&'a str],
}

impl Call<'_> {
    fn decision(self) -> Decision {
        let principal = json!({"Service": self.service});
        let mut request = request(&principal, self.action, self.resource);
        request["Context"] = json!({
            "aws:SourceAccount": self.account,
            "aws:SourceArn": self.source,
            "aws:SecureTransport": self.tls,
        });
        decide(&[policy_of(self.policy, self.holding)], request)
    }
}

/// Every call that a statement of the topics and of their key is for.
const PUBLISHING: [[&str; 5]; 9] = [
    ["AlarmTopicPolicy", CLOUDWATCH, "sns:Publish", TOPIC, ALARM],
    [
        "AlarmTopicPolicy",
        ALERT_MANAGER,
        "sns:GetTopicAttributes",
        TOPIC,
        AMP,
    ],
    ["AlarmTopicPolicy", ALERT_MANAGER, "sns:Publish", TOPIC, AMP],
    [
        "GpuEventsTopicPolicy",
        ALERT_MANAGER,
        "sns:GetTopicAttributes",
        EVENTS,
        AMP,
    ],
    [
        "GpuEventsTopicPolicy",
        ALERT_MANAGER,
        "sns:Publish",
        EVENTS,
        AMP,
    ],
    ["AlarmTopicKey", CLOUDWATCH, "kms:Decrypt", TOPIC_KEY, ALARM],
    [
        "AlarmTopicKey",
        CLOUDWATCH,
        "kms:GenerateDataKey",
        TOPIC_KEY,
        ALARM,
    ],
    [
        "AlarmTopicKey",
        ALERT_MANAGER,
        "kms:Decrypt",
        TOPIC_KEY,
        AMP,
    ],
    [
        "AlarmTopicKey",
        ALERT_MANAGER,
        "kms:GenerateDataKey",
        TOPIC_KEY,
        AMP,
    ],
];

fn publishing() -> impl Iterator<Item = Call<'static>> {
    PUBLISHING.into_iter().map(call)
}

/// A call of a service for somebody of this account: the policy asked, the service, its action on a resource, and
/// for what.
fn call([policy, service, action, resource, source]: [&'static str; 5]) -> Call<'static> {
    Call {
        policy,
        service,
        action,
        resource,
        account: ACCOUNT,
        source,
        tls: true,
        holding: &HOLDING,
    }
}

#[test]
fn the_topics_and_their_key_serve_this_accounts_alarms_and_nobody_else() {
    for call in publishing() {
        let what = format!("{} {} {}", call.policy, call.service, call.action);
        assert_eq!(call.decision(), Decision::Allow, "{what}");
        let source = call.source.replace(ACCOUNT, STRANGER);
        let other_resource = call.resource.replace(ACCOUNT, STRANGER);
        let refused = [
            Call {
                account: STRANGER,
                source: &source,
                ..call
            },
            Call {
                account: STRANGER,
                ..call
            },
            Call {
                service: "events.amazonaws.com",
                ..call
            },
            Call {
                service: "us-east-2.aps.amazonaws.com",
                ..call
            },
        ];
        for refused in refused {
            let decision = refused.decision();
            assert_eq!(decision, Decision::NotApplicable, "{what}");
        }
        if call.policy != "AlarmTopicKey" {
            let elsewhere = Call {
                resource: &other_resource,
                ..call
            };
            assert_eq!(elsewhere.decision(), Decision::NotApplicable, "{what}");
        }
        if call.action == "sns:Publish" {
            let plain = Call { tls: false, ..call };
            assert_eq!(plain.decision(), Decision::Deny, "{what}");
        }
    }
}

#[test]
fn alert_manager_publishes_for_a_workspace_of_this_account_and_for_the_given_one_alone() {
    let alerts = publishing()
        .filter(|call| call.service == ALERT_MANAGER && call.policy.ends_with("TopicPolicy"));
    let mut checked = 0;
    for call in alerts {
        checked += 1;
        let from = |source: &str, holding: &[&str]| {
            Call {
                source,
                holding,
                ..call
            }
            .decision()
        };
        let what = call.policy;
        let strangers = AMP.replace(ACCOUNT, STRANGER);
        assert_eq!(
            from(&strangers, &HOLDING),
            Decision::NotApplicable,
            "{what}"
        );
        assert_eq!(from(ALARM, &HOLDING), Decision::NotApplicable, "{what}");
        // The stack's own workspace is not known before the topic.
        assert_eq!(from(OTHER_AMP, &HOLDING), Decision::Allow, "{what}");
        let given = ["CreateGrafanaWorkspace", "HasAmpWorkspace"];
        assert_eq!(from(AMP, &given), Decision::Allow, "{what}");
        assert_eq!(from(OTHER_AMP, &given), Decision::NotApplicable, "{what}");
        assert_eq!(from(&strangers, &given), Decision::NotApplicable, "{what}");
    }
    assert_eq!(checked, 4);
}

#[test]
fn alert_manager_is_known_by_the_regions_own_name_where_it_has_one() {
    let holding = [
        "CreateAmpWorkspace",
        "CreateGrafanaWorkspace",
        "IsOptInRegion",
    ];
    for call in publishing().filter(|call| call.service == ALERT_MANAGER) {
        let there = Call {
            holding: &holding,
            ..call
        };
        assert_eq!(there.decision(), Decision::NotApplicable, "{}", call.policy);
        let own_name = Call {
            service: "us-east-2.aps.amazonaws.com",
            ..there
        };
        assert_eq!(own_name.decision(), Decision::Allow, "{}", call.policy);
    }
}

#[test]
fn topics_and_their_key_are_used_for_nothing_but_publishing() {
    for row in [
        // CloudWatch's words are for people.
        [
            "GpuEventsTopicPolicy",
            CLOUDWATCH,
            "sns:Publish",
            EVENTS,
            ALARM,
        ],
        [
            "AlarmTopicPolicy",
            CLOUDWATCH,
            "sns:GetTopicAttributes",
            TOPIC,
            ALARM,
        ],
        [
            "AlarmTopicPolicy",
            ALERT_MANAGER,
            "sns:Subscribe",
            TOPIC,
            AMP,
        ],
        [
            "GpuEventsTopicPolicy",
            ALERT_MANAGER,
            "sns:Subscribe",
            EVENTS,
            AMP,
        ],
        [
            "GpuEventsTopicPolicy",
            ALERT_MANAGER,
            "sns:DeleteTopic",
            EVENTS,
            AMP,
        ],
        [
            "AlarmTopicPolicy",
            ALERT_MANAGER,
            "sns:Publish",
            EVENTS,
            AMP,
        ],
        [
            "GpuEventsTopicPolicy",
            ALERT_MANAGER,
            "sns:Publish",
            TOPIC,
            AMP,
        ],
        [
            "AlarmTopicKey",
            ALERT_MANAGER,
            "kms:ScheduleKeyDeletion",
            TOPIC_KEY,
            AMP,
        ],
        [
            "AlarmTopicKey",
            CLOUDWATCH,
            "kms:PutKeyPolicy",
            TOPIC_KEY,
            ALARM,
        ],
    ] {
        let decision = call(row).decision();
        assert_eq!(decision, Decision::NotApplicable, "{row:?}");
    }
}

#[test]
fn every_statement_of_a_topic_or_a_key_is_asked_for() {
    let named: BTreeSet<_> = publishing()
        .map(|call| format!("{} {} {}", call.policy, call.service, call.action))
        .collect();
    let template = Template::monitoring();
    let topics = template.of_type("AWS::SNS::TopicPolicy");
    let mut given = BTreeSet::new();
    for (id, _) in topics.chain(template.of_type("AWS::KMS::Key")) {
        let policy = policy_of(id, &HOLDING);
        for statement in policy["Statement"].as_array().unwrap() {
            if statement["Effect"] == "Allow" && statement["Principal"]["AWS"].is_null() {
                let service = statement["Principal"]["Service"].as_str().unwrap();
                let actions = actions(&json!({"Statement": [statement]}));
                let row = |action: String| format!("{id} {service} {}", action.replace('*', ""));
                given.extend(actions.into_iter().map(row));
            }
        }
    }
    assert_eq!(given, named);
}

/// The policy of a queue, a topic or a key, where these conditions hold.
fn policy_of(id: &str, holding: &[&str]) -> Value {
    let template = Template::monitoring();
    let properties = &template.resource(id)["Properties"];
    let document = properties.get("PolicyDocument");
    resolved_where(document.unwrap_or(&properties["KeyPolicy"]), holding)
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
    resolved_where(value, &HOLDING)
}

fn resolved_where(value: &Value, holding: &[&str]) -> Value {
    let resolved = |value| resolved_where(value, holding);
    match value {
        Value::Array(items) => items.iter().map(resolved).collect(),
        Value::Object(entries) => {
            let only = entries.iter().next().filter(|_| entries.len() == 1);
            only.and_then(|(key, argument)| function(key, argument, holding))
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

fn function(name: &str, argument: &Value, holding: &[&str]) -> Option<Value> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Some(match name {
        "Ref" => json!(named(&text(argument))),
        "Fn::GetAtt" => json!(named(&format!(
            "{}.{}",
            text(&argument[0]),
            text(&argument[1])
        ))),
        "Fn::If" => {
            let condition = argument[0].as_str().unwrap();
            assert!(CONDITIONS.contains(&condition), "{condition}");
            let branch = if holding.contains(&condition) { 1 } else { 2 };
            resolved_where(&argument[branch], holding)
        }
        "Fn::Sub" => match argument {
            Value::Array(parts) => {
                let local = resolved_where(&parts[1], holding);
                json!(substituted(&text(&parts[0]), &local))
            }
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
