//! The cluster configuration as `configure.py` writes it, for every operating system.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use tempfile::TempDir;
use testkit::project::{repository, tool};
use testkit::real::ministack::MiniStack;
use testkit::real::process;

use crate::templates::node::SYSTEMS;
use crate::templates::template::Template;
use crate::templates::{place_program, run};

const CLUSTER: &str = "training";

/// What the configuration takes from the stack.
const OUTPUTS: [(&str, &str); 4] = [
    (
        "AMPPrometheusEndpoint",
        "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-12345678-90ab-cdef-1234-567890abcdef/",
    ),
    (
        "AMPRemoteWritePolicyArn",
        "arn:aws:iam::123456789012:policy/remote-write",
    ),
    ("PublicSubnetId", "subnet-0123456789abcdef0"),
    ("PrivateSubnetId", "subnet-0123456789abcdef1"),
];

/// How people get to the head node, as far as it can be chosen.
const WAYS_IN: [&[&str]; 4] = [
    &[],
    &["--private-head-node"],
    &["--key-name", "key: of mine", "--allowed-ips", "203.0.113.7"],
    &[
        "--head-node-subnet",
        "subnet-01234567",
        "--compute-subnet",
        "subnet-89abcdef",
        "--private-head-node",
        "--key-name",
        "mine",
        "--allowed-ips",
        "pl-0123456789abcdef0",
    ],
];

/// All checks that `pcluster create-cluster` makes before it creates anything.
#[test]
fn parallelcluster_accepts_what_is_written_for_every_system() {
    let systems = SYSTEMS.iter().map(|system| options_for(system.os));
    let cases: Vec<_> = systems
        .flat_map(|system| WAYS_IN.map(|way_in| [&system, way_in].concat()))
        .collect();
    for (options, checked) in cases.iter().zip(check(&cases)) {
        let has_key = options.contains(&"--key-name");
        let mut found = strings(&checked["found"]);
        // Session Manager needs none.
        found.retain(|found| has_key || !found.starts_with("WARNING KeyPairValidator: "));
        assert_eq!(found, [""; 0], "{options:?}");
        assert_eq!(checked["configuration"]["Image"]["Os"], options[1]);
    }
}

#[test]
fn the_systems_are_those_of_parallelcluster() {
    let script = "import sys; sys.path.insert(0, sys.argv[1]); import configure, json
from pcluster.constants import PRIVATE_OSES, SUPPORTED_OSES
print(json.dumps([sorted(names) for names in (
    configure.SYSTEMS, SUPPORTED_OSES, configure.WITHOUT_IMAGE, PRIVATE_OSES)]))";
    let mut python = Command::new(tool("python3"));
    let (success, printed) = run(python
        .args(["-B", "-c", script])
        .arg(repository("infra/parallelcluster")));
    assert!(success, "{printed}");
    let lists: Vec<Vec<String>> = serde_json::from_str(&printed).unwrap();
    assert_eq!(lists[0], lists[1]);
    assert_eq!(lists[2], lists[3]);
    let mut tried = SYSTEMS.map(|system| system.os);
    tried.sort_unstable();
    assert_eq!(lists[0], tried);
}

#[test]
fn the_documents_name_every_system_and_option() {
    let text = fs::read_to_string(repository("docs/deploy.md")).unwrap();
    for system in SYSTEMS {
        assert!(text.contains(&format!("`{}`", system.os)), "{}", system.os);
    }
    let (_, usage) = Configure::new(&OUTPUTS, CLUSTER).run(&["--help"]);
    let words = usage
        .split_whitespace()
        .map(|word| word.trim_matches(['[', ']']));
    let options: BTreeSet<_> = words.filter(|word| word.starts_with("--")).collect();
    assert!(options.len() > 8, "{options:?}");
    for option in options {
        assert!(text.contains(option) || option == "--help", "{option}");
    }
}

