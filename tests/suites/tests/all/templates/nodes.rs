//! The nodes' scripts: their style, the arguments of head-node.sh and what it makes of them.

use std::fs;
use std::io::Write as _;
use std::process::Command;

use tempfile::NamedTempFile;
use testkit::project::{repository, tool};

use crate::templates::{cluster, run};

const WORKSPACE: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-12345678-90ab-cdef-1234-567890abcdef";

#[test]
fn shellcheck_finds_nothing() {
    let doubles = fs::read_dir(repository("tests/suites/tests/all/templates/doubles")).unwrap();
    let doubles = doubles.map(|entry| entry.unwrap().path());
    let is_script = |path: &std::path::PathBuf| path.is_file() && path.extension().is_none();
    let scripts = ["head-node.sh", "compute-node.sh"];
    let scripts = scripts.map(|name| repository("infra/parallelcluster").join(name));
    let scripts = doubles.filter(is_script).chain(scripts);
    let (clean, printed) = run(Command::new("shellcheck").args(scripts));
    assert!(clean, "{printed}");
}

#[test]
fn prometheus_accepts_the_head_nodes_configuration() {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(prometheus_configuration().as_bytes())
        .unwrap();
    let (valid, printed) = run(Command::new(tool("promtool"))
        .args(["check", "config"])
        .arg(file.path()));
    assert!(valid, "{printed}");
}

#[test]
fn the_head_node_sends_signed_samples_with_the_labels_the_function_looks_for() {
    let configuration = prometheus_configuration();
    for line in [
        "    cluster: training",
        "        target_label: instance_id",
        "      region: us-east-2",
        &format!("  - url: {WORKSPACE}/api/v1/remote_write"),
    ] {
        assert!(
            configuration.lines().any(|found| found == line),
            "no line {line:?}"
        );
    }
}

#[test]
fn the_head_node_says_which_argument_is_wrong() {
    let cases = [
        (&["--cluster"][..], "--cluster needs a value"),
        (
            &["--region", "us-east-2"],
            r#"--cluster="": expected the cluster's name"#,
        ),
        (
            &["--cluster", "training", "--region", "ohio"],
            r#"--region="ohio": expected a region such as us-east-2"#,
        ),
        (
            &[
                "--cluster",
                "training",
                "--region",
                "us-east-2",
                "--amp-endpoint",
                "http://prometheus",
            ],
            r#"--amp-endpoint="http://prometheus": expected the stack's output AMPPrometheusEndpoint"#,
        ),
        (
            &["--verbose"],
            "unknown argument --verbose: expected --cluster, --region, --amp-endpoint or --print-config",
        ),
    ];
    for (arguments, expected) in cases {
        let (accepted, printed) = run(head_node().args(arguments));
        assert!(!accepted);
        assert_eq!(printed, format!("head-node.sh: {expected}\n"));
    }
}

#[test]
fn the_head_node_knows_every_region_of_aws() {
    let script = "import json, botocore.loaders
partitions = botocore.loaders.Loader().load_data('endpoints')['partitions']
print(json.dumps([region for partition in partitions for region in partition['regions']]))";
    let (success, printed) = run(Command::new(tool("python3")).args(["-c", script]));
    assert!(success, "{printed}");
    let regions: Vec<String> = serde_json::from_str(&printed).unwrap();
    assert!(regions.len() > 40);
    for region in regions {
        let arguments = ["--cluster", "training", "--region", &region];
        let (accepted, printed) =
            run(head_node()
                .args(arguments)
                .args(["--amp-endpoint", WORKSPACE, "--print-config"]));
        assert!(accepted, "{printed}");
        assert!(printed.contains(&format!("      region: {region}\n")));
    }
}

#[test]
fn the_address_of_the_workspace_may_be_any_that_people_copy() {
    let ends = [
        "",
        "/",
        "/api/v1",
        "/api/v1/",
        "/api/v1/query",
        "/api/v1/remote_write",
    ];
    let copied = ends.map(|end| (format!("{WORKSPACE}{end}"), WORKSPACE.to_owned()));
    let hosts = [
        "aps-workspaces-fips.us-east-1.amazonaws.com",
        "aps-workspaces.us-east-2.api.aws",
        "aps-workspaces.cn-north-1.amazonaws.com.cn",
        "aps-workspaces.eusc-de-east-1.amazonaws.eu",
        "vpce-0123456789abcdef0-1abcdefg.aps-workspaces.us-east-2.vpce.amazonaws.com",
    ];
    let hosts = hosts.map(|host| format!("https://{host}/workspaces/ws-1"));
    let hosts = hosts.map(|address| (format!(" {address}/ "), address));
    for (copied, expected) in copied.into_iter().chain(hosts) {
        let (accepted, printed) = run(&mut print_config(&copied));
        assert!(accepted, "{printed}");
        let url = format!("  - url: {expected}/api/v1/remote_write\n");
        assert!(printed.contains(&url), "{copied}");
    }
}

#[test]
fn what_is_no_address_of_a_workspace_gets_into_no_configuration() {
    for address in [
        "http://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1",
        "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/",
        "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1/alertmanager/api/v2",
        "https://user:password@example.com/workspaces/ws-1",
        "https://example.com # /workspaces/ws-1",
    ] {
        let (accepted, printed) = run(&mut print_config(address));
        assert!(!accepted);
        let expected = format!(
            "head-node.sh: --amp-endpoint=\"{address}\": expected the stack's output AMPPrometheusEndpoint\n"
        );
        assert_eq!(printed, expected);
    }
}

/// The arguments in the cluster configuration are arguments the script takes.
#[test]
fn the_head_node_understands_what_the_cluster_configuration_tells_it() {
    let cluster = cluster::configuration(&[]);
    let arguments = cluster["HeadNode"]["CustomActions"]["OnNodeConfigured"]["Args"].clone();
    let arguments: Vec<String> = serde_json::from_value(arguments).unwrap();
    let (accepted, printed) = run(head_node().args(arguments).arg("--print-config"));
    assert!(accepted);
    assert_eq!(printed, prometheus_configuration());
}

fn head_node() -> Command {
    Command::new(repository("infra/parallelcluster/head-node.sh"))
}

fn print_config(endpoint: &str) -> Command {
    let mut command = head_node();
    command.args(["--cluster", "training", "--region", "us-east-2"]);
    command.args(["--amp-endpoint", endpoint, "--print-config"]);
    command
}

fn prometheus_configuration() -> String {
    let (printed, configuration) = run(&mut print_config(WORKSPACE));
    assert!(printed, "{configuration}");
    configuration
}
