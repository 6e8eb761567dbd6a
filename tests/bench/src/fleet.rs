//! A cluster's minute in a real Prometheus.

use std::time::{Duration, SystemTime};

use testkit::doubles::dcgm_exporter::Node;
use testkit::pipeline::minute;
use testkit::real::prometheus::{self, History, Prometheus, every};

const SCRAPE: Duration = Duration::from_secs(15);
/// How long ago the minute is: published runs must not meet it half settled.
const MINUTES_AGO: u64 = 10;

pub(crate) struct Fleet {
    pub(crate) prometheus: Prometheus,
    /// The minute's first moment.
    pub(crate) start: SystemTime,
}

impl Fleet {
    pub(crate) async fn start(nodes: u32) -> anyhow::Result<Self> {
        let start = minute(MINUTES_AGO);
        let nodes: Vec<Node> = (0..nodes).map(Node::p5en).collect();
        let times = every(SCRAPE, start, start + Duration::from_secs(60));
        let options = prometheus::Options {
            history: vec![History::of(&nodes, &times)?],
            ..Default::default()
        };
        Ok(Self {
            prometheus: Prometheus::start(options).await?,
            start,
        })
    }

    /// The last millisecond of the minute, as the API takes it.
    pub(crate) fn last_moment(&self) -> String {
        let start = self.start.duration_since(SystemTime::UNIX_EPOCH);
        format!("{}.999", start.unwrap_or_default().as_secs() + 59)
    }
}
