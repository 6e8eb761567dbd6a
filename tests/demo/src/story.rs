//! What is shown, in order.

use testkit::doubles::dcgm_exporter::DcgmExporter;
use testkit::oracle::{self, Dimensions, Metric, Statistic};
use testkit::world::CLUSTER;
use tokio::{time::Instant, try_join};

use crate::{
    documents, keep,
    live::{self, BROKEN_GPU, BROKEN_NODE, broken_gpu},
    parts,
    picture::{self, Chart},
    proof::ReadBack,
    scraped,
    screen::Screen,
    served, sick, stack, verdict,
};

/// The demo, from the start of its parts to their end; whether all numbers agree. With `keep` there
/// is no end.
pub(crate) async fn tell(screen: &Screen, keep: bool) -> anyhow::Result<bool> {
    screen.say(
        "GPU metrics from the nodes to CloudWatch and Grafana, on this machine, without AWS.",
    )?;
    screen.heading("The parts")?;
    let (world, history) = parts::start(screen).await?;
    let account = &world.account;
    let namespace = format!("ParallelCluster/{CLUSTER}/GPU");

    stack::create(account, screen).await?;
    let created = Instant::now();
    stack::set_up_again(account, screen).await?;
    stack::rename_data_source(account, screen).await?;
    let (live, scheduled) = live::await_schedule(&world, created, screen).await?;
    let (all, by_hand) = live::publish_what_was_before(&world, live, screen).await?;
    let is_told = sick::tell(&world, screen).await?;
    if !keep {
        stack::delete(account, screen).await?;
    }

    screen.heading("What the AWS CLI reads in CloudWatch")?;
    documents::list_metrics(account, &namespace, screen).await?;
    let end_ms = live.end * 1000;
    let scrapes = scraped::all_since(&world.prometheus, world.nodes.len(), end_ms).await?;
    let oracle = served::oracle(&world.nodes, history, &scrapes, all)?;
    let metrics = oracle.metrics();
    let instance_id = &world.nodes[0].node().instance_id;
    let (found, ()) = try_join!(
        ReadBack::new(account, &namespace, &metrics, all),
        documents::statistics(account, &namespace, instance_id, live, screen),
    )?;
    screen.heading("The last ten minutes, a bar for each period")?;
    let charts = charts(&world.nodes[BROKEN_NODE]);
    picture::draw(&charts, &found, all, live, screen)?;

    screen.heading("The proof: what is read back is what the exporters served")?;
    let statistics = Statistic::ALL.map(Statistic::name).join(", ");
    screen.note(format!("{statistics} of every metric, from every sample"))?;
    let nodes = world.nodes.iter();
    let gpus = nodes.map(|node| node.node().gpus as usize).sum();
    let not_a_number = oracle.not_a_number() as u64;
    let agrees = is_told
        & verdict::numbers(&oracle, &found, screen)?
        & verdict::list(account, &namespace, &oracle, screen).await?
        & verdict::reporting(gpus, &found, live, screen)?
        & verdict::dropped(not_a_number, &by_hand, &scheduled, screen)?
        & verdict::signatures(&account.amp, screen)?
        & verdict::complete(&by_hand, &scheduled, screen)?;
    tell_limits(screen)?;
    screen.say("")?;
    screen.say(if agrees {
        "Every number agrees."
    } else {
        "Not everything agrees: see the lines marked ✗."
    })?;
    if keep {
        keep::offer(&world, screen).await?;
    }
    drop(world);
    screen.say("Everything is stopped and deleted.")?;
    Ok(agrees)
}

fn charts(node: &DcgmExporter) -> [Chart; 4] {
    let chart = |name: &str, dimensions: &Dimensions, statistic, about: &str, low, high| Chart {
        metric: Metric {
            name: name.to_owned(),
            dimensions: dimensions.clone(),
        },
        statistic,
        about: about.to_owned(),
        low,
        high,
    };
    let (average, maximum) = (Statistic::Average, Statistic::Maximum);
    let (cluster, broken) = (
        &Dimensions::new(),
        &oracle::gpu(&node.node().instance_id, BROKEN_GPU),
    );
    let gap = format!("W, {}: no number, no bar", broken_gpu(node));
    [
        chart(
            "GPUUtilization",
            cluster,
            average,
            "%, average of all GPUs",
            0.0,
            100.0,
        ),
        chart(
            "GPUTemperature",
            cluster,
            maximum,
            "°C, the hottest GPU",
            50.0,
            75.0,
        ),
        chart(
            "GPUPowerUsage",
            cluster,
            average,
            "W, average of all GPUs",
            0.0,
            700.0,
        ),
        chart("GPUPowerUsage", broken, average, &gap, 0.0, 700.0),
    ]
}

fn tell_limits(screen: &Screen) -> anyhow::Result<()> {
    screen.heading("What this does not prove")?;
    screen.note("Nothing went to AWS: its IAM, its quotas and its delays are not in this.")?;
    screen
        .note("MiniStack makes no AMP and no AMG workspace: the stack was given existing ones.")?;
    screen.note("CloudWatch may interpolate percentiles; here they are the nearest rank.")?;
    Ok(())
}
