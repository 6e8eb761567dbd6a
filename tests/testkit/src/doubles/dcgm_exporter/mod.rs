//! Simulated dcgm-exporters: real exposition text of GPUs that train a model, and of broken ones.
//! Each remembers what it served, to compare with what came out at the other end.

mod field;
mod node;

use std::{
    fmt::Write as _,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, SystemTime},
};

use axum::{Router, extract::State, http::header, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, task::JoinSet};

pub use self::{
    field::Field,
    node::{HostnameLabel, MigInstance, Node, Series},
};

/// One value of one scrape.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What was read.
    pub field: Field,
    /// Of which GPU.
    pub series: Series,
    /// The value as it was printed.
    pub printed: String,
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
    address: SocketAddr,
    state: Arc<Shared>,
    _server: JoinSet<()>,
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
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (node, state) = (Arc::new(node), Arc::new(Shared::default()));
        let router = Router::new()
            .route("/metrics", get(metrics))
            .with_state((Arc::clone(&node), Arc::clone(&state)));
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.expect("never ends") });
        Ok(Self {
            node,
            address,
            state,
            _server: server,
        })
    }

    /// Whose metrics these are.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// Where it listens, `127.0.0.1:<port>`.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on prints this for a GPU's field: `NaN`, `9223372036854775794` and other blanks of
    /// DCGM, or any number.
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
    for field in field::DEFAULT {
        field.write_head(&mut text);
        for series in &all_series {
            let fault = overrides.iter().rev();
            let fault = fault
                .clone()
                .find(|o| o.field == field.name && o.gpu == series.gpu);
            let printed = fault.map_or_else(
                || field.print(node.load(series, field, at)),
                |fault| fault.printed.clone(),
            );
            writeln!(text, "{}{{{}}} {printed}", field.name, series.labels)
                .expect("a string takes all that is written");
            readings.push(Reading {
                field,
                series: series.clone(),
                printed,
            });
        }
    }
    (text, readings)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this lock")
}
