//! Simulated dcgm-exporters: real exposition text of GPUs that train a model, and of broken ones.
//! Each remembers what it served, to compare with what came out at the other end.

mod field;
mod node;
mod release;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use crate::doubles::faults::lock;
use crate::doubles::server::Server;

pub use self::{
    field::Field,
    node::{MigInstance, Node, Series},
    release::{Exported, Release},
};

/// One value of one scrape.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was read.
    pub field: Field,
    /// Of which GPU.
    pub series: Series,
    /// The name of the series in which it was exported.
    pub name: &'static str,
    /// The value as it was printed.
    pub printed: String,
    /// The value in the field's own unit.
    pub measured: f64,
}

impl Reading {
    /// The number Prometheus makes of it.
    pub fn value(&self) -> f64 {
        self.printed.parse().expect("an exporter prints numbers")
    }
}

/// All that one scrape got.
#[derive(Clone, Debug)]
pub struct Scrape {
    /// When it was served, a little after the timestamp that Prometheus gives its samples.
    pub at: SystemTime,
    /// In the order of the exposition.
    pub readings: Vec<Reading>,
}

/// A series of one GPU that shows something else than the reading: its field, GPU and further labels.
type Faulty = (&'static str, u32, String);

/// What a faulty series shows.
#[derive(Clone, Debug)]
enum Shown {
    Text(String),
    /// A counter that goes up, by so much a second.
    Rising {
        since: SystemTime,
        per_second: f64,
    },
}

impl Shown {
    fn printed(&self, at: SystemTime) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Rising { since, per_second } => {
                let seconds = at.duration_since(*since).unwrap_or_default().as_secs_f64();
                format!("{:.0}", seconds * per_second)
            }
        }
    }
}

/// A running exporter; dropping it ends it, as a node that dies.
#[derive(Debug)]
pub struct DcgmExporter {
    node: Arc<Node>,
    server: Server,
    state: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    faults: Mutex<BTreeMap<Faulty, Shown>>,
    lost: Mutex<BTreeSet<u32>>,
    is_down: AtomicBool,
    more_lines: Mutex<String>,
    scrapes: Mutex<Vec<Scrape>>,
}

impl DcgmExporter {
    /// Serves `/metrics` of a node on a free port.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(node: Node) -> anyhow::Result<Self> {
        let (node, state) = (Arc::new(node), Arc::new(Shared::default()));
        let router = Router::new()
            .route("/metrics", get(metrics))
            .with_state((Arc::clone(&node), Arc::clone(&state)));
        Ok(Self {
            node,
            server: Server::route(router).await?,
            state,
        })
    }

    /// Whose metrics these are.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where it listens, `127.0.0.1:<port>`.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on prints this for a GPU's field, whether it is one that is shown by default or not: `NaN`,
    /// `9223372036854775794` and other blanks of DCGM, or any number.
    pub fn print_instead(&self, field: Field, gpu: u32, printed: &str) {
        self.print_labelled(field, gpu, "", printed);
    }

    /// The same for a series with more labels, such as `xid="79"`.
    pub fn print_labelled(&self, field: Field, gpu: u32, labels: &str, printed: &str) {
        let faulty = (field.name, gpu, labels.to_owned());
        lock(&self.state.faults).insert(faulty, Shown::Text(printed.to_owned()));
    }

    /// From now on a GPU's counter goes up from 0, by so much a second.
    pub fn count_up(&self, field: Field, gpu: u32, per_second: f64) {
        let since = SystemTime::now();
        let shown = Shown::Rising { since, per_second };
        lock(&self.state.faults).insert((field.name, gpu, String::new()), shown);
    }

    /// The driver no longer shows the GPU.
    pub fn lose(&self, gpu: u32) {
        lock(&self.state.lost).insert(gpu);
    }

    /// Scrapes fail.
    pub fn go_down(&self) {
        self.state.is_down.store(true, Relaxed);
    }

    /// What a reboot of the node mends: everything.
    pub fn reboot(&self) {
        lock(&self.state.faults).clear();
        lock(&self.state.lost).clear();
        self.state.is_down.store(false, Relaxed);
    }

    /// From now on prints this line as well, such as a series with labels no real GPU has.
    pub fn also_print(&self, line: &str) {
        let mut lines = lock(&self.state.more_lines);
        lines.push_str(line);
        lines.push('\n');
    }

    /// Everything served so far, without [`Self::also_print`]'s lines.
    pub fn scrapes(&self) -> Vec<Scrape> {
        lock(&self.state.scrapes).clone()
    }
}

