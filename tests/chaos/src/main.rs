//! Breaks every part around `dcgm-to-cloudwatch`, one after the other, and counts what is lost:
//! real Prometheus, the built function under the Lambda Runtime API, AMP's gateway, strict doubles
//! of CloudWatch and Parameter Store, microburst before CloudWatch. Time is that of the events, so
//! that twenty minutes are twenty runs.

#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a program whose results are read at the terminal, and whose seed is the time"
)]

mod fault;
mod kind;
#[cfg(test)]
mod operations;
mod random;
mod table;
mod trial;
mod world;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use futures_util::{StreamExt as _, stream};
use tokio::signal::unix::{SignalKind, signal};

use crate::fault::{FAULTS, Fault, Form};
use crate::kind::Setting;
use crate::trial::{Plan, Row};

const HELP: &str = "\
Breaks every part around dcgm-to-cloudwatch, one after the other, and holds every value CloudWatch has
against every raw sample Prometheus has. Takes a few minutes.

Usage: chaos [--short] [--seed NUMBER] [FAULT...]   (`make chaos`; CHAOS= for the arguments)

FAULT is a part of a fault's name, as in docs/operations.md. --short: fewer and shorter runs, as in
`make test`. The seed chooses the moments at which the function is killed.

Exit code: 0 nothing was lost   1 something was, or a fault could not be tried
";

/// Most of a fault's time is waiting.
const AT_ONCE: usize = 8;

struct Options {
    faults: Vec<&'static Fault>,
    plan: Plan,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        println!("{}", HELP.trim_end());
        return ExitCode::SUCCESS;
    }
    match chaos_unless_stopped(&arguments).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Ends what it has started in any case.
async fn chaos_unless_stopped(arguments: &[String]) -> anyhow::Result<bool> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        nothing_lost = chaos(arguments) => nothing_lost,
        _ = interrupt.recv() => anyhow::bail!("stopped"),
        _ = terminate.recv() => anyhow::bail!("stopped"),
    }
}

async fn chaos(arguments: &[String]) -> anyhow::Result<bool> {
    let Options { faults, plan } = Options::parse(arguments)?;
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
        (Setting::Plain, 4),
    ] {
        groups.extend(of(setting).chunks(at_most).map(<[_]>::to_vec));
    }
    groups
}

impl Options {
    fn parse(arguments: &[String]) -> anyhow::Result<Self> {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let mut seed = clock.as_nanos() as u64;
        let mut form = Form::Whole;
        let mut parts = Vec::new();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            if argument == "--short" {
                form = Form::Short;
            } else if argument == "--seed" {
                let number = arguments.next().context("--seed wants a number")?;
                seed = number
                    .parse()
                    .with_context(|| format!("--seed {number:?}"))?;
            } else {
                parts.push(argument.as_str());
            }
        }
        let is_asked =
            |fault: &&Fault| parts.is_empty() || parts.iter().any(|part| fault.name.contains(part));
        let faults: Vec<_> = FAULTS.iter().filter(is_asked).collect();
        anyhow::ensure!(!faults.is_empty(), "no fault's name contains {parts:?}");
        let plan = Plan { form, seed };
        Ok(Self { faults, plan })
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
