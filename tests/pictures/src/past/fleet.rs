//! Six nodes that train, one of them only holds its GPUs, and what befalls them before the end:
//! a GPU gets too hot and slows its node down for half an hour, another falls off the bus.

use std::ops::Range;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use testkit::doubles::dcgm_exporter::{Field, Node, Release, Series};
use testkit::real::prometheus::every;
use testkit::real::remote_write::Request;

const NODES: u32 = 6;

/// How often the head node reads GPUs, and how often the rest of a node and itself.
const GPU_INTERVAL: Duration = Duration::from_secs(15);
const NODE_INTERVAL: Duration = Duration::from_secs(60);

/// A node that has nothing to do for the last so many minutes, and whose memory is held.
const IDLE_NODE: u32 = 6;
const IDLE_MINUTES: f64 = 75.0;

/// A GPU that is too hot, from so many minutes before the end to so many.
const HOT: (u32, u32) = (3, 5);
const HOT_MINUTES: (f64, f64) = (100.0, 65.0);

/// Little things of a GPU that are no fault yet, so much a minute, since so many minutes before the end.
const COUNTS: [(&str, (u32, u32), f64, f64); 3] = [
    ("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", (1, 6), 3.0, 50.0),
    (
        "DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS",
        (4, 7),
        0.05,
        120.0,
    ),
    (
        "DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL",
        (5, 1),
        40.0,
        140.0,
    ),
];

/// A GPU that has fallen off the bus so many minutes before the end.
const LOST: (u32, u32) = (2, 3);
const LOST_MINUTES: f64 = 9.0;
const LOST_XID: f64 = 79.0;

#[derive(Debug)]
pub(super) struct Fleet {
    nodes: Vec<Node>,
    end: SystemTime,
}

impl Fleet {
    pub(super) fn until(end: SystemTime) -> Self {
        let node = |index| Node {
            // A fleet in the middle of an upgrade.
            release: if index % 2 == 0 {
                Release::V4_8_3
            } else {
                Release::V4_9
            },
            shows_health: true,
            hpc_jobs: vec![
                if index == IDLE_NODE {
                    "notebook"
                } else {
                    "llama-70b"
                }
                .to_owned(),
            ],
            ..Node::p5en(index)
        };
        Self {
            nodes: (1..=NODES).map(node).collect(),
            end,
        }
    }

    /// All that the head node sends of these times.
    pub(super) fn show(&self, times: Range<SystemTime>, request: &mut Request) {
        let gpu_times = every(GPU_INTERVAL, times.start, times.end);
        let node_times = every(NODE_INTERVAL, times.start, times.end);
        for node in &self.nodes {
            for field in Field::all().filter(|field| !field.name.contains("XID")) {
                self.readings(node, field, &gpu_times, request);
            }
            self.events(node, &gpu_times, request);
            machine(node, &node_times, request);
            let address = format!("10.0.0.{}", node.index);
            target(
                &format!("{address}:9400"),
                "dcgm",
                node,
                &gpu_times,
                0.021,
                request,
            );
            target(
                &format!("{address}:9100"),
                "node",
                node,
                &node_times,
                0.034,
                request,
            );
        }
        head_node(&gpu_times, request);
    }

    fn readings(&self, node: &Node, field: Field, times: &[SystemTime], request: &mut Request) {
        let exported = node.release.exported(field);
        for series in node.series() {
            let value = |time: &SystemTime| {
                let value = self.reading(node, &series, field, *time);
                (*time, exported.scaled(value))
            };
            let labels = node.stored_labels(&series);
            request.series(exported.name, &labels, times.iter().map(value));
        }
    }

