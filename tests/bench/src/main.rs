//! What a run of the built functions costs, from 2 nodes to 10,000, beside the floor that
//! Prometheus itself sets and a daemon that publishes as the guides of ParallelCluster do.
//!
//! Prometheus is the real one; the doubles of AMP and CloudWatch run in processes of their own, so
//! that their work is not counted as the function's.

#![expect(
    clippy::print_stdout,
    reason = "a program whose results are read at the terminal"
)]

mod cold_start;
mod daemon;
mod detail;
mod double;
mod fleet;
mod floor;
mod options;
mod run;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;

use crate::fleet::Fleet;
use crate::options::Options;
use crate::table::Row;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["double", ref of @ ..] => double::serve(of).await,
        _ => bench(&Options::parse()).await,
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// How often a fleet is measured: a run of milliseconds varies most, one of seconds hardly.
fn repeats(nodes: u32, runs: usize) -> usize {
    match nodes {
        0..=64 => runs * 5,
        65..=1_000 => runs,
        _ => 1,
    }
}

async fn bench(options: &Options) -> anyhow::Result<()> {
    if !options.sizes.is_empty() {
        compare_sizes(options).await?;
    }
    if !options.detail_sizes.is_empty() {
        let rows = detail::measure(options).await?;
        tell(options, "detail", &table::detail(&rows))?;
    }
    Ok(())
}

async fn compare_sizes(options: &Options) -> anyhow::Result<()> {
    eprintln!("cold starts");
    let starts = cold_start::measure(options.runs.get() * 4).await?;
    let mut rows = Vec::new();
    for &nodes in &options.sizes {
        progress(nodes, "loading Prometheus");
        let fleet = Fleet::start(nodes).await?;
        progress(nodes, "the six queries alone");
        let runs = repeats(nodes, options.runs.get());
        let floor = floor::measure(&fleet, runs).await?;
        for &delay_ms in &options.delays_ms {
            let delay = Duration::from_millis(delay_ms);
            progress(nodes, &format!("the function, {delay_ms} ms a call"));
            let [run] = run::measure(&fleet, delay, runs, ["metrics"]).await?;
            let daemon = if nodes <= options.daemon_up_to {
                progress(nodes, &format!("the daemon, {delay_ms} ms a call"));
                Some(daemon::measure(&fleet, delay, &options.python).await?)
            } else {
                None
            };
            let row = Row {
                nodes,
                delay_ms,
                floor,
                run,
                daemon,
            };
            eprint!("{row}");
            rows.push(row);
        }
    }
    tell(options, "bench", &table::tables(&rows, &starts))?;
    if let Some(file) = &options.json {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Prints tables, and writes them to where they belong.
fn tell(options: &Options, section: &str, tables: &str) -> anyhow::Result<()> {
    println!("{tables}");
    let Some(file) = &options.write else {
        return Ok(());
    };
    table::write(file, section, tables).with_context(|| format!("cannot write {}", file.display()))
}

fn progress(nodes: u32, what: &str) {
    eprintln!("{nodes} nodes: {what}");
}

/// The middle one by size.
fn median<T: Copy>(values: &[T], size: impl Fn(&T) -> f64) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| size(a).total_cmp(&size(b)));
    sorted.get(sorted.len() / 2).copied()
}

/// Of all threads that live, by the scheduler's own nanoseconds: a tick of `stat` is 10 ms.
/// <https://docs.kernel.org/scheduler/sched-stats.html>
fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let statistics = std::fs::read_to_string(task?.path().join("schedstat"))?;
        let first = statistics.split_whitespace().next().unwrap_or_default();
        nanoseconds += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(nanoseconds))
}
