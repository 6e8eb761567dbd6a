//! One fault: before it, while it lasts, and how it is got over.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use testkit::lambda::Outcome;
use testkit::oracle::Tally;

use crate::fault::{Fault, Form};
use crate::kind::QUIET;
use crate::world::World;

/// Runs after a fault that may pass until all is as if it had never been.
const RUNS_TO_RECOVER: u32 = 2;
/// As in infra/metrics.yaml.
const TIME_LIMIT: Duration = Duration::from_secs(300);
const MEMORY_MIB: u64 = 512;

/// What came of a fault.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) fault: &'static Fault,
    pub(crate) tally: Tally,
    /// Samples that the service refused, as the replies say.
    pub(crate) refused: u64,
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
        forbid(tally.lost().saturating_sub(self.refused), "lost");
        forbid(
            self.refused.saturating_sub(tally.lost()),
            "that are there, and are said to be refused",
        );
        forbid(if fault.refuses { 0 } else { self.refused }, "refused");
        forbid(tally.foreign, "that nobody measured");
        forbid(if fault.doubles { 0 } else { tally.doubled }, "doubled");
        if tally.expected == 0 {
            complaints.push("nothing was expected".to_owned());
        }
        if fault.refuses && self.refused == 0 {
            complaints.push("nothing was refused".to_owned());
        }
        let ends = self.ends.keys();
        let unknown = ends.filter(|end| !fault.explains(end));
        complaints.extend(unknown.map(|end| format!("a run ended with {end}")));
        if !fault.ends.iter().any(|end| self.ends.contains_key(*end)) {
            complaints.push(format!("no run ended with {}", fault.ends.join(" or ")));
        }
        if self.peak_rss_mib > MEMORY_MIB {
            complaints.push(format!("{} MiB of memory", self.peak_rss_mib));
        }
        complaints
    }
}

/// How a trial goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) form: Form,
    /// Chooses the moments at which the function is killed.
    pub(crate) seed: u64,
}

/// Tries one fault after the other in the same world, which suits all of them.
pub(crate) async fn run(faults: &[&'static Fault], plan: Plan) -> Vec<anyhow::Result<Row>> {
    let minutes = faults.iter().map(|fault| minutes(fault, plan.form)).sum();
    let mut rows = Vec::new();
    let mut world = match faults[0].kind.world(minutes).await {
        Ok(world) => world,
        Err(error) => return vec![Err(error.context(faults[0].name))],
    };
    for fault in faults {
        let row = happen(fault, &mut world, minutes, plan).await;
        rows.push(row.with_context(|| fault.name));
    }
    rows
}

fn minutes(fault: &Fault, form: Form) -> u32 {
    QUIET + fault.runs(form) + RUNS_TO_RECOVER + 1
}

async fn happen(
    fault: &'static Fault,
    world: &mut World,
    minutes: u32,
    plan: Plan,
) -> anyhow::Result<Row> {
    world.replace_function();
    let since = world.minute();
    let runs = fault.runs(plan.form);
    for _ in 0..QUIET {
        good_run(world).await?;
    }
    fault.kind.begin(world, plan.seed).await?;
    let mut ends = BTreeMap::new();
    for run in 0..runs {
        fault.kind.before_run(world, run, runs).await?;
        let outcome = world.run(fault.time_limit).await?;
        *ends.entry(end_of(&outcome)).or_default() += 1;
    }
    fault.kind.end(world, minutes).await?;
    let (runs_to_recover, time_to_recover) = recover(world).await?;
    good_run(world).await?;
    Ok(Row {
        fault,
        tally: world.tally(since).await?,
        refused: world.take_refused(),
        runs_to_recover,
        time_to_recover,
        ends,
        peak_rss_mib: world.take_peak_rss_mib(),
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