    fn reading(&self, node: &Node, series: &Series, field: Field, time: SystemTime) -> f64 {
        let healthy = node.load(series, field, time);
        let left = self.minutes_left(time);
        let of = (node.index, series.gpu);
        let is_idle = node.index == IDLE_NODE && left <= IDLE_MINUTES;
        let (since, until) = HOT_MINUTES;
        let is_hot = of == HOT && left <= since;
        let is_hot_now = is_hot && left > until;
        if let Some((_, _, growth, since)) = COUNTS
            .iter()
            .find(|(name, counted, ..)| *name == field.name && *counted == of)
        {
            return ((since - left).max(0.0) * growth).floor();
        }
        match field.name {
            "DCGM_FI_DEV_THERMAL_VIOLATION" if is_hot => {
                // A third of the time, in nanoseconds.
                (since - left.max(until)) * 60e9 / 3.0
            }
            "DCGM_FI_DEV_GPU_TEMP" if is_hot_now => healthy + 24.0,
            "DCGM_FI_DEV_GPU_TEMP_LIMIT" if is_hot_now => healthy - 24.0,
            "DCGM_FI_DEV_SM_CLOCK" if is_hot_now => healthy * 0.7,
            "DCGM_FI_DEV_POWER_USAGE" if is_hot_now => healthy * 0.7,
            "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE" if is_hot_now => healthy * 0.7,
            "DCGM_FI_DEV_GPU_TEMP" if is_idle => healthy - 30.0,
            "DCGM_FI_DEV_SM_CLOCK" if is_idle => 345.0,
            "DCGM_FI_DEV_POWER_USAGE" if is_idle => 76.0 + healthy / 100.0,
            "DCGM_FI_DEV_GPU_UTIL" | "DCGM_FI_DEV_MEM_COPY_UTIL" if is_idle => 0.0,
            name if name.starts_with("DCGM_FI_PROF_") && is_idle => 0.0,
            _ => healthy,
        }
    }

    fn events(&self, node: &Node, times: &[SystemTime], request: &mut Request) {
        let (lost_node, lost_gpu) = LOST;
        let field = Field::named("DCGM_FI_DEV_XID_ERRORS").expect("a field of every exporter");
        let is_lost = |time: &&SystemTime| self.minutes_left(**time) <= LOST_MINUTES;
        let times: Vec<_> = times.iter().filter(is_lost).collect();
        if node.index != lost_node || times.is_empty() {
            return;
        }
        for series in node.series().iter().filter(|series| series.gpu == lost_gpu) {
            let samples = times.iter().map(|time| (**time, LOST_XID));
            request.series(
                node.release.exported(field).name,
                &node.stored_labels(series),
                samples,
            );
        }
    }

    fn minutes_left(&self, time: SystemTime) -> f64 {
        self.end
            .duration_since(time)
            .unwrap_or_default()
            .as_secs_f64()
            / 60.0
    }
}

