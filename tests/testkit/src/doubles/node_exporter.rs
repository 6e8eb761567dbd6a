//! A simulated node_exporter of a GPU node: what the head node keeps of it, and a little of what it
//! does not. Names and labels: <https://github.com/prometheus/node_exporter/tree/master/collector>.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use axum::{Router, http::header, response::IntoResponse, routing::get};

use crate::doubles::server::Server;

/// Seconds that a processor spends in each mode, of every second.
const MODES: [(&str, f64); 8] = [
    ("idle", 0.71),
    ("iowait", 0.02),
    ("irq", 0.0),
    ("nice", 0.0),
    ("softirq", 0.01),
    ("steal", 0.0),
    ("system", 0.06),
    ("user", 0.2),
];

const PROCESSORS: u32 = 4;

/// Counters that grow by so much every second.
const COUNTERS: [(&str, &str, f64); 7] = [
    ("node_disk_io_time_seconds_total", "device=\"nvme0n1\"", 0.3),
    ("node_disk_io_time_seconds_total", "device=\"nvme1n1\"", 0.7),
    ("node_network_receive_bytes_total", "device=\"lo\"", 2e3),
    ("node_network_receive_bytes_total", "device=\"eth0\"", 4e7),
    ("node_network_transmit_bytes_total", "device=\"lo\"", 2e3),
    ("node_network_transmit_bytes_total", "device=\"eth0\"", 3e7),
    ("node_context_switches_total", "", 5e4),
];

const ROOT: &str = "device=\"/dev/root\",fstype=\"ext4\",mountpoint=\"/\"";

const GAUGES: [(&str, &str, f64); 6] = [
    ("node_load1", "", 61.5),
    ("node_memory_MemAvailable_bytes", "", 1.6e12),
    ("node_memory_MemTotal_bytes", "", 2.1e12),
    ("node_filesystem_avail_bytes", ROOT, 1.2e11),
    ("node_filesystem_size_bytes", ROOT, 2.0e11),
    ("node_boot_time_seconds", "", 1.7e9),
];

/// A running exporter; dropping it ends it.
#[derive(Debug)]
pub struct NodeExporter(Server);

impl NodeExporter {
    /// Serves `/metrics` on a free port.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start() -> anyhow::Result<Self> {
        let router = Router::new().route("/metrics", get(metrics));
        Ok(Self(Server::route(router).await?))
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

async fn metrics() -> impl IntoResponse {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let uptime = now.map_or(0.0, |now| now.as_secs_f64() % 1e7);
    let mut text = String::new();
    let mut line = |name: &str, labels: &str, value: f64| {
        writeln!(text, "{name}{{{labels}}} {value}").expect("a string takes all that is written");
    };
    for cpu in 0..PROCESSORS {
        for (mode, share) in MODES {
            let labels = format!("cpu=\"{cpu}\",mode=\"{mode}\"");
            line("node_cpu_seconds_total", &labels, uptime * share);
        }
    }
    for (name, labels, growth) in COUNTERS {
        line(name, labels, uptime * growth);
    }
    for (name, labels, value) in GAUGES {
        line(name, labels, value);
    }
    let form = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, form)], text)
}
