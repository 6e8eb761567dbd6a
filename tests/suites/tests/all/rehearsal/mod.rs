//! The deployment rehearsed: the real AWS CLI deploys the packaged stack with the built functions to
//! MiniStack, a real Prometheus holds what simulated nodes export, and the commands that people are
//! told to use are run as they stand.
//!
//! MiniStack knows no AMP and no AMG workspace, so the stack gets existing ones, which are doubles;
//! it has no NAT gateway and no metric math, whose parameters are chosen accordingly.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

mod nodes;
mod otlp;
mod people_and_dashboards;
mod world;

use std::time::Duration;

use serde_json::{Value, json};
use suites::dashboard;
use testkit::account::AMP_WORKSPACE_ID;
use testkit::doubles::managed_grafana::WORKSPACE_ID;
use testkit::oracle::COUNTED_BY_RULES;
use tokio::time::{sleep, timeout};

use world::{CLUSTER, STACK, World};

/// The schedule's minute, the start of the first scrape, and room for a busy machine.
const SCHEDULE_LIMIT: Duration = Duration::from_secs(180);

const UID: &str = "amazon-managed-prometheus";

#[tokio::test]
async fn the_documents_command_deploys_what_the_documents_commands_then_find() {
    let world = World::start().await;
    world.deploy_documented().await;

    assert_outputs_are_told(&world).await;
    assert_data_source_is_the_default(&world);
    assert_manual_set_up_changes_nothing(&world).await;
    await_scheduled_metrics(&world).await;
    assert_metrics_are_found(&world).await;
    assert_dashboard_shows_data(&world).await;

    world.make("destroy", &[]).await;
    assert_nothing_is_left(&world).await;
}

#[tokio::test]
async fn an_update_of_one_property_sets_the_data_source_up_again() {
    let world = World::start().await;
    world.create_monitoring(&[]).await.unwrap();
    assert_eq!(
        world.account.grafana.source(UID).unwrap()["name"],
        "Amazon Managed Prometheus"
    );

    world
        .update_monitoring(&[("DataSourceName", "GPUs")])
        .await
        .unwrap();

    assert_eq!(world.account.grafana.source(UID).unwrap()["name"], "GPUs");
    assert_eq!(world.account.grafana.defaults(), [UID]);
}

#[tokio::test]
async fn moving_to_another_grafana_workspace_cleans_up_the_former_one() {
    let world = World::start().await;
    world.create_monitoring(&[]).await.unwrap();
    let former = &world.account.grafana;
    assert!(!former.dashboards().is_empty());
    let next = world.account.add_grafana("g-fedcba3210").await.unwrap();

    let moved = [("GrafanaWorkspaceId", "g-fedcba3210")];
    world.update_monitoring(&moved).await.unwrap();

    assert_eq!(next.defaults(), [UID]);
    assert!(!next.dashboards().is_empty());
    assert_eq!(former.sources(), Vec::<Value>::new());
    assert_eq!(former.dashboards(), []);
    assert_eq!(former.folders(), []);
    assert_no_credential_is_left(&world);
    let told = world.account.output(STACK, "ManagedGrafanaWorkspaceId");
    assert_eq!(told.await.unwrap(), "g-fedcba3210");
}

#[tokio::test]
async fn a_set_up_that_fails_rolls_back_and_says_why() {
    let world = World::start().await;
    world.account.amg.delete_workspace();

    let state = world.create_monitoring(&[]).await.unwrap_err();

    assert_eq!(state, "ROLLBACK_COMPLETE");
    let reasons = world.make("failures", &[]).await;
    let expected =
        format!("Grafana workspace {WORKSPACE_ID} does not exist in this region and account");
    assert!(reasons.contains(&expected), "{reasons}");
    assert!(world.account.grafana.sources().is_empty());
}

#[tokio::test]
async fn gpu_widgets_are_added_to_a_dashboard_once_and_the_rest_of_it_is_kept() {
    let world = World::start().await;
    world.create_monitoring(&[]).await.unwrap();
    let name = format!("ParallelCluster-{CLUSTER}");
    let note = json!({"type": "text", "x": 0, "y": 3, "width": 24, "height": 2, "properties": {"markdown": "ours"}});
    let body = json!({"periodOverride": "inherit", "widgets": [note]}).to_string();
    world
        .aws(&[
            "cloudwatch",
            "put-dashboard",
            "--dashboard-name",
            &name,
            "--dashboard-body",
            &body,
        ])
        .await;

    let add = async |expected: &str| {
        let printed = world.make("dashboard", &[&format!("NAME={name}")]).await;
        assert!(printed.ends_with(expected), "{printed}");
    };
    add(": 10 widgets, 1 before\n").await;
    let first = world.dashboard(&name).await;
    add(": already up to date\n").await;

    assert_eq!(world.dashboard(&name).await, first);
    assert_eq!(first["periodOverride"], "inherit");
    assert_eq!(first["widgets"][0], note);
    let below_the_note = |widget: &Value| widget["y"].as_u64().unwrap() >= 5;
    assert!(
        first["widgets"].as_array().unwrap()[1..]
            .iter()
            .all(below_the_note)
    );
}

