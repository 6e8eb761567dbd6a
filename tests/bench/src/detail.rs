//! The ways to publish each GPU, beside each other.

use std::time::Duration;

use crate::fleet::Fleet;
use crate::options::Options;
use crate::run::{self, Run};
use crate::{progress, repeats};

/// Values of `GPU_DETAIL`. With the last one the roll-ups are all that is published.
const WAYS: [&str; 4] = ["metrics", "otlp", "otlp-minute", "none"];

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) nodes: u32,
    pub(crate) way: &'static str,
    pub(crate) delay_ms: u64,
    pub(crate) run: Run,
}

pub(crate) async fn measure(options: &Options) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &nodes in &options.detail_sizes {
        progress(nodes, "loading Prometheus");
        let fleet = Fleet::start(nodes).await?;
        for &delay_ms in &options.delays_ms {
            progress(
                nodes,
                &format!("each GPU in every way, {delay_ms} ms a call"),
            );
            let delay = Duration::from_millis(delay_ms);
            let times = repeats(nodes, options.runs.get());
            let runs = run::measure(&fleet, delay, times, WAYS).await?;
            rows.extend(WAYS.into_iter().zip(runs).map(|(way, run)| Row {
                nodes,
                way,
                delay_ms,
                run,
            }));
        }
    }
    Ok(rows)
}
