//! What goes on at the end, for whoever wants to try it: the stack, and the dashboards as a page.

use std::future::pending;

use pictures::{Dashboard, Page, Sources};
use testkit::world::{CLUSTER, STACK, World};

use crate::screen::Screen;

/// What the page shows at first: the history and the demo.
const SECONDS: i64 = 15 * 60;

/// Tells how to use what runs, and lets it run.
pub(crate) async fn offer(world: &World, screen: &Screen) -> anyhow::Result<()> {
    let account = &world.account;
    let dashboards = Dashboard::all(account, STACK).await?;
    let sources = Sources::of(account, &world.prometheus);
    let commands = commands(&account.environment_file()?);
    let notes = ["To try in a terminal:".to_owned(), commands.join("\n")];
    let page = Page::start(&dashboards, sources, SECONDS, &notes).await?;

    screen.heading("All of it goes on, until Ctrl-C")?;
    screen.row("dashboards", page.url())?;
    screen.row(
        "Prometheus",
        format!("{}/graph, what AMP holds", world.prometheus.url()),
    )?;
    for node in &world.nodes {
        let (id, address) = (&node.node().instance_id, node.address());
        screen.row(
            "dcgm-exporter",
            format!("http://{address}/metrics, of {id}"),
        )?;
    }
    screen.say("")?;
    screen.say("  To try in another terminal, in this folder:")?;
    commands
        .iter()
        .try_for_each(|command| screen.command(command))?;
    pending().await
}

/// The first leads a shell to the account here, as `AWS_ENDPOINT_URL` and its like are set there.
/// Metrics are where CloudWatch's limits are kept, alarms and dashboards in MiniStack.
fn commands(environment: &str) -> [String; 6] {
    let stack = format!("STACK={STACK} REGION=us-east-2");
    [
        format!(". {environment}"),
        format!("make invoke {stack} PAYLOAD='{{\"dryRun\":true}}'"),
        format!("make logs {stack}"),
        format!(
            "aws cloudwatch list-metrics --namespace ParallelCluster/{CLUSTER}/GPU \
             --query 'Metrics[].[MetricName,Dimensions[0].Value,Dimensions[1].Value]' --output text"
        ),
        format!(
            "aws cloudformation describe-stacks --stack-name {STACK} --query 'Stacks[0].Outputs'"
        ),
        "env -u AWS_ENDPOINT_URL_CLOUDWATCH aws cloudwatch describe-alarms \
         --query 'MetricAlarms[].[AlarmName,StateValue]' --output text"
            .to_owned(),
    ]
}
