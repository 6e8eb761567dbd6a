//! The figures as Markdown tables.

use std::fmt::{self, Write as _};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

use crate::cold_start::ColdStart;
use crate::daemon::Daemon;
use crate::detail;
use crate::floor::Floor;
use crate::run::Run;

#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) nodes: u32,
    pub(crate) delay_ms: u64,
    pub(crate) floor: Floor,
    pub(crate) run: Run,
    pub(crate) daemon: Option<Daemon>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            run, floor, daemon, ..
        } = self;
        let mut cells = vec![
            self.nodes.to_string(),
            format!("{} ms", self.delay_ms),
            seconds(run.cold),
            seconds(run.warm),
            seconds(run.cpu),
            seconds(run.doubles_cpu),
            mebibytes(run.rss_kib),
            run.queries.to_string(),
            run.requests.to_string(),
            kilobytes(run.received_bytes),
            kilobytes(run.sent_bytes),
            seconds(floor.sequence),
            seconds(floor.parallel),
        ];
        match daemon {
            Some(daemon) => cells.extend([
                seconds(Duration::from_secs_f64(daemon.wall_seconds)),
                seconds(Duration::from_secs_f64(daemon.cpu_seconds)),
                mebibytes(daemon.rss_kib),
                daemon.requests.to_string(),
            ]),
            None => cells.extend(["", "", "", ""].map(str::to_owned)),
        }
        writeln!(f, "| {} |", cells.join(" | "))
    }
}

pub(crate) fn tables(rows: &[Row], starts: &[ColdStart]) -> String {
    let mut text = machine();
    text += "\n\n| nodes | delay a call | exec to reply | warm run | CPU | doubles' CPU | peak RSS | queries | \
             requests | received | sent | six queries alone: in sequence | at once | daemon cycle | \
             daemon CPU | daemon RSS | daemon calls |\n\
             |---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let _ = write!(text, "{row}");
    }
    text += "\n| function | exec to first `next` | binary | zipped |\n|---|---:|---:|---:|\n";
    for start in starts {
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} MB | {:.1} MB |",
            start.function,
            seconds(start.to_next),
            start.binary_bytes as f64 / 1e6,
            start.deflated_bytes as f64 / 1e6,
        );
    }
    text
}

/// The ways to publish each GPU.
pub(crate) fn detail(rows: &[detail::Row]) -> String {
    let mut text = machine();
    text += "\n\n| nodes | delay a call | each GPU by | CPU | warm run | peak RSS | requests | before gzip | sent |\n\
             |---:|---:|---|---:|---:|---:|---:|---:|---:|\n";
    for row in rows {
        let detail::Row {
            nodes,
            way,
            delay_ms,
            run,
        } = row;
        let _ = writeln!(
            text,
            "| {nodes} | {delay_ms} ms | `{way}` | {:.1} ms | {} | {} | {} | {} | {} |",
            run.cpu.as_secs_f64() * 1e3,
            seconds(run.warm),
            mebibytes(run.rss_kib),
            run.requests,
            kilobytes(run.unpacked_bytes),
            kilobytes(run.sent_bytes),
        );
    }
    text
}

fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 0.1 {
        format!("{:.1} ms", seconds * 1e3)
    } else {
        format!("{seconds:.2} s")
    }
}

fn mebibytes(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}

fn kilobytes(bytes: usize) -> String {
    format!("{:.0} kB", bytes as f64 / 1e3)
}

/// When and on what.
#[expect(
    clippy::disallowed_methods,
    reason = "results bear the day they were measured on"
)]
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(':'))
        .map_or("unknown CPU", |(_, model)| model.trim());
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default().to_owned();
    let day = chrono::Utc::now().format("%Y-%m-%d");
    format!("{day}, {model}, {cores} cores, load average {load} at the end.")
}

/// Puts the tables between the file's two comments of that name.
pub(crate) fn write(file: &Path, section: &str, tables: &str) -> anyhow::Result<()> {
    let text = std::fs::read_to_string(file)?;
    let [begin, end] = ["begin", "end"].map(|edge| format!("<!-- {section}: {edge} -->"));
    let (before, rest) = text.split_once(&begin).context("it has no begin comment")?;
    let (_, after) = rest.split_once(&end).context("it has no end comment")?;
    std::fs::write(file, format!("{before}{begin}\n{tables}\n{end}{after}"))?;
    Ok(())
}
