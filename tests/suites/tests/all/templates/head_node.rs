//! head-node.sh on every operating system of ParallelCluster, run as a whole on a node each.

use crate::templates::node::{Node, RHEL_8, on_every_system};

const SCRIPT: &str = "head-node.sh";
const COPY: &str = "opt/gpu-monitoring/head-node.sh";
const CONFIG: &str = "etc/prometheus/prometheus.yml";

const WORKSPACE: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1";
const ARGUMENTS: [&str; 6] = [
    "--cluster",
    "training",
    "--region",
    "us-east-2",
    "--amp-endpoint",
    WORKSPACE,
];

#[test]
fn every_system_gets_prometheus() {
    on_every_system(|system| {
        let os = system.os;
        let node = Node::new(system, SCRIPT);
        node.run(&ARGUMENTS).assert_success();
        assert!(node.path("world/answering/9090").exists(), "{os}");
        assert!(node.path("world/enabled/prometheus").exists());
        assert!(node.read(CONFIG).unwrap().contains(WORKSPACE));
        node.assert_valid_unit("prometheus");
        // Nothing of the work stays behind.
        let left = node
            .command(&["ls", "/opt", "/etc/prometheus", "/tmp"])
            .stdout;
        assert!(
            !left.contains("prometheus-3.13.2.") && !left.contains("yml."),
            "{left}"
        );
    });
}

#[test]
fn a_second_run_leaves_prometheus_alone_and_needs_no_internet() {
    on_every_system(|system| {
        let os = system.os;
        let node = Node::new(system, SCRIPT);
        node.run(&ARGUMENTS).assert_success();
        node.remove("world/internet");
        node.run(&ARGUMENTS).assert_success();
        let calls = node.calls();
        let disturbs = calls
            .iter()
            .any(|call| call.contains("re") && call.contains("load") || call.contains("restart"));
        assert!(!disturbs, "{os}: {calls:?}");
    });
}

#[test]
fn another_workspace_is_reloaded_and_another_release_restarted() {
    let node = Node::new(&RHEL_8, SCRIPT);
    node.run(&ARGUMENTS).assert_success();

    let mut arguments = ARGUMENTS;
    arguments[5] = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-2";
    node.run(&arguments).assert_success();
    assert!(node.read(CONFIG).unwrap().contains("/workspaces/ws-2/"));
    assert_eq!(disturbances(&node), ["systemctl reload prometheus"]);

    let unit = "etc/systemd/system/prometheus.service";
    let old = node.read(unit).unwrap().replace("3.13.2", "3.12.0");
    node.write(unit, &old);
    node.run(&arguments).assert_success();
    assert_eq!(
        disturbances(&node),
        ["systemctl daemon-reload", "systemctl restart prometheus"]
    );
}

#[test]
fn what_is_missing_is_said_in_one_line_and_never_costs_the_cluster() {
    type Fault = (fn(&Node), &'static str);
    const FAULTS: [Fault; 4] = [
        (
            |node| node.remove("world/internet"),
            ": the head node needs a way to github.com (a public address, or a NAT gateway)",
        ),
        (
            Node::spoil_releases,
            ".tar.gz is not what was released: not installed",
        ),
        (
            |node| node.remove("usr/bin/systemctl"),
            "a command failed, see above",
        ),
        (
            |node| node.write("etc/prometheus", "a file that is in the way"),
            "a command failed, see above",
        ),
    ];
    const END: &str = ". The cluster is kept, without metrics. Mend that, then run as root: \
        /opt/gpu-monitoring/head-node.sh --cluster training --region us-east-2 \
        --amp-endpoint https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1";
    on_every_system(|system| {
        let os = system.os;
        for (cause, expected) in FAULTS {
            let node = Node::new(system, SCRIPT);
            cause(&node);
            let ended = node.run(&ARGUMENTS);
            let complaint = ended.complaint();
            assert!(
                complaint.contains(expected),
                "{os}: no {expected:?}: {ended:?}"
            );
            assert!(complaint.ends_with(END), "{complaint}");
            assert_eq!(node.read("world/journal").unwrap().trim_end(), complaint);
            assert_eq!(node.read(COPY), node.read(SCRIPT));
        }
    });
}

#[test]
fn wrong_arguments_cost_no_cluster_but_fail_outside_of_one() {
    let node = Node::new(&RHEL_8, SCRIPT);
    let wrong = ["--cluster", "training", "--region", "Ohio & more"];
    let told = "head-node.sh: --region=\"Ohio & more\": expected a region such as us-east-2";
    let ended = node.run(&wrong);
    let command = "/opt/gpu-monitoring/head-node.sh --cluster training --region Ohio\\ \\&\\ more";
    let complaint = ended.complaint();
    assert!(
        complaint.starts_with(told) && complaint.ends_with(command),
        "{complaint}"
    );

    node.leave_cluster();
    let ended = node.run(&wrong);
    assert!(!ended.success);
    assert_eq!(ended.stderr, format!("{told}\n"));
}

#[test]
fn prometheus_sends_through_the_proxy_of_the_node() {
    let node = Node::new(&RHEL_8, SCRIPT);
    node.write(
        "etc/profile.d/proxy.sh",
        "export https_proxy=http://proxy.example.com:3128\n",
    );
    node.run(&ARGUMENTS).assert_success();
    let unit = node.read("etc/systemd/system/prometheus.service").unwrap();
    assert!(unit.contains("\nEnvironment=\"HTTPS_PROXY=http://proxy.example.com:3128\"\n"));
    node.assert_valid_unit("prometheus");
    // One for EC2's addresses in each job, one for the workspace.
    let config = node.read(CONFIG).unwrap();
    assert_eq!(config.matches("proxy_from_environment: true").count(), 3);
}

/// The calls that interrupt Prometheus, or might.
fn disturbances(node: &Node) -> Vec<String> {
    let calls = node.calls().into_iter();
    calls
        .filter(|call| call.contains("reload") || call.contains("restart"))
        .collect()
}