/// Behind an internet gateway, a node reaches nothing without a public address.
#[test]
fn the_head_node_has_a_public_address_where_its_subnet_needs_one() {
    let network = Template::load("network.yaml");
    let mut checked = 0;
    for way_in in &WAYS_IN[..2] {
        let configuration = configuration(way_in);
        let networking = &configuration["HeadNode"]["Networking"];
        let mut outputs = OUTPUTS.iter();
        let output = outputs.find(|(_, id)| networking["SubnetId"] == *id);
        let output = &network.section("Outputs")[output.unwrap().0];
        let subnet = output["Value"]["Ref"].as_str().unwrap();
        let gets_one = network.resource(subnet)["Properties"]["MapPublicIpOnLaunch"] == true;
        let needs_one = is_behind_internet_gateway(&network, subnet) && !gets_one;
        assert_eq!(networking["ElasticIp"], needs_one, "{way_in:?}: {subnet}");
        checked += usize::from(needs_one);
    }
    assert_eq!(checked, 1, "one of the two subnets is public");
}

fn is_behind_internet_gateway(network: &Template, subnet: &str) -> bool {
    let mut tables = network.of_type("AWS::EC2::SubnetRouteTableAssociation");
    let (_, association) = tables
        .find(|(_, table)| table["SubnetId"]["Ref"] == subnet)
        .unwrap();
    network.of_type("AWS::EC2::Route").any(|(_, route)| {
        route["RouteTableId"] == association["RouteTableId"]
            && route["DestinationCidrBlock"] == "0.0.0.0/0"
            && route["GatewayId"].is_object()
    })
}

#[test]
fn nobody_reaches_the_head_node_by_ssh_who_was_not_named() {
    let allowed = |options| configuration(options)["HeadNode"]["Ssh"].clone();
    assert_eq!(allowed(&[]), json!({"AllowedIps": "255.255.255.255/32"}));
    assert_eq!(
        allowed(WAYS_IN[2]),
        json!({"AllowedIps": "203.0.113.7/32", "KeyName": "key: of mine"})
    );
}

#[test]
fn the_head_node_may_write_to_prometheus_and_every_node_runs_its_set_up() {
    let cluster = configuration(&[]);
    let policies = &cluster["HeadNode"]["Iam"]["AdditionalIamPolicies"];
    assert_eq!(policies[0]["Policy"], OUTPUTS[1].1);
    let set_up = |node: &Value| node["CustomActions"]["OnNodeConfigured"]["Script"].clone();
    let uploaded = "s3://my-bucket/gpu-monitoring/nodes";
    assert_eq!(
        set_up(&cluster["HeadNode"]),
        format!("{uploaded}/head-node.sh")
    );
    let queue = &cluster["Scheduling"]["SlurmQueues"][0];
    assert_eq!(set_up(queue), format!("{uploaded}/compute-node.sh"));
    for node in [&cluster["HeadNode"], queue] {
        let readable = json!([{"BucketName": "my-bucket", "KeyName": "gpu-monitoring/nodes/*"}]);
        assert_eq!(node["Iam"]["S3Access"], readable);
    }
}

#[test]
fn what_is_wrong_is_said_before_anything_is_uploaded() {
    let cases = [
        (
            &["--os", "centos7"][..],
            "argument --os: invalid choice: 'centos7'",
        ),
        (
            &["--os", "rocky9"],
            "--os rocky9 needs --custom-ami: AWS publishes no image of it",
        ),
        (
            &["--custom-ami", "ubuntu"],
            "'ubuntu': expected the id of an image, such as ami-",
        ),
        (
            &["--bucket", "s3://my-bucket"],
            "'s3://my-bucket': expected the name of a bucket, such as my-bucket",
        ),
        (
            &["--head-node-subnet", "public"],
            "'public': expected the id of a subnet, such as subnet-",
        ),
        (
            &["--compute-subnet", "vpc-1"],
            "'vpc-1': expected the id of a subnet",
        ),
        (
            &["--allowed-ips", "home"],
            "'home': expected an IPv4 range such as 203.0.113.0/24",
        ),
        (&["--allowed-ips", "::/0"], "'::/0': expected an IPv4 range"),
        (&["--private"], "unrecognized arguments: --private"),
    ];
    for (options, expected) in cases {
        let configure = Configure::new(&OUTPUTS, CLUSTER);
        let (success, printed) = configure.run(options);
        assert!(
            !success && printed.contains(expected),
            "{options:?}: {printed}"
        );
        assert_eq!(configure.calls(), "");
    }

    let configure = Configure::new(&OUTPUTS, "not a name");
    let (success, printed) = configure.run(&[]);
    assert!(!success);
    assert_eq!(
        printed,
        "configure: stack pcluster-infra: ClusterName='not a name': expected up to 60 letters, digits and dashes\n"
    );
    assert!(!configure.calls().contains("s3"));
}

