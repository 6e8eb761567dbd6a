//! What `infra/stack.py` makes of a stack's events, which are as CloudFormation writes them of stacks
//! in stacks: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_StackEvent.html>.
//! MiniStack tells less of them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::project::{repository, tool};

use crate::template::Template;

/// Answers `describe-stacks` and `describe-stack-events` from files, and waits for nothing.
const AWS: &str = r#"#!/bin/bash
set -eu
folder=${0%/*}
echo "$*" >>"$folder/calls"
shift
case $1 in
  describe-stacks) cat "$folder/stacks" ;;
  describe-stack-events) cat "$folder/$(basename "$3")" ;;
  delete-stack) ;;
  list-stack-resources) [[ ! -e $folder/absent ]] || { cat "$folder/absent" >&2; exit 254; }; cat "$folder/resources" ;;
  wait) [[ ! -e $folder/refused ]] || { cat "$folder/refused" >&2; exit 255; } ;;
  *) echo "aws: $* was not expected" >&2; exit 252 ;;
esac
"#;

const ARN: &str = "arn:aws:cloudformation:us-east-2:111122223333:stack";

struct Cli(TempDir);

impl Cli {
    /// An AWS CLI that knows the events of these stacks, each from the oldest to the newest.
    fn with(stacks: &[(&str, Vec<Value>)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = json!({"Stacks": [{"StackId": format!("{ARN}/gpu/root")}]});
        fs::write(folder.path().join("stacks"), root.to_string()).unwrap();
        for (stack, events) in stacks {
            let newest_first: Vec<_> = events.iter().rev().collect();
            let listed = json!({"StackEvents": newest_first}).to_string();
            fs::write(folder.path().join(stack), &listed).unwrap();
            if *stack == "root" {
                fs::write(folder.path().join("gpu"), listed).unwrap();
            }
        }
        let aws = folder.path().join("aws");
        fs::write(&aws, AWS).unwrap();
        fs::set_permissions(&aws, PermissionsExt::from_mode(0o755)).unwrap();
        Self(folder)
    }

    /// What the script prints, and whether it succeeds.
    fn run(&self, command: &str) -> (String, bool) {
        let output = Command::new(tool("python3"))
            .arg(repository("infra/stack.py"))
            .args([command, "--stack", "gpu"])
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display()))
            .output()
            .unwrap();
        let printed = [output.stdout, output.stderr].concat();
        (String::from_utf8(printed).unwrap(), output.status.success())
    }
}

/// An event of a resource in a stack. A stack's own event names the stack itself.
fn event(stack: &str, second: u32, resource: [&str; 3], status: &str, reason: &str) -> Value {
    let [logical, kind, physical] = resource;
    let mut event = json!({
        "StackId": format!("{ARN}/gpu/{stack}"), "StackName": "gpu",
        "LogicalResourceId": logical, "ResourceType": kind, "PhysicalResourceId": physical,
        "Timestamp": format!("2026-11-26T10:00:{second:02}.123000+00:00"), "ResourceStatus": status,
    });
    if !reason.is_empty() {
        event["ResourceStatusReason"] = reason.into();
    }
    event
}

const STACK: &str = "AWS::CloudFormation::Stack";

fn of_itself(stack: &str, second: u32, status: &str, reason: &str) -> Value {
    let itself = format!("{ARN}/gpu/{stack}");
    event(stack, second, ["gpu", STACK, &itself], status, reason)
}

fn of_inner(stack: &str, second: u32, inner: &str, status: &str, reason: &str) -> Value {
    let physical = format!("{ARN}/gpu/{inner}");
    event(stack, second, [inner, STACK, &physical], status, reason)
}

const REASON: &str =
    "Received response status [FAILED] from custom resource. Message returned: no such workspace";

/// A creation that fails two stacks deep is rolled back, which ends the inner stacks' own events with
/// those of their deletion.
fn failed_creation() -> Vec<(&'static str, Vec<Value>)> {
    let custom = ["GrafanaDataSource", "Custom::GrafanaDataSource", "failed"];
    let alarm = ["Alarm", "AWS::CloudWatch::Alarm", ""];
    let embedded =
        "Embedded stack was not successfully created: The following resource(s) failed to create";
    vec![
        (
            "root",
            vec![
                of_itself("root", 1, "CREATE_IN_PROGRESS", "User Initiated"),
                of_inner("root", 2, "monitoring", "CREATE_IN_PROGRESS", ""),
                of_inner("root", 9, "monitoring", "CREATE_FAILED", embedded),
                of_itself("root", 9, "ROLLBACK_IN_PROGRESS", embedded),
                of_inner("root", 10, "monitoring", "DELETE_COMPLETE", ""),
                of_itself("root", 11, "ROLLBACK_COMPLETE", ""),
            ],
        ),
        (
            "monitoring",
            vec![
                of_itself("monitoring", 3, "CREATE_IN_PROGRESS", ""),
                of_inner("monitoring", 4, "grafana", "CREATE_IN_PROGRESS", ""),
                of_inner("monitoring", 7, "grafana", "CREATE_FAILED", embedded),
                of_itself("monitoring", 8, "CREATE_FAILED", embedded),
                of_itself("monitoring", 10, "DELETE_IN_PROGRESS", ""),
                of_itself("monitoring", 10, "DELETE_COMPLETE", ""),
            ],
        ),
        (
            "grafana",
            vec![
                of_itself("grafana", 4, "CREATE_IN_PROGRESS", ""),
                event("grafana", 5, custom, "CREATE_IN_PROGRESS", ""),
                event("grafana", 6, custom, "CREATE_FAILED", REASON),
                event(
                    "grafana",
                    6,
                    alarm,
                    "CREATE_FAILED",
                    "Resource creation cancelled",
                ),
                of_itself("grafana", 7, "CREATE_FAILED", embedded),
                of_itself("grafana", 10, "DELETE_IN_PROGRESS", ""),
                of_itself("grafana", 10, "DELETE_COMPLETE", ""),
            ],
        ),
    ]
}

#[test]
fn a_failure_is_told_by_the_resource_it_began_with_and_once() {
    let (printed, succeeded) = Cli::with(&failed_creation()).run("failures");
    assert!(succeeded, "{printed}");
    let expected = format!("GrafanaDataSource (Custom::GrafanaDataSource): {REASON}\n");
    assert_eq!(printed, expected);
}

#[test]
fn a_stack_that_never_began_is_told_itself() {
    let no_id = ["Grafana", STACK, ""];
    let denied = "S3 error: Access Denied";
    let events = vec![
        of_itself("root", 1, "UPDATE_IN_PROGRESS", "User Initiated"),
        event("root", 2, no_id, "CREATE_FAILED", denied),
        of_itself("root", 3, "UPDATE_ROLLBACK_COMPLETE", ""),
    ];
    let (printed, _) = Cli::with(&[("root", events)]).run("failures");
    assert_eq!(
        printed,
        format!("Grafana (AWS::CloudFormation::Stack): {denied}\n")
    );
}

#[test]
fn only_the_last_operation_is_told() {
    let mut stacks = failed_creation();
    stacks[0].1.extend([
        of_itself("root", 20, "UPDATE_IN_PROGRESS", "User Initiated"),
        of_inner("root", 21, "grafana", "UPDATE_COMPLETE", ""),
        of_itself("root", 22, "UPDATE_COMPLETE", ""),
    ]);
    let (printed, _) = Cli::with(&stacks).run("failures");
    assert_eq!(printed, "nothing has failed in the last operation of gpu\n");
}

#[test]
fn what_a_deleted_stack_keeps_is_told_with_how_to_delete_it() {
    let workspace = [
        "GrafanaWorkspace",
        "AWS::Grafana::Workspace",
        "g-0123abcdef",
    ];
    let stacks = [
        (
            "root",
            vec![
                of_itself("root", 1, "DELETE_IN_PROGRESS", "User Initiated"),
                of_inner("root", 5, "grafana", "DELETE_COMPLETE", ""),
                of_itself("root", 6, "DELETE_COMPLETE", ""),
            ],
        ),
        (
            "grafana",
            vec![
                of_itself("grafana", 2, "DELETE_IN_PROGRESS", ""),
                event("grafana", 3, workspace, "DELETE_SKIPPED", ""),
                of_itself("grafana", 4, "DELETE_COMPLETE", ""),
            ],
        ),
    ];
    let cli = Cli::with(&stacks);
    let (printed, succeeded) = cli.run("delete");
    assert!(succeeded, "{printed}");
    assert!(
        printed.contains("AWS::Grafana::Workspace g-0123abcdef is kept"),
        "{printed}"
    );
    let how = "aws grafana delete-workspace --workspace-id g-0123abcdef\n";
    assert!(printed.ends_with(how), "{printed}");
    let calls = fs::read_to_string(cli.0.path().join("calls")).unwrap();
    let by_id = format!("delete-stack --stack-name {ARN}/gpu/root\n");
    assert!(
        calls.contains(&by_id),
        "a name would fit a later stack, too: {calls}"
    );
}

#[test]
fn a_deletion_that_fails_says_why() {
    let queue = ["Queue", "AWS::SQS::Queue", "q"];
    let events = vec![
        of_itself("root", 1, "DELETE_IN_PROGRESS", "User Initiated"),
        event(
            "root",
            2,
            queue,
            "DELETE_FAILED",
            "no right to sqs:DeleteQueue",
        ),
        of_itself(
            "root",
            3,
            "DELETE_FAILED",
            "The following resource(s) failed to delete: [Queue].",
        ),
    ];
    let cli = Cli::with(&[("root", events)]);
    fs::write(
        cli.0.path().join("refused"),
        "Waiter StackDeleteComplete failed",
    )
    .unwrap();
    let (printed, succeeded) = cli.run("delete");
    assert!(!succeeded, "{printed}");
    assert!(
        printed.contains("Queue (AWS::SQS::Queue): no right to sqs:DeleteQueue\n"),
        "{printed}"
    );
    assert!(printed.contains("StackDeleteComplete failed"), "{printed}");
}

/// The answer of `list-stack-resources`.
fn resources(listed: &[(&str, &str, &str)]) -> Value {
    let listed = listed.iter().map(|(logical, kind, status)| {
        json!({"LogicalResourceId": logical, "ResourceType": kind, "ResourceStatus": status})
    });
    json!({"StackResourceSummaries": listed.collect::<Vec<_>>()})
}

#[test]
fn a_stack_of_another_template_is_not_updated() {
    let entry = Template::load("parallelcluster-infrastructure.yaml");
    let ours: Vec<_> = entry
        .section("Resources")
        .iter()
        .map(|(id, resource)| {
            let kind = resource["Type"].as_str().unwrap();
            (id.as_str(), kind, "CREATE_COMPLETE")
        })
        .collect();
    let workspace = "AWS::APS::Workspace";
    let theirs = ("AMPWorkspace", workspace, "UPDATE_COMPLETE");
    let gone = ("AMPWorkspace", workspace, "DELETE_COMPLETE");
    // What monitoring.yaml holds, deployed by itself.
    let part = ("Prometheus", STACK, "CREATE_COMPLETE");
    for (further, refused) in [
        (None, None),
        (Some(gone), None),
        (Some(theirs), Some("AWS::APS::Workspace AMPWorkspace")),
        (Some(part), Some("AWS::CloudFormation::Stack Prometheus")),
    ] {
        let listed: Vec<_> = ours.iter().copied().chain(further).collect();
        let cli = Cli::with(&[]);
        let answer = resources(&listed).to_string();
        fs::write(cli.0.path().join("resources"), answer).unwrap();
        let (printed, succeeds) = cli.run("updatable");
        match refused {
            None => assert!(succeeds && printed.is_empty(), "{further:?}: {printed}"),
            Some(resource) => {
                assert!(!succeeds, "{further:?}");
                for told in ["stack gpu ", resource, "migrate.md"] {
                    assert!(printed.contains(told), "{told}: {printed}");
                }
            }
        }
    }
}

#[test]
fn a_stack_that_is_not_there_yet_may_be_made() {
    for (error, may) in [
        (
            "An error occurred (ValidationError) when calling the ListStackResources operation: Stack with id gpu does not exist",
            true,
        ),
        (
            "An error occurred (ExpiredToken) when calling the ListStackResources operation: The security token is expired",
            false,
        ),
    ] {
        let cli = Cli::with(&[]);
        fs::write(cli.0.path().join("absent"), error).unwrap();
        let (printed, succeeds) = cli.run("updatable");
        assert_eq!(succeeds, may, "{printed}");
        assert_eq!(printed.contains("ExpiredToken"), !may, "{printed}");
    }
}

/// What is missing is told at once, with a whole command.
#[test]
fn make_names_every_variable_that_a_target_needs() {
    for (words, told) in [
        (
            &["deploy"][..],
            "missing: STACK CLUSTER REGION BUCKET. For example: make deploy STACK=pcluster-infra CLUSTER=p5en \
             REGION=us-east-2 BUCKET=a-bucket-in-the-region.",
        ),
        (
            &["deploy", "STACK=gpus", "REGION=eu-west-1"],
            "missing: CLUSTER BUCKET. For example: make deploy STACK=gpus CLUSTER=p5en REGION=eu-west-1 \
             BUCKET=a-bucket-in-the-region.",
        ),
        (
            &["destroy"],
            "missing: STACK REGION. For example: make destroy STACK=pcluster-infra REGION=us-east-2.",
        ),
    ] {
        let mut make = Command::new("make");
        make.current_dir(repository("")).args(words);
        for variable in ["STACK", "CLUSTER", "REGION", "BUCKET", "MAKEFLAGS"] {
            make.env_remove(variable);
        }
        let output = make.output().unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && error.contains(told), "{error}");
    }
}
