//! The function at work in the stack: by its schedule, and by hand for what was before.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use chrono::DateTime;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Field};
use testkit::world::{STACK, World};
use tokio::time::{Instant, sleep};

use crate::{
    aws,
    clock::{self, PERIOD, Span},
    reply::Reply,
    screen::Screen,
    stack::SETTLE,
};

/// How much is published by hand.
const BEFORE: i64 = 9 * 60;

/// What a run takes when none was before it.
const FIRST_RUN: i64 = 60;

/// `rate(1 minute)`, of which MiniStack is late by ten seconds at most; and room for a busy machine.
const PATIENCE: Duration = Duration::from_secs(150);

/// How long after the stack's creation a sensor breaks, so that the first run meets that.
const BREAKS_AFTER: Duration = Duration::from_secs(20);
pub(crate) const BROKEN_NODE: usize = 1;
pub(crate) const BROKEN_GPU: u32 = 5;
const BROKEN_FIELD: &str = "DCGM_FI_DEV_POWER_USAGE";

/// Not on a terminal, a wait is told of this often.
const PLAIN_STEP: u64 = 15;

/// What the function logs of a run: `published 6 periods mode=Scheduled gpus=16 …`.
#[derive(Debug)]
pub(crate) struct Logged(String);

impl Logged {
    /// The run's line, behind the invocation's id.
    fn in_line(line: &str) -> Option<Self> {
        let (_, run) = line.split_once("}: published ")?;
        Some(Self(format!("published {run}")))
    }

    fn field(&self, name: &str) -> Option<&str> {
        let mut pairs = self.0.split(' ').filter_map(|word| word.split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// How many samples were left out.
    pub(crate) fn dropped(&self) -> Option<u64> {
        self.field("dropped")?.parse().ok()
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.field("complete") == Some("true")
    }
}

/// Waits until the schedule has run the function, and shows what it logged.
pub(crate) async fn await_schedule(
    world: &World,
    created: Instant,
    screen: &Screen,
) -> anyhow::Result<(Span, Logged)> {
    screen.heading("The schedule: rate(1 minute), nobody invokes the function")?;
    let mut broken = false;
    while world.account.cloudwatch.datums().is_empty() {
        let passed = created.elapsed();
        ensure!(
            passed < PATIENCE,
            "nothing is published: {}",
            world.account.ministack.log()
        );
        if passed >= BREAKS_AFTER && !broken {
            broken = true;
            let node = &world.nodes[BROKEN_NODE];
            let field = Field::named(BROKEN_FIELD).context("a field of every exporter")?;
            node.print_instead(field, BROKEN_GPU, "NaN");
            let who = broken_gpu(node);
            screen.say(format!("  {who} shows NaN for its power from now on"))?;
        }
        let scrapes: usize = world.nodes.iter().map(|node| node.scrapes().len()).sum();
        let seconds = passed.as_secs();
        let text =
            format!("{seconds:>2} s since the stack's creation, {scrapes} scrapes of 8 GPUs");
        screen.progress((seconds / PLAIN_STEP) as i64, &text)?;
        sleep(Duration::from_millis(250)).await;
    }
    let logged = logged(world, screen).await?;
    let end = watermark(world, screen).await?;
    let start = end - FIRST_RUN;
    Ok((Span { start, end }, logged))
}

pub(crate) fn broken_gpu(node: &DcgmExporter) -> String {
    format!("GPU {BROKEN_GPU} of {}", node.node().instance_id)
}

/// Publishes the minutes before that by hand.
pub(crate) async fn publish_what_was_before(
    world: &World,
    live: Span,
    screen: &Screen,
) -> anyhow::Result<(Span, Reply)> {
    screen.heading("By hand: the nine minutes before")?;
    let before = Span {
        start: live.start - BEFORE,
        end: live.start,
    };
    let from = format!("FROM={}", clock::rfc3339(before.start));
    let to = format!("TO={}", clock::rfc3339(before.end));
    let stack = format!("STACK={STACK}");
    let words = ["backfill", &stack, "REGION=us-east-2", &from, &to];
    screen.command(&aws::typed("make", &words))?;
    let asked = world.account.amp.requests().len();
    let reply = world.account.make(&words).await?;
    let asked = world.account.amp.requests().len() - asked;
    let reply: Reply = serde_json::from_str(&reply).context("the function's reply")?;
    reply.show(asked, screen)?;
    let all = Span {
        end: live.end,
        ..before
    };
    Ok((all, reply))
}

/// The run's own line in the function's log.
async fn logged(world: &World, screen: &Screen) -> anyhow::Result<Logged> {
    let function = format!("{STACK}-dcgm-to-cloudwatch");
    let group = format!("/aws/lambda/{function}");
    let words = ["logs", "filter-log-events", "--log-group-name", &group];
    screen.command(&aws::typed("aws", &words))?;
    let deadline = Instant::now() + PATIENCE;
    let run = loop {
        let lines = world.account.log(&function).await?;
        if let Some(run) = lines.iter().find_map(|line| Logged::in_line(line)) {
            break run;
        }
        ensure!(
            Instant::now() < deadline,
            "the log tells of no run: {lines:?}"
        );
    };
    screen.block(&run.0.replacen(" mode=", "\n  mode=", 1))?;
    let mode = run.field("mode");
    ensure!(mode == Some("Scheduled"), "the run was {mode:?}");
    Ok(run)
}

/// Where the next run goes on: the end of the last period published.
async fn watermark(world: &World, screen: &Screen) -> anyhow::Result<i64> {
    let account = &world.account;
    let names = [
        "ssm",
        "describe-parameters",
        "--query",
        "Parameters[0].Name",
    ];
    let name = account.aws(&names).await?;
    let name = name.as_str().context("the watermark's parameter")?;
    let words = [
        "ssm",
        "get-parameter",
        "--name",
        name,
        "--query",
        "Parameter.Value",
    ];
    let value = account.aws(&words).await?;
    let value = value.as_str().context("the watermark")?;
    screen.row("watermark", format!("{value}, where the next run goes on"))?;
    let end = DateTime::parse_from_rfc3339(value)?.timestamp();
    let late = clock::now() - end;
    ensure!(
        end % PERIOD == 0 && late >= SETTLE,
        "the watermark {value} is no settled period's end"
    );
    Ok(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_found_in_the_log() {
        let line = " INFO Lambda runtime invoke{requestId=\"1\"}: published 6 periods mode=Scheduled \
                    dropped=19 complete=true duration_ms=327";
        let run = Logged::in_line(line).unwrap();
        assert_eq!(run.field("mode"), Some("Scheduled"));
        assert_eq!(run.dropped(), Some(19));
        assert!(run.is_complete());
        assert!(Logged::in_line("START RequestId: 1 Version: $LATEST").is_none());
    }
}
