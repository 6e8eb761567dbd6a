//! What is shown, in order.

use std::time::Duration;

use anyhow::Context as _;
use harness::dcgm_exporter::{DcgmExporter, Field};
use tokio::{time::sleep, try_join};

use crate::{
    aws::Aws,
    clock::{self, PERIOD, Span},
    documents,
    oracle::{Metric, Oracle, Statistic},
    parts::{CLUSTER, Parts, SETTLE},
    picture::{self, Chart},
    proof::ReadBack,
    reply::Reply,
    scraped::{self, ScrapeTimes},
    screen::Screen,
    tools::Tools,
    verdict,
};

/// How much is published by hand, and how much by the schedule.
const BEFORE: i64 = 9 * 60;
const LIVE: i64 = 60;

/// How long into the live minute a sensor breaks, and which.
const BREAKS_AFTER: i64 = 35;
const BROKEN_NODE: usize = 1;
const BROKEN_GPU: u32 = 5;
const BROKEN_FIELD: &str = "DCGM_FI_DEV_POWER_USAGE";

/// Not on a terminal, a wait is told of this often.
const PLAIN_STEP: i64 = 15;

/// The demo, from the start of its parts to their end; whether all numbers agree.
pub(crate) async fn tell(screen: &Screen) -> anyhow::Result<bool> {
    let tools = Tools::find()?;
    screen.say("GPU metrics from Prometheus to CloudWatch, on this machine, without AWS.")?;
    screen.heading("The parts")?;
    let parts = Parts::start(&tools, screen).await?;
    let aws = Aws::new(tools.aws, &parts.cloudwatch)?;
    let namespace = format!("ParallelCluster/{CLUSTER}/GPU");
    let live = first_whole_minute(&parts, screen).await?;
    let all = Span {
        start: live.start - BEFORE,
        ..live
    };

    let by_hand = publish_what_was_before(&parts, live, screen).await?;
    screen.say("")?;
    screen.note("AWS_ENDPOINT_URL_CLOUDWATCH leads the AWS CLI here; with AWS, type the same:")?;
    documents::list_metrics(&aws, &namespace, screen).await?;
    watch(&parts, live, screen).await?;
    let (scheduled, scrapes) = publish_the_minute(&parts, live, screen).await?;

    screen.heading("What the AWS CLI reads in CloudWatch")?;
    let oracle = Oracle::new(&parts, &scrapes, all)?;
    let instance_id = &parts.nodes[0].node().instance_id;
    let (found, ()) = try_join!(
        ReadBack::new(&aws, &namespace, oracle.metrics(), all),
        documents::statistics(&aws, &namespace, instance_id, live, screen),
    )?;
    screen.heading("The last ten minutes, a bar for each period")?;
    picture::draw(
        &charts(&parts.nodes[BROKEN_NODE]),
        &found,
        all,
        live,
        screen,
    )?;

    screen.heading("The proof: what is read back is what the exporters served")?;
    let statistics = Statistic::ALL.map(Statistic::name).join(", ");
    screen.note(format!("{statistics} of every metric, from every sample"))?;
    let gpus = parts
        .nodes
        .iter()
        .map(|node| node.node().gpus as usize)
        .sum();
    let not_a_number = oracle.not_a_number(all) as u64;
    let agrees = verdict::numbers(&oracle, &found, screen)?
        & verdict::list(&aws, &namespace, &oracle, screen).await?
        & verdict::reporting(gpus, &found, live, screen)?
        & verdict::dropped(not_a_number, &by_hand, &scheduled, screen)?
        & verdict::signatures(&parts.amp, screen)?
        & verdict::complete(&by_hand, &scheduled, screen)?;
    drop(aws);
    parts.stop().await?;
    conclude(agrees, screen)?;
    Ok(agrees)
}

/// The first minute that is scraped live from beginning to end. It begins with a period, which need
/// not be with a minute of the clock.
async fn first_whole_minute(parts: &Parts, screen: &Screen) -> anyhow::Result<Span> {
    screen.progress(-1, "waiting for Prometheus's first scrape")?;
    let scrapes = scraped::all_since(&parts.prometheus, parts.nodes.len(), 0).await?;
    let first_ms = scrapes.values().filter_map(|times| times.first()).max();
    let first = first_ms.context("every node was scraped")?.div_euclid(1000);
    let start = clock::floor(first, PERIOD) + PERIOD;
    let end = start + LIVE;
    Ok(Span { start, end })
}