/// The scrape job of a cluster's Prometheus. The relabelling is that of `ec2_sd_configs`, whose
/// labels stand in the static configuration here. The first scrape begins five seconds after
/// Prometheus's start, which is how often its discovery tells of targets.
pub fn scrape_config(exporters: &[DcgmExporter], interval: Duration) -> String {
    let millis = interval.as_millis();
    let mut config = format!(
        "scrape_configs:\n\
         - job_name: dcgm\n  \
           scrape_interval: {millis}ms\n  \
           scrape_timeout: {millis}ms\n  \
           relabel_configs:\n  \
           - source_labels: [__meta_ec2_instance_id]\n    \
             target_label: instance_id\n  \
           - source_labels: [__meta_ec2_tag_parallelcluster_cluster_name]\n    \
             target_label: cluster\n  \
           static_configs:\n"
    );
    for exporter in exporters {
        let Node {
            instance_id,
            cluster,
            ..
        } = exporter.node();
        let target = exporter.address();
        let written = write!(
            config,
            "  - targets: ['{target}']\n    \
               labels:\n      \
                 __meta_ec2_instance_id: {instance_id}\n      \
                 __meta_ec2_tag_parallelcluster_cluster_name: {cluster}\n"
        );
        written.expect("a string takes all that is written");
    }
    config
}

async fn metrics(State((node, state)): State<(Arc<Node>, Arc<Shared>)>) -> Response {
    let at = SystemTime::now();
    if state.is_down.load(Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let (mut text, readings) = render(&node, &state, at);
    text.push_str(&lock(&state.more_lines));
    lock(&state.scrapes).push(Scrape { at, readings });
    let content_type = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, content_type)], text).into_response()
}

fn render(node: &Node, state: &Shared, at: SystemTime) -> (String, Vec<Reading>) {
    let (faults, lost) = (lock(&state.faults), lock(&state.lost));
    let mut all_series = node.series();
    all_series.retain(|series| !lost.contains(&series.gpu));
    let (mut text, mut readings) = (String::new(), Vec::new());
    for (field, is_default) in fields() {
        let is_shown = (is_default || node.shows_health)
            && (!field.is_event || is_default && node.release.shows_no_event());
        let exported = node.release.exported(field);
        let mut write = |labels: &str, more: &str, reading: Reading| {
            if readings
                .last()
                .is_none_or(|last: &Reading| last.field != field)
            {
                field.write_head(&exported, &mut text);
            }
            let comma = if more.is_empty() { "" } else { "," };
            let (name, printed) = (exported.name, &reading.printed);
            writeln!(text, "{name}{{{labels}{comma}{more}}} {printed}")
                .expect("a string takes all that is written");
            readings.push(reading);
        };
        for series in &all_series {
            let is_meant = |(of, gpu, _): &&Faulty| *of == field.name && *gpu == series.gpu;
            let faulty: Vec<_> = faults.keys().filter(is_meant).collect();
            if faulty.is_empty() && is_shown {
                write(&series.labels, "", read(node, field, series, at));
            }
            for faulty in faulty {
                let reading = misread(node, field, series, faults[faulty].printed(at));
                write(&series.labels, &faulty.2, reading);
            }
        }
    }
    (text, readings)
}

/// All fields, and whether an exporter shows them by default.
fn fields() -> impl Iterator<Item = (Field, bool)> {
    let health = field::HEALTH.into_iter().map(|field| (field, false));
    field::DEFAULT
        .into_iter()
        .map(|field| (field, true))
        .chain(health)
}

fn read(node: &Node, field: Field, series: &Series, at: SystemTime) -> Reading {
    let exported = node.release.exported(field);
    let measured = node.load(series, field, at);
    Reading {
        field,
        series: series.clone(),
        name: exported.name,
        printed: exported.kind.print(exported.scaled(measured)),
        measured,
    }
}

fn misread(node: &Node, field: Field, series: &Series, printed: String) -> Reading {
    let exported = node.release.exported(field);
    let value = printed.parse().expect("an exporter prints numbers");
    Reading {
        field,
        series: series.clone(),
        name: exported.name,
        printed,
        measured: exported.unscaled(value),
    }
}
