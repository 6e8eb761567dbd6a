//! compute-node.sh on every operating system of ParallelCluster, run as a whole on a node each.

use std::collections::BTreeSet;

use dcgm_to_cloudwatch::gpu::metric;
use testkit::doubles::dcgm_exporter;

use crate::templates::node::{Node, RHEL_8, System, key, on_every_system};

const SCRIPT: &str = "compute-node.sh";
const COPY: &str = "opt/gpu-monitoring/compute-node.sh";
const NODE_EXPORTER: &str = "etc/systemd/system/node-exporter.service";
const COUNTERS: &str = "opt/gpu-monitoring/counters.csv";
const DCGM_EXPORTER: &str = "etc/systemd/system/dcgm-exporter.service";

#[test]
fn every_system_gets_both_exporters() {
    on_every_system(|system| {
        let os = system.os;
        let node = gpu_node(system);
        node.run(&[]).assert_success();
        for port in [9100, 9400] {
            assert!(answers(&node, port), "{os}: {port}");
        }
        for unit in ["node-exporter", "dcgm-exporter", "docker"] {
            let enabled = node.path("world/enabled").join(unit).exists();
            assert!(enabled, "{os}: {unit}");
        }
        for unit in ["node-exporter", "dcgm-exporter"] {
            node.assert_valid_unit(unit);
        }
        assert_eq!(installed(&node), expected_packages(system), "{os}");
    });
}

#[test]
fn a_second_run_starts_nothing_again_and_needs_no_internet() {
    const DISTURBS: [&str; 6] = ["restart", "reload", "pull", "https:", "dnf", "apt-get"];
    on_every_system(|system| {
        let os = system.os;
        let node = gpu_node(system);
        node.run(&[]).assert_success();
        node.remove("world/internet");
        node.run(&[]).assert_success();
        for call in node.calls() {
            let disturbs = DISTURBS.iter().any(|word| call.contains(word));
            assert!(!disturbs, "{os}: {call}");
        }
    });
}

#[test]
fn another_release_is_put_in_place_of_the_one_before() {
    let node = gpu_node(&RHEL_8);
    node.run(&[]).assert_success();
    let old = node.read(NODE_EXPORTER).unwrap().replace("1.9.1", "1.8.2");
    node.write(NODE_EXPORTER, &old);
    node.run(&[]).assert_success();
    let calls = node.calls();
    let restarts = calls.iter().filter(|call| call.contains(" restart "));
    assert_eq!(
        restarts.collect::<Vec<_>>(),
        ["systemctl restart node-exporter"]
    );
    assert!(node.read(NODE_EXPORTER).unwrap().contains("1.9.1"));
}

#[test]
fn a_node_without_gpu_gets_node_exporter_alone() {
    on_every_system(|system| {
        let node = Node::new(system, SCRIPT);
        let ended = node.run(&[]);
        ended.assert_success();
        let expected = "compute-node.sh: no NVIDIA GPU here, dcgm-exporter is left out\n";
        assert!(ended.stdout.contains(expected), "{ended:?}");
        assert!(answers(&node, 9100));
        assert!(!node.path(DCGM_EXPORTER).exists());
        assert_eq!(installed(&node), [""; 0]);
    });
}

/// What is wrong with a node, and parts of the line that says so.
type Fault = (fn(&Node), &'static [&'static str]);

const FAULTS: [Fault; 7] = [
    (
        |node| node.remove("world/internet"),
        &[
            "cannot download https://github.com/prometheus/node_exporter/",
            ": compute nodes need a way to the internet (a NAT gateway)",
        ],
    ),
    (
        Node::spoil_releases,
        &[".tar.gz is not what was released: not installed"],
    ),
    (
        |node| {
            let served = "world/served/nvidia.github.io/libnvidia-container/gpgkey";
            node.write(served, &key("other"));
        },
        &["the key of https://nvidia.github.io/libnvidia-container/gpgkey is not "],
    ),
    (
        |node| {
            node.write("world/distribution", "");
            node.remove("world/served/download.docker.com");
        },
        // In the words of the package manager, or of the download before it.
        &["docker", "compute nodes need a way to the internet"],
    ),
    (
        |node| node.add_double("docker", "podman-docker"),
        &["docker is another program here (podman-docker?): remove its package"],
    ),
    (
        |node| node.remove("usr/bin/nvidia-smi"),
        &["the NVIDIA driver of this node's GPUs is not loaded: use an image that has it"],
    ),
    (
        |node| {
            node.remove("usr/bin/apt-get");
            node.remove("usr/bin/dnf");
        },
        &["neither apt-get nor dnf: use an image that has docker and nvidia-container-toolkit"],
    ),
];

