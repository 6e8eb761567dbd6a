//! Simulated dcgm-exporters: real exposition text of GPUs that train a model, and of broken ones.
//! Each remembers what it served, to compare with what came out at the other end.

mod field;
mod node;
mod release;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};

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

/// A fault of one GPU: what the exporter prints in place of the reading.
#[derive(Clone, Debug)]
struct Override {
    field: &'static str,
    gpu: u32,
    printed: String,
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
    overrides: Mutex<Vec<Override>>,
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
        let printed = printed.to_owned();
        lock(&self.state.overrides).push(Override {
            field: field.name,
            gpu,
            printed,
        });
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

async fn metrics(State((node, state)): State<(Arc<Node>, Arc<Shared>)>) -> impl IntoResponse {
    let at = SystemTime::now();
    let overrides = lock(&state.overrides).clone();
    let (mut text, readings) = render(&node, &overrides, at);
    text.push_str(&lock(&state.more_lines));
    lock(&state.scrapes).push(Scrape { at, readings });
    (
        [(
            header::CONTENT_TYPE,
            "text/plain; version=0.0.4; charset=utf-8",
        )],
        text,
    )
}

fn render(node: &Node, overrides: &[Override], at: SystemTime) -> (String, Vec<Reading>) {
    let all_series = node.series();
    let (mut text, mut readings) = (String::new(), Vec::new());
    for (field, is_default) in fields() {
        let exported = node.release.exported(field);
        let mut head = Some(());
        for series in &all_series {
            let mut faults = overrides.iter().rev();
            let fault = faults.find(|o| o.field == field.name && o.gpu == series.gpu);
            let is_shown = (is_default || node.shows_health)
                && (!field.is_event || is_default && node.release.shows_no_event());
            if fault.is_none() && !is_shown {
                continue;
            }
            if head.take().is_some() {
                field.write_head(&exported, &mut text);
            }
            let reading = read(node, field, series, fault, at);
            let (name, labels, printed) = (exported.name, &series.labels, &reading.printed);
            writeln!(text, "{name}{{{labels}}} {printed}")
                .expect("a string takes all that is written");
            readings.push(reading);
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

fn read(
    node: &Node,
    field: Field,
    series: &Series,
    fault: Option<&Override>,
    at: SystemTime,
) -> Reading {
    let exported = node.release.exported(field);
    let (printed, measured) = match fault {
        Some(fault) => {
            let printed = fault.printed.clone();
            let value = printed.parse().expect("an exporter prints numbers");
            (printed, exported.unscaled(value))
        }
        None => {
            let measured = node.load(series, field, at);
            (exported.kind.print(exported.scaled(measured)), measured)
        }
    };
    Reading {
        field,
        series: series.clone(),
        name: exported.name,
        printed,
        measured,
    }
}