/// What node_exporter shows: counters that grow by so much a second, and gauges.
fn machine(node: &Node, times: &[SystemTime], request: &mut Request) {
    let id = &node.instance_id;
    let labels = |more: &str| {
        let comma = if more.is_empty() { "" } else { "," };
        let instance = format!("10.0.0.{}:9100", node.index);
        format!(
            r#"cluster="{}",instance="{instance}",instance_id="{id}",job="node"{comma}{more}"#,
            node.cluster
        )
    };
    let is_idle = node.index == IDLE_NODE;
    let busy = if is_idle { 0.02 } else { 0.31 };
    for cpu in 0..4 {
        for (mode, share) in [
            ("idle", 0.97 - busy),
            ("iowait", 0.01),
            ("system", 0.02),
            ("user", busy),
        ] {
            let labels = labels(&format!(r#"cpu="{cpu}",mode="{mode}""#));
            let growing = growing(node.index * 10 + cpu, share, times);
            request.series("node_cpu_seconds_total", &labels, growing);
        }
    }
    for (name, more, growth) in [
        (
            "node_disk_io_time_seconds_total",
            r#"device="nvme0n1""#,
            0.1,
        ),
        (
            "node_disk_io_time_seconds_total",
            r#"device="nvme1n1""#,
            0.4,
        ),
        ("node_network_receive_bytes_total", r#"device="eth0""#, 4e7),
        ("node_network_transmit_bytes_total", r#"device="eth0""#, 3e7),
    ] {
        request.series(
            name,
            &labels(more),
            growing(node.index + growth as u32, growth, times),
        );
    }
    let root = r#"device="/dev/root",fstype="ext4",mountpoint="/""#;
    for (name, more, value) in [
        ("node_load1", "", 192.0 * busy),
        ("node_memory_MemAvailable_bytes", "", 1.6e12),
        ("node_memory_MemTotal_bytes", "", 2.1e12),
        ("node_filesystem_avail_bytes", root, 1.2e11),
        ("node_filesystem_size_bytes", root, 2.0e11),
    ] {
        let moved = times
            .iter()
            .map(|time| (*time, value * (1.0 + 0.05 * wave(node.index, *time))));
        let still = times.iter().map(|time| (*time, value));
        if name.ends_with("MemTotal_bytes") || name.ends_with("size_bytes") {
            request.series(name, &labels(more), still);
        } else {
            request.series(name, &labels(more), moved);
        }
    }
}

/// A target that answers, as Prometheus notes it.
fn target(
    instance: &str,
    job: &str,
    node: &Node,
    times: &[SystemTime],
    takes: f64,
    request: &mut Request,
) {
    let labels = format!(
        r#"cluster="{}",instance="{instance}",instance_id="{}",job="{job}""#,
        node.cluster, node.instance_id
    );
    let samples = if job == "dcgm" { 336.0 } else { 27.0 };
    for (name, value, moves) in [
        ("up", 1.0, 0.0),
        ("scrape_samples_post_metric_relabeling", samples, 0.0),
        ("scrape_duration_seconds", takes, 0.3),
    ] {
        let value = |time: &SystemTime| (*time, value * (1.0 + moves * wave(node.index, *time)));
        request.series(name, &labels, times.iter().map(value));
    }
}

/// What the head node's Prometheus notes of itself.
fn head_node(times: &[SystemTime], request: &mut Request) {
    let labels = r#"cluster="p5en",instance="127.0.0.1:9090",job="prometheus""#;
    let seconds = |time: &SystemTime| {
        time.duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
    };
    let sent = |time: &SystemTime| (*time, seconds(time) - 5.0 - 2.0 * wave(0, *time));
    let pending = |time: &SystemTime| (*time, (420.0 * (1.0 + wave(1, *time))).round());
    request.series(
        "prometheus_remote_storage_queue_highest_sent_timestamp_seconds",
        labels,
        times.iter().map(sent),
    );
    request.series(
        "prometheus_remote_storage_samples_pending",
        labels,
        times.iter().map(pending),
    );
    for (name, value) in [
        ("up", 1.0),
        ("scrape_samples_post_metric_relabeling", 5.0),
        ("scrape_duration_seconds", 0.004),
        ("prometheus_remote_storage_samples_failed_total", 0.0),
        ("prometheus_remote_storage_samples_dropped_total", 0.0),
    ] {
        request.series(name, labels, times.iter().map(|time| (*time, value)));
    }
}

/// A counter that always rises, sometimes faster than `growth` a second and sometimes slower.
fn growing(
    salt: u32,
    growth: f64,
    times: &[SystemTime],
) -> impl Iterator<Item = (SystemTime, f64)> {
    times.iter().map(move |time| {
        let seconds = time
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs_f64()
            % 1e6;
        (*time, growth * (seconds + 90.0 * wave(salt, *time)))
    })
}

/// From -1 to 1, slowly, and never the same for two `salt`s.
fn wave(salt: u32, time: SystemTime) -> f64 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
        % 1e6;
    let salt = f64::from(salt);
    0.6 * (seconds / 211.0 + salt).sin() + 0.4 * (seconds / 97.0 + 2.0 * salt).sin()
}