/// By the form of a manual run that names its periods.
async fn publish_what_was_before(
    parts: &Parts,
    live: Span,
    screen: &Screen,
) -> anyhow::Result<Reply> {
    scraped::all_since(&parts.prometheus, parts.nodes.len(), live.start * 1000).await?;
    screen.heading("By hand: the nine minutes before")?;
    let (start, end) = (live.start - BEFORE, live.start);
    let (start, end) = (clock::rfc3339(start), clock::rfc3339(end));
    let event = format!(r#"{{"start": "{start}", "end": "{end}"}}"#);
    invoke(parts, event, screen).await
}

/// Scrapes go by; after a while a sensor breaks.
async fn watch(parts: &Parts, live: Span, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("A minute of live scraping")?;
    let mut broken = false;
    loop {
        let passed = clock::now() - live.start;
        if passed >= LIVE + SETTLE {
            return Ok(());
        }
        if passed >= BREAKS_AFTER && !broken {
            broken = true;
            let node = &parts.nodes[BROKEN_NODE];
            let field = Field::named(BROKEN_FIELD).context("a field of every exporter")?;
            node.print_instead(field, BROKEN_GPU, "NaN");
            let who = broken_gpu(node);
            screen.say(format!("  {who} shows NaN for its power from now on"))?;
        }
        let scrapes: usize = parts.nodes.iter().map(|node| node.scrapes().len()).sum();
        let left = (LIVE - passed).max(0);
        let text = format!("{left:>2} s left, {scrapes} scrapes of 8 GPUs so far");
        screen.progress(passed / PLAIN_STEP, &text)?;
        sleep(Duration::from_millis(250)).await;
    }
}

fn broken_gpu(node: &DcgmExporter) -> String {
    format!("GPU {BROKEN_GPU} of {}", node.node().instance_id)
}

async fn publish_the_minute(
    parts: &Parts,
    live: Span,
    screen: &Screen,
) -> anyhow::Result<(Reply, ScrapeTimes)> {
    let nodes = parts.nodes.len();
    let scrapes = scraped::all_since(&parts.prometheus, nodes, live.end * 1000).await?;
    screen.heading("By the schedule: that minute")?;
    let reply = invoke(parts, scheduler_event(live.end + SETTLE), screen).await?;
    Ok((reply, scrapes))
}

/// What EventBridge Scheduler sends to a target whose input nobody wrote:
/// <https://docs.aws.amazon.com/lambda/latest/dg/with-eventbridge-scheduler.html>
fn scheduler_event(time: i64) -> String {
    let time = clock::rfc3339(time);
    format!(
        r#"{{
  "version": "0",
  "id": "53dc4d37-cffa-4f76-80c9-8b7d4a4d2eaa",
  "detail-type": "Scheduled Event",
  "source": "aws.scheduler",
  "account": "123456789012",
  "time": "{time}",
  "region": "us-east-2",
  "resources": ["arn:aws:scheduler:us-east-2:123456789012:schedule/default/gpus"],
  "detail": "{{}}"
}}"#
    )
}

async fn invoke(parts: &Parts, event: String, screen: &Screen) -> anyhow::Result<Reply> {
    match event.lines().count() {
        1 => screen.row("event", &event)?,
        _ => {
            screen.row("event", "as EventBridge Scheduler writes it")?;
            screen.block(&event)?;
        }
    }
    let asked = parts.amp.requests().len();
    let reply = parts.invoke(event).await?;
    let asked = parts.amp.requests().len() - asked;
    let reply: Reply = serde_json::from_value(reply).context("the function's reply")?;
    reply.show(asked, screen)?;
    Ok(reply)
}

fn charts(node: &DcgmExporter) -> [Chart; 4] {
    let chart = |name, gpu, statistic, about: &str, low, high| Chart {
        metric: Metric { name, gpu },
        statistic,
        about: about.to_owned(),
        low,
        high,
    };
    let (average, maximum) = (Statistic::Average, Statistic::Maximum);
    let broken = Some((node.node().instance_id.clone(), BROKEN_GPU));
    let gap = format!("W, {}: no number, no bar", broken_gpu(node));
    [
        chart(
            "GPUUtilization",
            None,
            average,
            "%, average of all GPUs",
            0.0,
            100.0,
        ),
        chart(
            "GPUTemperature",
            None,
            maximum,
            "°C, the hottest GPU",
            50.0,
            75.0,
        ),
        chart(
            "GPUPowerUsage",
            None,
            average,
            "W, average of all GPUs",
            0.0,
            700.0,
        ),
        chart("GPUPowerUsage", broken, average, &gap, 0.0, 700.0),
    ]
}

fn conclude(agrees: bool, screen: &Screen) -> anyhow::Result<()> {
    screen.heading("What this does not prove")?;
    screen.note("Nothing went to AWS: its IAM, its schedule and its delays are not in this.")?;
    screen.note("CloudWatch may interpolate percentiles; here they are the nearest rank.")?;
    screen.say("")?;
    screen.say(if agrees {
        "Every number agrees. Everything is stopped and deleted."
    } else {
        "Not everything agrees: see the lines marked ✗. Everything is stopped and deleted."
    })?;
    Ok(())
}