async fn assert_outputs_are_told(world: &World) {
    let told = async |key: &str| world.account.output(STACK, key).await.unwrap();
    assert_eq!(told("ManagedGrafanaWorkspaceId").await, WORKSPACE_ID);
    let endpoint = world.account.grafana.url();
    assert_eq!(
        told("ManagedGrafanaWorkspaceEndpoint").await,
        endpoint.trim_start_matches("http://")
    );
    assert_eq!(told("GrafanaDataSourceStatus").await, "true");
    assert_eq!(told("GrafanaDataSourceHealth").await, "OK");
    assert_eq!(
        told("AMPPrometheusEndpoint").await,
        format!("https://aps-workspaces.us-east-2.amazonaws.com/workspaces/{AMP_WORKSPACE_ID}/")
    );
    assert_eq!(told("MonitoringType").await, "amp+amg");
}

fn assert_data_source_is_the_default(world: &World) {
    assert_eq!(world.account.grafana.defaults(), [UID]);
    let source = world.account.grafana.source(UID).unwrap();
    assert_eq!(source["name"], "Amazon Managed Prometheus");
    assert_no_credential_is_left(world);
}

async fn assert_manual_set_up_changes_nothing(world: &World) {
    let reply = world
        .invoke(&format!("{STACK}-grafana-datasource-setup"))
        .await;
    assert_eq!(reply["dataSource"]["action"], "unchanged", "{reply}");
    assert_eq!(reply["dataSource"]["health"]["status"], "OK", "{reply}");
    let log = world
        .account
        .log(&format!("{STACK}-grafana-datasource-setup"))
        .await
        .unwrap();
    assert!(
        log.iter().any(|line| line.contains(UID)),
        "the log tells nothing of the data source: {log:?}"
    );
}

/// Nobody invokes the function here: the schedule does.
async fn await_scheduled_metrics(world: &World) {
    let published = async {
        while world.account.cloudwatch.datums().is_empty() {
            sleep(Duration::from_millis(200)).await;
        }
    };
    let arrived = timeout(SCHEDULE_LIMIT, published).await;
    assert!(
        arrived.is_ok(),
        "no metrics after {SCHEDULE_LIMIT:?}: {}",
        world.account.ministack.log()
    );
}

async fn assert_metrics_are_found(world: &World) {
    // Six fields of sixteen GPUs, the same of the cluster, how many GPUs there are, and what the rules count.
    // The first run may be too early for the rules.
    let expected = 6 * 16 + 6 + 1 + COUNTED_BY_RULES.len();
    let counted = async {
        while world.metrics().await.len() < expected {
            sleep(Duration::from_secs(1)).await;
        }
    };
    let counted = timeout(SCHEDULE_LIMIT, counted).await;
    assert!(counted.is_ok(), "{:?}", world.metrics().await);
    assert_eq!(world.metrics().await.len(), expected);
    let reporting = world.statistics("GPUsReporting", "Maximum").await;
    assert!(reporting.iter().all(|gpus| *gpus == 16.0), "{reporting:?}");
    let utilisation = world.statistics("GPUUtilization", "Average").await;
    assert!(!utilisation.is_empty());
    let reply = world.invoke(&format!("{STACK}-dcgm-to-cloudwatch")).await;
    assert_eq!(reply["mode"], "manual", "{reply}");
    assert_make_targets_answer(world).await;
}

async fn assert_make_targets_answer(world: &World) {
    let reply = world.make("invoke", &[r#"PAYLOAD={"dryRun":true}"#]).await;
    let reply: Value = serde_json::from_str(&reply).unwrap();
    assert_eq!(reply["dryRun"], true, "{reply}");
    let logs = world.make("logs", &[]).await;
    assert!(logs.contains(": published "), "{logs}");

    let stack = format!("STACK={STACK}");
    let wrong = ["invoke", &stack, "REGION=us-east-2", "PAYLOAD=[]"];
    let error = world.account.make(&wrong).await;
    assert!(error.is_err(), "a function's error is make's, too");
}

/// Every cluster-level line of the deployed dashboard has data behind it.
async fn assert_dashboard_shows_data(world: &World) {
    let dashboard = world.dashboard(&format!("{STACK}-gpu")).await;
    let namespace = format!("ParallelCluster/{CLUSTER}/GPU");
    let rows = dashboard::rows(&dashboard);
    let ours = rows.iter().filter(|row| row.fields[0] == namespace);
    let mut lines = 0;
    for row in ours {
        let query = json!([{"Id": "line", "MetricStat": {
            "Metric": {"Namespace": row.fields[0], "MetricName": row.fields[1]},
            "Period": 60, "Stat": row.statistic,
        }}]);
        let data = world.cloudwatch_data(&query).await;
        assert!(!data.is_empty(), "no data for {row:?}");
        lines += 1;
    }
    assert!(lines >= 10, "{dashboard}");
}

async fn assert_nothing_is_left(world: &World) {
    assert!(world.account.grafana.source(UID).is_none());
    assert_no_credential_is_left(world);
    let functions = world
        .aws(&[
            "lambda",
            "list-functions",
            "--query",
            "Functions[].FunctionName",
        ])
        .await;
    assert_eq!(functions, json!([]));
    let groups = [
        "logs",
        "describe-log-groups",
        "--query",
        "logGroups[].logGroupName",
    ];
    assert_eq!(world.aws(&groups).await, json!([]));
}

fn assert_no_credential_is_left(world: &World) {
    let live = world.account.amg.live();
    assert!(
        live.accounts.is_empty() && live.api_keys.is_empty() && live.tokens == 0,
        "{live:?}"
    );
}