#[test]
fn what_is_missing_is_said_in_one_line_and_never_costs_the_node() {
    const END: &str = ". The node is kept, without these metrics. Mend that, then run as root: /opt/gpu-monitoring/compute-node.sh";
    on_every_system(|system| {
        let os = system.os;
        for (cause, expected) in FAULTS {
            let node = gpu_node(system);
            cause(&node);
            let ended = node.run(&[]);
            let complaint = ended.complaint();
            for part in expected.iter().chain([&END]) {
                assert!(complaint.contains(part), "{os}: no {part:?}: {ended:?}");
            }
            let journal = node.read("world/journal").unwrap();
            assert_eq!(journal.trim_end(), complaint);
            assert_eq!(node.read(COPY), node.read(SCRIPT));
        }
    });
}

#[test]
fn one_exporter_does_not_wait_for_the_other() {
    for (missing, port) in [("github.com", 9400), ("download.docker.com", 9100)] {
        let node = gpu_node(&RHEL_8);
        node.remove(&format!("world/served/{missing}"));
        node.run(&[]).complaint();
        assert!(answers(&node, port), "{port}");
    }
}

#[test]
fn outside_of_a_cluster_a_failure_is_a_failure() {
    let node = gpu_node(&RHEL_8);
    let ended = node.run(&["--verbose"]);
    let told = "compute-node.sh: unknown argument --verbose: expected none";
    assert!(ended.complaint().starts_with(told));

    node.leave_cluster();
    node.run(&[]).assert_success();
    assert!(!node.path(COPY).exists());

    let ended = node.run(&["--verbose"]);
    assert!(!ended.success);
    assert_eq!(ended.stderr, format!("{told}\n"));

    let node = gpu_node(&RHEL_8);
    node.leave_cluster();
    node.remove("world/internet");
    let ended = node.run(&[]);
    assert!(!ended.success);
    let last = ended.stderr.lines().last().unwrap();
    assert!(last.starts_with("compute-node.sh: cannot download https://github.com/"));
}

/// Docker that is there already keeps running what it runs.
#[test]
fn docker_is_not_restarted_for_the_nvidia_runtime() {
    let node = gpu_node_with_docker();
    node.run(&[]).assert_success();
    let calls = node.calls();
    assert!(calls.iter().any(|call| call == "systemctl reload docker"));
    let restarts = calls.iter().any(|call| call.contains("restart docker"));
    assert!(!restarts, "{calls:?}");
}

/// `systemctl daemon-reload` takes the GPUs from a container that got them by `--gpus`.
#[test]
fn gpus_come_into_the_container_by_the_nvidia_runtime() {
    let node = gpu_node(&RHEL_8);
    node.run(&[]).assert_success();
    let unit = node.read(DCGM_EXPORTER).unwrap();
    assert!(unit.contains(" --runtime nvidia ") && !unit.contains("--gpus"));
    assert!(unit.contains(" --env NVIDIA_VISIBLE_DEVICES=all "));
}

/// The exporter's own fields before 4.9, and what health and cost need.
#[test]
fn the_exporter_has_the_fields_of_the_catalogue() {
    let node = gpu_node(&RHEL_8);
    node.run(&[]).assert_success();
    let counters = node.read(COUNTERS).unwrap();
    let fields: Vec<_> = fields(&counters).collect();
    let distinct: BTreeSet<_> = fields.iter().collect();
    assert_eq!(distinct.len(), fields.len());
    for field in dcgm_exporter::Field::all() {
        let is_here = distinct.contains(&field.name);
        assert!(
            is_here || field.name == "DCGM_FI_DEV_VGPU_LICENSE_STATUS",
            "{}",
            field.name
        );
    }
    for metric in [
        "GPUPCIeReplays",
        "GPUECCDoubleBitErrors",
        "GPUNVLinkErrors",
        "GPUEnergy",
        "GPUThrottled",
    ] {
        let is_collected = |field: &&str| metric::find(field).is_some_and(|one| one.name == metric);
        assert!(fields.iter().any(is_collected), "{metric}");
    }
}