#[test]
fn all_that_a_stack_does_not_say_is_named_at_once() {
    let configure = Configure::new(&[], "");
    let (success, printed) = configure.run(&[]);
    assert!(!success);
    assert_eq!(
        printed,
        "configure: stack pcluster-infra (CREATE_COMPLETE) has no parameter ClusterName, \
         no output AMPPrometheusEndpoint, no output AMPRemoteWritePolicyArn, \
         no output PublicSubnetId (or --head-node-subnet), \
         no output PrivateSubnetId (or --compute-subnet)\n"
    );
    assert!(!configure.calls().contains("s3"));
}

/// What is read of the stack is what the stack has.
#[test]
fn the_stack_has_the_outputs_that_are_read() {
    let template = Template::load("parallelcluster-infrastructure.yaml");
    for (name, _) in OUTPUTS {
        assert!(template.section("Outputs").contains_key(name), "{name}");
    }
    assert!(template.section("Parameters").contains_key("ClusterName"));
}

#[test]
fn without_the_aws_cli_or_credentials_it_is_said_so() {
    let configure = Configure::new(&OUTPUTS, CLUSTER);
    fs::remove_file(configure.folder.path().join("aws")).unwrap();
    let (success, printed) = configure.run(&[]);
    assert!(!success);
    assert!(
        printed.starts_with("configure: the AWS CLI is missing: "),
        "{printed}"
    );

    configure.write_aws("echo; echo 'Unable to locate credentials.' >&2; exit 253");
    let (success, printed) = configure.run(&[]);
    assert!(!success);
    assert_eq!(
        printed,
        "configure: aws cloudformation describe-stacks: Unable to locate credentials.\n\
         Or name a profile of yours in AWS_PROFILE. `make deploy-tools` puts aws into .venv/bin.\n"
    );
}

#[test]
fn who_could_not_log_in_is_told() {
    let notes = |options: &[&str]| {
        let (success, printed) = Configure::new(&OUTPUTS, CLUSTER).run(options);
        assert!(success, "{printed}");
        let is_note = |line: &&str| line.starts_with("configure: note: ");
        printed.lines().filter(is_note).count()
    };
    assert_eq!(notes(&[]), 0);
    assert_eq!(notes(&["--os", "rhel9"]), 1);
    assert_eq!(notes(&["--key-name", "mine"]), 1);
    assert_eq!(notes(&["--allowed-ips", "203.0.113.0/24"]), 1);
    let way_in = ["--key-name", "mine", "--allowed-ips", "203.0.113.0/24"];
    assert_eq!(notes(&[&["--os", "rhel9"], &way_in[..]].concat()), 0);
}

/// The commands as the documents have them, against CloudFormation and S3 of MiniStack.
#[tokio::test]
async fn the_real_aws_cli_reads_the_stack_and_uploads_the_scripts() {
    let stack = MiniStack::start([]).await.unwrap();
    let outputs = OUTPUTS.map(|(name, value)| (name.to_owned(), json!({"Value": value})));
    let template = json!({
        "Parameters": {"ClusterName": {"Type": "String"}},
        "Resources": {"Topic": {"Type": "AWS::SNS::Topic"}},
        "Outputs": outputs.into_iter().collect::<serde_json::Map<_, _>>(),
    });
    let template = template.to_string();
    for command in [
        &["s3", "mb", "s3://my-bucket"][..],
        &[
            "cloudformation",
            "create-stack",
            "--stack-name",
            "pcluster-infra",
            "--parameters",
            "ParameterKey=ClusterName,ParameterValue=training",
            "--template-body",
            &template,
        ],
    ] {
        stack.aws(command).await.unwrap();
    }
    stack.settled("pcluster-infra").await.unwrap();

    let mut configure = stack.command(tool("python3"));
    let tools = tool("aws").parent().unwrap().to_owned();
    configure
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .arg(repository("infra/parallelcluster/configure.py"))
        .args(["--stack", "pcluster-infra", "--bucket", "my-bucket"]);
    let written = process::printed(&mut configure).await.unwrap();
    assert!(written.starts_with("Region: us-east-2\n"), "{written}");
    assert!(written.contains(OUTPUTS[0].1));
    for script in ["head-node.sh", "compute-node.sh"] {
        let uploaded = format!("s3://my-bucket/gpu-monitoring/nodes/{script}");
        let mut read = stack.command(tool("aws"));
        let read = process::printed(read.args(["s3", "cp", &uploaded, "-"])).await;
        let own = repository("infra/parallelcluster").join(script);
        assert_eq!(read.unwrap(), fs::read_to_string(own).unwrap());
    }
}

