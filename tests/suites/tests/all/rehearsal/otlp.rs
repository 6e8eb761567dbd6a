//! A cluster's metrics.yaml that sends each GPU by OTLP. MiniStack knows no PromQL alarms, so it stands alone.

use std::time::Duration;

use testkit::account::AMP_WORKSPACE_ID;
use testkit::doubles::cloudwatch::Export;
use tokio::time::{sleep, timeout};

use crate::rehearsal::world::{CLUSTER, STACK, World};

/// The start of the first scrape, the minute that it is in, and room for a busy machine.
const LIMIT: Duration = Duration::from_secs(180);

/// Creates the stack and gives the state it ends in.
async fn create(world: &World, more: &[(&str, &str)]) -> anyhow::Result<Option<String>> {
    let folder = world.account.ministack.folder();
    let template = format!("file://{}", folder.join("metrics.yaml").display());
    let given = [
        ("AmpWorkspaceId", AMP_WORKSPACE_ID),
        ("ClusterName", CLUSTER),
        ("SettleSeconds", "0"),
        ("GpuDetail", "otlp-minute"),
    ];
    let parameters: Vec<_> = given
        .iter()
        .chain(more)
        .map(|(key, value)| format!("ParameterKey={key},ParameterValue={value}"))
        .collect();
    let command = [
        "create-stack",
        "--stack-name",
        STACK,
        "--template-body",
        &template,
    ];
    let capability = ["--capabilities", "CAPABILITY_NAMED_IAM", "--parameters"];
    let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
    let arguments = [&command[..], &capability, &parameters].concat();
    world.account.change(STACK, &arguments).await
}

#[tokio::test]
async fn the_samples_of_each_gpu_go_to_the_otlp_endpoint() {
    let world = World::start().await;
    let state = create(&world, &[]).await.unwrap();
    assert_eq!(
        state.as_deref(),
        Some("CREATE_COMPLETE"),
        "{}",
        world.account.ministack.log()
    );
    let cloudwatch = &world.account.cloudwatch;
    let sent = async {
        while cloudwatch.exports().is_empty() {
            sleep(Duration::from_secs(1)).await;
        }
    };
    timeout(LIMIT, sent).await.expect("points are sent");
    let is_accepted = |export: &Export| export.status == 200 && export.rejected == 0;
    let exports = cloudwatch.exports();
    assert!(exports.iter().all(is_accepted), "{exports:?}");
    // 2 nodes of 8 GPUs, 6 metrics.
    assert_eq!(cloudwatch.otlp_samples().len(), 96);
    assert!(
        cloudwatch
            .datums()
            .iter()
            .all(|datum| datum.dimensions.is_empty())
    );
}

#[tokio::test]
async fn what_otlp_cannot_do_is_refused_by_the_template() {
    let world = World::start().await;
    let error = create(&world, &[("PeriodSeconds", "30")])
        .await
        .unwrap_err();
    let error = format!("{error:#}");
    assert!(
        error.contains("needs a PeriodSeconds of 60 or more"),
        "{error}"
    );
}
