//! What `infra/stack.py` makes of a stack's events, which are as CloudFormation writes them of stacks
//! in stacks: <https://docs.aws.amazon.com/AWSCloudFormation/latest/APIReference/API_StackEvent.html>.
//! MiniStack tells less of them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::project::{repository, tool};

use crate::templates::template::Template;
use crate::templates::{place_program, run};

/// Answers `describe-stacks` and `describe-stack-events` from files, and waits for nothing.
const AWS: &str = r#"#!/bin/bash
set -eu
folder=${0%/*}
echo "$*" >>"$folder/calls"
shift
case $1 in
  describe-stacks) [[ ! -e $folder/absent ]] || { cat "$folder/absent" >&2; exit 254; }; cat "$folder/stacks" ;;
  describe-stack-events) cat "$folder/$(basename "$3")" ;;
  delete-stack) ;;
  list-stack-resources) cat "$folder/resources" ;;
  cp) [[ ! -e $folder/denied ]] || { cat "$folder/denied" >&2; exit 1; } ;;
  head-bucket) [[ ! -e $folder/refused ]] || { cat "$folder/refused" >&2; exit 254; }; cat "$folder/bucket" ;;
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
        let cli = Self(folder);
        cli.place_stack("UPDATE_COMPLETE");
        let folder = &cli.0;
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
        cli
    }

    fn place_stack(&self, status: &str) {
        let root = json!({"StackId": format!("{ARN}/gpu/root"), "StackStatus": status});
        self.place("stacks", &json!({ "Stacks": [root] }).to_string());
    }

    fn place(&self, name: &str, text: &str) {
        fs::write(self.0.path().join(name), text).unwrap();
    }

    /// What the script prints, and whether it succeeds.
    fn run(&self, command: &str) -> (String, bool) {
        self.script("infra/stack.py", &[command, "--stack", "gpu"])
    }

    fn script(&self, script: &str, words: &[&str]) -> (String, bool) {
        let mut python = Command::new(tool("python3"));
        python
            .arg(repository(script))
            .args(words)
            .env("PATH", format!("{}:/usr/bin:/bin", self.0.path().display()))
            .env("AWS_REGION", "us-east-2");
        let (succeeds, printed) = run(&mut python);
        (printed, succeeds)
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

const HELP: &str = "docs/troubleshooting.md says what to do about it\n";
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
    let expected = format!("GrafanaDataSource (Custom::GrafanaDataSource): {REASON}\n{HELP}");
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
        format!("Grafana (AWS::CloudFormation::Stack): {denied}\n{HELP}")
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
            "An error occurred (ValidationError) when calling the DescribeStacks operation: Stack with id gpu does not exist",
            true,
        ),
        (
            "An error occurred (ExpiredToken) when calling the DescribeStacks operation: The security token is expired",
            false,
        ),
    ] {
        let cli = Cli::with(&[]);
        cli.place("absent", error);
        let (printed, succeeds) = cli.run("updatable");
        assert_eq!(succeeds, may, "{printed}");
        assert_eq!(printed.contains("ExpiredToken"), !may, "{printed}");
    }
}

/// CloudFormation updates no stack whose creation has failed.
#[test]
fn a_stack_that_never_came_up_is_to_be_deleted_first() {
    for (status, may) in [
        ("ROLLBACK_COMPLETE", false),
        ("DELETE_FAILED", false),
        ("REVIEW_IN_PROGRESS", true),
        ("UPDATE_ROLLBACK_COMPLETE", true),
    ] {
        let cli = Cli::with(&[]);
        cli.place_stack(status);
        cli.place("resources", &resources(&[]).to_string());
        let (printed, succeeds) = cli.run("updatable");
        assert_eq!(succeeds, may, "{status}: {printed}");
        let told = [status, "make destroy STACK=gpu REGION=us-east-2"];
        assert!(
            may || told.iter().all(|words| printed.contains(words)),
            "{printed}"
        );
    }
}

/// Lambda would refuse the function, after the network was made.
#[test]
fn a_stack_whose_functions_could_not_be_named_is_refused() {
    let longest = "g".repeat(64 - "-grafana-datasource-setup".len());
    let cli = Cli::with(&[]);
    cli.place("absent", "Stack with id g does not exist");
    for (name, told) in [
        (longest.clone(), ""),
        (format!("{longest}g"), ": 40 characters;"),
    ] {
        let (printed, succeeds) = cli.script("infra/stack.py", &["updatable", "--stack", &name]);
        assert_eq!(succeeds, told.is_empty(), "{printed}");
        assert!(printed.contains(told), "{printed}");
    }
}

/// The CLI's own words name no remedy.
#[test]
fn what_the_aws_cli_refuses_is_told_with_what_to_do() {
    for (error, remedy) in [
        (
            "Stack with id gpu does not exist",
            "To list the stacks in us-east-2: aws cloudformation describe-stacks --region us-east-2 ",
        ),
        ("Unable to locate credentials.", "AWS_PROFILE"),
        (
            "Could not connect to the endpoint URL: \"https://cloudformation.us-east-2.amazonaws.com/\"",
            "Is there a region us-east-2, ",
        ),
        (
            "An error occurred (ExpiredToken) when calling the DescribeStacks operation: The security token included in \
             the request is expired",
            "Sign in again",
        ),
    ] {
        let cli = Cli::with(&[]);
        cli.place("absent", error);
        let (printed, succeeds) = cli.run("there");
        assert!(!succeeds && printed.contains(error), "{printed}");
        assert!(printed.contains(remedy), "{printed}");
    }
    let (printed, succeeds) = Cli::with(&[]).run("there");
    assert!(succeeds && printed.is_empty(), "{printed}");
    let none = Cli::with(&[]);
    fs::remove_file(none.0.path().join("aws")).unwrap();
    let (printed, succeeds) = none.run("there");
    assert!(
        !succeeds && printed.contains("make deploy-tools"),
        "{printed}"
    );
}

/// A build of ten minutes would be for nothing.
#[test]
fn a_bucket_that_cannot_be_used_is_told_before_anything_is_built() {
    for (bucket, region, refused, told) in [
        ("packages", "us-east-2", "", None),
        // What S3 itself does not say.
        ("packages", "None", "", None),
        (
            "packages",
            "eu-west-1",
            "",
            Some("bucket packages is in eu-west-1, and the stack's region is us-east-2"),
        ),
        (
            "s3://packages",
            "us-east-2",
            "",
            Some("BUCKET=s3://packages: expected"),
        ),
        (
            "packages",
            "",
            "An error occurred (404) when calling the HeadBucket operation: Not Found",
            Some("aws s3 mb s3://packages --region us-east-2"),
        ),
        (
            "packages",
            "",
            "Unable to locate credentials",
            Some("AWS_PROFILE"),
        ),
    ] {
        let cli = Cli::with(&[]);
        cli.place("bucket", region);
        if !refused.is_empty() {
            cli.place("refused", refused);
        }
        let (printed, succeeds) = cli.script("infra/package.py", &["--check", "--bucket", bucket]);
        assert_eq!(succeeds, told.is_none(), "{bucket} {region}: {printed}");
        assert!(printed.contains(told.unwrap_or_default()), "{printed}");
    }
    // Who may write to a bucket need not be one who may list it.
    let cli = Cli::with(&[]);
    cli.place(
        "refused",
        "An error occurred (403) when calling the HeadBucket operation: Forbidden",
    );
    let check = ["--check", "--bucket", "packages"];
    let (printed, succeeds) = cli.script("infra/package.py", &check);
    assert!(succeeds && printed.is_empty(), "{printed}");
    let denied =
        "An error occurred (AccessDenied) when calling the PutObject operation: Access Denied";
    cli.place("denied", denied);
    let (printed, succeeds) = cli.script("infra/package.py", &check);
    assert!(
        !succeeds && printed.contains("Is it your bucket"),
        "{printed}"
    );
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

/// A machine with these programs alone, of which cargo is the one given.
fn machine(programs: &[&str], cargo: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for program in programs {
        let (_, path) = run(Command::new("which").arg(program));
        symlink(path.trim(), folder.path().join(program)).unwrap();
    }
    let text = format!("#!/bin/bash\necho {cargo}\n");
    place_program(&folder.path().join("cargo"), &text);
    folder
}

fn make_on(machine: &TempDir, words: &[&str]) -> (bool, String) {
    let (_, make) = run(Command::new("which").arg("make"));
    let mut make = Command::new(make.trim());
    make.current_dir(repository("")).args(words).env_clear();
    make.env("PATH", machine.path()).env("HOME", machine.path());
    run(&mut make)
}

const PROGRAMS: [&str; 11] = [
    "awk", "bash", "cut", "df", "env", "id", "sed", "sort", "tail", "uname", "which",
];

#[test]
fn make_says_what_is_missing_or_too_old_and_how_to_get_it() {
    let old = machine(&PROGRAMS, "cargo 1.63.0");
    let (made, printed) = make_on(&old, &["demo", "APT=no"]);
    assert!(!made, "{printed}");
    for told in [
        "Rust 1.95.0 (builds both functions): install it from https://rustup.rs; ",
        "here: cargo 1.63.0 in ",
        "sudo apt-get update && sudo apt-get install gcc libc6-dev\n",
    ] {
        assert!(printed.contains(told), "{told}: {printed}");
    }

    let (healthy, printed) = make_on(&old, &["doctor"]);
    assert!(!healthy, "{printed}");
    for told in [
        "MISSING  Rust 1.95.0: ",
        "MISSING  gcc libc6-dev: ",
        "sudo apt-get install gcc libc6-dev ",
    ] {
        assert!(printed.contains(told), "{told}: {printed}");
    }

    let new = machine(&[&PROGRAMS[..], &["cc"]].concat(), "cargo 1.95.1");
    let (made, printed) = make_on(&new, &["versions", "demo-packages", "APT=no"]);
    assert!(made && printed.is_empty(), "{printed}");
    // Who only deploys may have no Debian, and so no keyring of it.
    let (_, printed) = make_on(&new, &["--dry-run", "deploy-tools"]);
    assert!(printed.contains("gcc libc6-dev"), "{printed}");
    assert!(!printed.contains("debian-archive-keyring"), "{printed}");
    let (_, printed) = make_on(&new, &["doctor"]);
    for told in [
        "ok       Rust 1.95.0: ",
        "ok       gcc libc6-dev: ",
        "ok       Python 3.10: ",
    ] {
        assert!(printed.contains(told), "{told}: {printed}");
    }
}