/// The configuration for a system and options, once ParallelCluster has accepted its form.
pub(crate) fn configuration(options: &[&str]) -> Value {
    check(&[options.to_vec()])[0]["configuration"].clone()
}

/// The options that a system needs.
fn options_for(os: &'static str) -> Vec<&'static str> {
    let mut options = vec!["--os", os];
    if os.starts_with("rocky") {
        options.extend(["--custom-ami", "ami-0123456789abcdef0"]);
    }
    options
}

/// Writes a configuration for each, and has them checked.
fn check(cases: &[Vec<&str>]) -> Vec<Value> {
    let configure = Configure::new(&OUTPUTS, CLUSTER);
    let files = cases.iter().enumerate().map(|(case, options)| {
        let file = configure.folder.path().join(format!("{case}.yaml"));
        fs::write(&file, configure.stdout(options)).unwrap();
        file
    });
    let files: Vec<PathBuf> = files.collect();
    let script = repository("tests/suites/tests/all/templates/check_cluster.py");
    let output = Command::new(tool("python3"))
        .arg(script)
        .arg(CLUSTER)
        .args(files)
        .output();
    let output = output.unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaint}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn strings(values: &Value) -> Vec<String> {
    serde_json::from_value(values.clone()).unwrap()
}

/// `configure.py`, with an AWS CLI that knows one stack and remembers how it was called.
struct Configure {
    folder: TempDir,
}

impl Configure {
    fn new(outputs: &[(&str, &str)], cluster: &str) -> Self {
        let configure = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let outputs = outputs
            .iter()
            .map(|(key, value)| json!({"OutputKey": key, "OutputValue": value}));
        let stack = json!({
            "StackName": "pcluster-infra",
            "StackId": "arn:aws:cloudformation:us-east-2:123456789012:stack/pcluster-infra/1",
            "StackStatus": "CREATE_COMPLETE",
            "Parameters": [{"ParameterKey": "ClusterName", "ParameterValue": cluster}],
            "Outputs": outputs.collect::<Value>(),
        });
        let stack = json!({"Stacks": [stack]}).to_string();
        fs::write(configure.folder.path().join("stack"), stack).unwrap();
        configure.write_aws(
            r#"echo "$*" >>"${0%/*}/calls"
case "$*" in
  "cloudformation describe-stacks --stack-name pcluster-infra --output json") cat "${0%/*}/stack" ;;
  "s3 cp "*" s3://my-bucket/gpu-monitoring/nodes/"*"-node.sh --only-show-errors") [[ -s $3 ]] ;;
  *) echo "aws: error: argument command: Invalid choice: $*" >&2; exit 252 ;;
esac"#,
        );
        configure
    }

    fn write_aws(&self, script: &str) {
        let path = self.folder.path().join("aws");
        place_program(&path, &format!("#!/bin/bash\n{script}\n"));
    }

    fn run(&self, options: &[&str]) -> (bool, String) {
        run(&mut self.command(options))
    }

    fn stdout(&self, options: &[&str]) -> Vec<u8> {
        let output = self.command(options).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    }

    fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(tool("python3"));
        command
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", self.folder.path().display()),
            )
            .arg(repository("infra/parallelcluster/configure.py"))
            .args(["--stack", "pcluster-infra", "--bucket", "my-bucket"])
            .args(options);
        command
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.folder.path().join("calls")).unwrap_or_default()
    }
}
