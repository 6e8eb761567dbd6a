//! The built `dcgm-to-cloudwatch`, measured from the outside.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use serde::Serialize;
use testkit::lambda::{Function, bootstrap};
use testkit::pipeline::{FUNCTION, scheduled};

use crate::cpu_time;
use crate::double::Double;
use crate::fleet::Fleet;
use crate::median;

/// Once in a fresh process, and once again in the same.
const INVOCATIONS: usize = 2;

/// Megabytes, as in the template.
const MEMORY: &str = "512";

/// What a run took.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Run {
    /// Exec of a new process to its first reply.
    pub(crate) cold: Duration,
    /// From an invocation of the process that is there to its reply.
    pub(crate) warm: Duration,
    /// User and system, of the warm invocation.
    pub(crate) cpu: Duration,
    /// The most that was ever resident, after both.
    pub(crate) rss_kib: u64,
    pub(crate) queries: usize,
    pub(crate) requests: usize,
    /// Bodies of these requests on the wire.
    pub(crate) sent_bytes: usize,
    /// The same before compression.
    pub(crate) unpacked_bytes: usize,
    /// Answers of AMP on the wire.
    pub(crate) received_bytes: usize,
    /// User and system of both doubles, on the same cores as the function.
    pub(crate) doubles_cpu: Duration,
}

/// For each way of publishing single GPUs (`GPU_DETAIL`) the median of several, each with all parts but
/// Prometheus new. The ways take turns, as the machine's speed changes.
pub(crate) async fn measure<const N: usize>(
    fleet: &Fleet,
    delay: Duration,
    times: usize,
    ways: [&str; N],
) -> anyhow::Result<[Run; N]> {
    let mut runs = [const { Vec::new() }; N];
    for _ in 0..times {
        for (runs, way) in runs.iter_mut().zip(ways) {
            runs.push(once(fleet, delay, way).await?);
        }
    }
    Ok(runs.map(|runs| middle(&runs)))
}

fn middle(runs: &[Run]) -> Run {
    let median_of = |size: fn(&Run) -> Duration| {
        median(runs, |run| size(run).as_secs_f64()).map_or(Duration::ZERO, |run| size(&run))
    };
    Run {
        cold: median_of(|run| run.cold),
        warm: median_of(|run| run.warm),
        cpu: median_of(|run| run.cpu),
        rss_kib: runs.iter().map(|run| run.rss_kib).max().unwrap_or_default(),
        ..runs[0]
    }
}

async fn once(fleet: &Fleet, delay: Duration, way: &str) -> anyhow::Result<Run> {
    let amp = Double::amp(&fleet.prometheus.url(), delay).await?;
    let cloudwatch = Double::cloudwatch(delay).await?;
    let environment = BTreeMap::from([
        ("AMP_WORKSPACE_URL", amp.url.clone()),
        ("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch.url.clone()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", MEMORY.to_owned()),
        ("CLUSTER_NAME", "p5en".to_owned()),
        ("GPU_DETAIL", way.to_owned()),
        ("MAX_METRICS", "1000000".to_owned()),
    ]);
    let event = scheduled(fleet.start)?;

    let began = Instant::now();
    let function = Function::start(bootstrap(FUNCTION)?, environment).await?;
    function.invoke(event.clone()).await?.reply()?;
    let cold = began.elapsed();

    let before = cpu_time(function.pid())?;
    let began = Instant::now();
    let reply = function.invoke(event).await?.reply()?;
    let warm = began.elapsed();
    let cpu = cpu_time(function.pid())? - before;
    let rss_kib = function.peak_rss_kib()?;
    ensure!(reply["complete"] == true, "the run did not end: {reply}");

    drop(function);
    let (amp, cloudwatch) = (amp.end().await?, cloudwatch.end().await?);
    ensure!(
        amp.refused + cloudwatch.refused == 0,
        "{amp:?}, {cloudwatch:?}: a refused call makes the figures worthless"
    );
    Ok(Run {
        cold,
        warm,
        cpu,
        rss_kib,
        queries: amp.calls / INVOCATIONS,
        requests: cloudwatch.calls / INVOCATIONS,
        sent_bytes: cloudwatch.bytes / INVOCATIONS,
        unpacked_bytes: cloudwatch.unpacked_bytes / INVOCATIONS,
        received_bytes: amp.bytes / INVOCATIONS,
        doubles_cpu: (amp.cpu + cloudwatch.cpu) / INVOCATIONS as u32,
    })
}
