//! One fault: before it, while it lasts, and how it is got over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use harness::lambda::Outcome;
use harness::oracle::Tally;

use crate::fault::{Fault, Form, QUIET};
use crate::world::World;

/// Runs after a fault that may pass until all is as if it had never been.
const RUNS_TO_RECOVER: u32 = 5;
/// As in infra/monitoring.yaml.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const MEMORY_MIB: u64 = 512;

/// What came of a fault.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static Fault,
    pub(crate) tally: Tally,
    /// Runs after its end until the watermark was where it would have been.
    pub(crate) runs_to_recover: u32,
    pub(crate) time_to_recover: Duration,
    /// What the runs ended with while it lasted, and how many did.
    pub(crate) ends: BTreeMap<String, u32>,
    pub(crate) peak_rss_mib: u64,
}

impl Row {
    /// What is not as it has to be.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let Self { fault, tally, .. } = self;
        let mut complaints = Vec::new();
        let mut forbid = |count: u64, what: &str| {
            if count > 0 {
                complaints.push(format!("{count} values {what}"));
            }
        };
        forbid(tally.lost(), "lost");
        forbid(tally.foreign, "that nobody measured");
        forbid(if fault.doubles { 0 } else { tally.doubled }, "doubled");
        if tally.expected == 0 {
            complaints.push("nothing was expected".to_owned());
        }
        let unknown = self
            .ends
            .keys()
            .filter(|end| !fault.ends.contains(&end.as_str()));
        complaints.extend(unknown.map(|end| format!("a run ended with {end}")));
        if self.peak_rss_mib > MEMORY_MIB {
            complaints.push(format!("{} MiB of memory", self.peak_rss_mib));
        }
        complaints
    }
}

/// Lets it happen.
pub(crate) async fn run(fault: &'static Fault, form: Form, seed: u64) -> anyhow::Result<Row> {
    let runs = fault.runs(form);
    let minutes = QUIET + runs + RUNS_TO_RECOVER + 1;
    let mut world = fault.world(minutes).await?;
    for _ in 0..QUIET {
        good_run(&mut world).await?;
    }
    fault.begin(&mut world, seed).await?;
    let mut ends = BTreeMap::new();
    for run in 0..runs {
        fault.before_run(&mut world, run, runs).await?;
        let outcome = world.run(fault.time_limit).await?;
        *ends.entry(end_of(&outcome)).or_default() += 1;
    }
    fault.end(&mut world, minutes).await?;
    let (runs_to_recover, time_to_recover) = recover(&mut world).await?;
    good_run(&mut world).await?;
    Ok(Row {
        fault,
        tally: world.tally().await?,
        runs_to_recover,
        time_to_recover,
        ends,
        peak_rss_mib: world.peak_rss_mib(),
    })
}

/// A run that has nothing to fear.
async fn good_run(world: &mut World) -> anyhow::Result<()> {
    let reply = world.run(TIME_LIMIT).await?.reply()?;
    ensure!(reply["complete"] == true, "{reply}");
    ensure!(world.is_caught_up(), "the watermark is elsewhere: {reply}");
    Ok(())
}

async fn recover(world: &mut World) -> anyhow::Result<(u32, Duration)> {
    let began = Instant::now();
    for runs in 1..=RUNS_TO_RECOVER {
        let outcome = world.run(TIME_LIMIT).await?;
        if world.is_caught_up() {
            return Ok((runs, began.elapsed()));
        }
        if runs == RUNS_TO_RECOVER {
            bail!("not caught up after {runs} runs, the last of which ended with {outcome:?}");
        }
    }
    unreachable!("BUG: RUNS_TO_RECOVER is not 0")
}

/// What alarms and callers see: <https://docs.aws.amazon.com/lambda/latest/dg/troubleshooting-invocation.html>
fn end_of(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Reply(reply) if reply["complete"] == true => "complete".to_owned(),
        Outcome::Reply(_) => "incomplete".to_owned(),
        Outcome::Error { error_type, .. } | Outcome::InitError { error_type, .. } => {
            error_type.clone()
        }
        Outcome::TimedOut => "Sandbox.Timedout".to_owned(),
        Outcome::Exited { .. } => "Runtime.ExitError".to_owned(),
    }
}