#[test]
fn a_field_that_the_exporter_does_not_know_costs_itself_alone() {
    let unknown = ["DCGM_EXP_XID_ERRORS_TOTAL", "DCGM_FI_DEV_GPU_TEMP_LIMIT"];
    let node = gpu_node(&RHEL_8);
    node.write("world/unknown-fields", &(unknown.join("\n") + "\n"));
    let ended = node.run(&[]);
    ended.assert_success();
    let told = "compute-node.sh: dcgm-exporter does not know DCGM_FI_DEV_GPU_TEMP_LIMIT \
                DCGM_EXP_XID_ERRORS_TOTAL: left out";
    assert!(ended.stdout.contains(told), "{ended:?}");
    assert!(answers(&node, 9400));
    let counters = node.read(COUNTERS).unwrap();
    let left: Vec<_> = fields(&counters).collect();
    assert!(left.contains(&"DCGM_FI_DEV_GPU_TEMP") && left.contains(&"DCGM_EXP_XID_ERRORS_COUNT"));
    assert!(
        !left.iter().any(|field| unknown.contains(field)),
        "{left:?}"
    );
}

fn fields(counters: &str) -> impl Iterator<Item = &str> {
    let lines = counters.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(|line| line.split_once(',').map(|(field, _)| field))
}

#[test]
fn a_key_beside_the_expected_one_is_not_trusted() {
    let node = gpu_node(&RHEL_8);
    let both = [key("docker"), key("other")].concat();
    node.write("world/served/download.docker.com/linux/rhel/gpg", &both);
    node.run(&[]).assert_success();
    let saved = "/etc/pki/rpm-gpg/RPM-GPG-KEY-docker-ce";
    let show = ["gpg", "--homedir", "/tmp", "--with-colons", "--show-keys"];
    let shown = node.command(&[&show[..], &[saved]].concat());
    let keys = shown.stdout.lines().filter(|line| line.starts_with("pub:"));
    assert_eq!(keys.count(), 1, "{shown:?}");
}

#[test]
fn docker_pulls_through_the_proxy_of_the_node() {
    let node = gpu_node_with_docker();
    let proxy = "export https_proxy=http://proxy.example.com:3128/%41\nexport no_proxy=localhost\n";
    node.write("etc/profile.d/proxy.sh", proxy);
    node.run(&[]).assert_success();
    let drop_in = node.read("etc/systemd/system/docker.service.d/gpu-monitoring-proxy.conf");
    let expected = "[Service]\n\
        Environment=\"HTTPS_PROXY=http://proxy.example.com:3128/%%41\"\n\
        Environment=\"NO_PROXY=localhost\"\n";
    assert_eq!(drop_in.as_deref(), Some(expected));
}

fn gpu_node(system: &System) -> Node {
    let node = Node::new(system, SCRIPT);
    node.add_gpu();
    node
}

fn gpu_node_with_docker() -> Node {
    let node = gpu_node(&RHEL_8);
    for words in [
        &["/world/doubles/install-packages", "docker-ce"][..],
        &["systemctl", "enable", "--now", "docker"],
    ] {
        let ended = node.command(words);
        assert!(ended.success, "{ended:?}");
    }
    node
}

fn answers(node: &Node, port: u16) -> bool {
    node.path(format!("world/answering/{port}")).exists()
}

fn installed(node: &Node) -> Vec<String> {
    let installed = node.read("world/installed").unwrap_or_default();
    installed.lines().map(str::to_owned).collect()
}

fn expected_packages(system: &System) -> Vec<String> {
    let docker = match system.docker {
        "docker-ce" => "docker-ce docker-ce-cli containerd.io",
        package => package,
    };
    let separator = if system.has_apt() { '=' } else { '-' };
    let toolkit = [
        "nvidia-container-toolkit",
        "nvidia-container-toolkit-base",
        "libnvidia-container-tools",
        "libnvidia-container1",
    ];
    let toolkit = toolkit.map(|name| format!("{name}{separator}1.19.1-1"));
    docker
        .split(' ')
        .map(str::to_owned)
        .chain(toolkit)
        .collect()
}
