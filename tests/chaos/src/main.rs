//! Breaks every part around `dcgm-to-cloudwatch`, one after the other, and counts what is lost:
//! real Prometheus, the built function under the Lambda Runtime API, AMP's gateway, strict doubles
//! of CloudWatch, its OTLP endpoint and Parameter Store, microburst before CloudWatch. Time is that of the
//! events, so that twenty minutes are twenty runs.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program whose results are read at the terminal, and whose seed is the time"
)]

mod fault;
mod kind;
#[cfg(test)]
mod operations;
mod table;
mod trial;
mod world;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;
use futures_util::{StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::{FAULTS, Fault, Form};
use crate::kind::Setting;
use crate::trial::{Plan, Row};

/// Breaks every part around dcgm-to-cloudwatch, one after the other, and holds every value CloudWatch
/// has against every raw sample Prometheus has. Takes a few minutes.
///
/// `make chaos` runs it, with the arguments in CHAOS=.
#[derive(Debug, Parser)]
#[command(after_help = EXIT_CODES)]
struct Options {
    /// Parts of faults' names, as in docs/operations.md; every fault if there are none
    #[arg(value_name = "FAULT")]
    faults: Vec<String>,
    /// Fewer and shorter runs, as in `make test`
    #[arg(long)]
    short: bool,
    /// Chooses the moments at which the function is killed; by default it is the time
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
}

const EXIT_CODES: &str = "\
Exit code: 0 nothing was lost   1 something was, or a fault could not be tried   2 wrong usage";

/// Most of a fault's time is waiting.
const AT_ONCE: usize = 8;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match chaos_unless_stopped(&options).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends what it has started in any case.
async fn chaos_unless_stopped(options: &Options) -> anyhow::Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        nothing_lost = chaos(options) => nothing_lost,
        _ = interrupt.recv() => anyhow::bail!("stopped"),
        _ = terminate.recv() => anyhow::bail!("stopped"),
    }
}

async fn chaos(options: &Options) -> anyhow::Result<bool> {
    let (faults, plan) = options.plan()?;
    eprintln!("{} faults, seed {}", faults.len(), plan.seed);
    let (rows, complaints) = try_all(&faults, plan).await;
    println!("{}\n{}", table::table(&rows), table::NOTE);
    for complaint in &complaints {
        eprintln!("chaos: {complaint}");
    }
    Ok(complaints.is_empty())
}

/// The rows in the order of the faults, and what is wrong with them.
async fn try_all(faults: &[&'static Fault], plan: Plan) -> (Vec<Row>, Vec<String>) {
    let trials: Vec<_> = stream::iter(groups(faults))
        .map(|group| async move {
            let rows = trial::run(&group, plan).await;
            for row in rows.iter().flatten() {
                eprintln!("  tried: {}", row.fault.name);
            }
            rows
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    let (mut rows, mut complaints) = (Vec::new(), Vec::new());
    for row in trials.into_iter().flatten() {
        match row {
            Ok(row) => {
                let name = row.fault.name;
                let of_row = row.complaints().into_iter();
                complaints.extend(of_row.map(|complaint| format!("{name}: {complaint}")));
                rows.push(row);
            }
            Err(error) => complaints.push(format!("{error:#}")),
        }
    }
    rows.sort_by_key(|row| FAULTS.iter().position(|fault| fault.name == row.fault.name));
    (rows, complaints)
}

/// Faults that share a world; what takes longest comes first.
fn groups(faults: &[&'static Fault]) -> Vec<Vec<&'static Fault>> {
    let of = |setting| {
        let faults = faults.iter().copied();
        let all: Vec<_> = faults
            .filter(|fault| fault.kind.setting() == setting)
            .collect();
        all
    };
    let mut groups = Vec::new();
    for (setting, at_most) in [
        (Setting::BehindProxy, usize::MAX),
        (Setting::OfItsOwn, 1),
        (Setting::Otlp, usize::MAX),
        (Setting::Plain, 4),
    ] {
        groups.extend(of(setting).chunks(at_most).map(<[_]>::to_vec));
    }
    groups
}

impl Options {
    fn plan(&self) -> anyhow::Result<(Vec<&'static Fault>, Plan)> {
        let parts = &self.faults;
        let is_asked =
            |fault: &&Fault| parts.is_empty() || parts.iter().any(|part| fault.name.contains(part));
        let faults: Vec<_> = FAULTS.iter().filter(is_asked).collect();
        anyhow::ensure!(!faults.is_empty(), "no fault's name contains {parts:?}");
        let clock = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let plan = Plan {
            form: if self.short { Form::Short } else { Form::Whole },
            seed: self.seed.unwrap_or(clock.as_nanos() as u64),
        };
        Ok((faults, plan))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn no_fault_loses_a_sample() {
        let faults: Vec<_> = FAULTS.iter().collect();
        let plan = Plan {
            form: Form::Short,
            seed: 1,
        };
        let (rows, complaints) = try_all(&faults, plan).await;
        assert!(
            complaints.is_empty(),
            "{}\n{}",
            table::table(&rows),
            complaints.join("\n")
        );
    }
}
