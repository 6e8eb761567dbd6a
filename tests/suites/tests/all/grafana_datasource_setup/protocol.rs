//! CloudFormation's side of the story: answers that never reach it, and what it makes of that.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::doubles::faults::Fault;
use testkit::lambda::Outcome;

use crate::grafana_datasource_setup::world::{PHYSICAL_ID, UID, World, assert_success};

/// What CloudFormation makes up for a resource whose Create it has no answer of.
const MADE_UP: &str = "pcluster-infra-GrafanaDataSource-1A2B3C4D5E6F7";

const OTHER_STACK: &str = "arn:aws:cloudformation:us-east-2:111122223333:stack/other/0";

/// `create.json` with everything asked for.
fn create(world: &World) -> Value {
    let mut event = world.event("create");
    event["ResourceProperties"]["CloudWatchDataSourceName"] = json!("Amazon CloudWatch");
    event["ResourceProperties"]["DashboardFolder"] = json!("GPU monitoring");
    event["ResourceProperties"]["GrafanaAdmins"] = json!("ada@example.com");
    event
}

/// The Delete of that Create, as CloudFormation sends it when no answer has come.
fn delete_unanswered(create: &Value) -> Value {
    let mut event = create.clone();
    event["RequestType"] = json!("Delete");
    event["PhysicalResourceId"] = json!(MADE_UP);
    event
}

async fn world() -> World {
    let world = World::new(12).await;
    world
        .identity_center
        .add_user("ada", Some("ada@example.com"));
    world
}

fn assert_nothing_left(world: &World) {
    assert_eq!(world.grafana.sources().len(), 1, "Loki was there before");
    assert_eq!(world.grafana.defaults(), ["loki"]);
    assert_eq!(world.grafana.folders(), []);
    assert_eq!(world.grafana.dashboards(), []);
    assert_eq!(world.amg.roles(), []);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_create_whose_answer_was_lost_is_removed_by_its_properties() {
    let world = world().await;
    let create = create(&world);
    assert_success(&world.request(&create).await);
    assert_eq!(world.grafana.sources().len(), 3);
    let answer = world.request(&delete_unanswered(&create)).await;
    assert_success(&answer);
    assert_eq!(answer["PhysicalResourceId"], MADE_UP);
    assert_nothing_left(&world);
    // Again, as CloudFormation may.
    assert_success(&world.request(&delete_unanswered(&create)).await);
    assert_nothing_left(&world);
}

/// A roll-back need not wait for a Create that is under way.
#[tokio::test]
async fn a_create_that_still_runs_is_waited_for_and_removed() {
    let world = world().await;
    let create = create(&world);
    // It spends its time on a health check that fails, with the credential in its hands.
    world.grafana.set_role_may_query(false);
    let other = world.another_function().await;
    let limit = Duration::from_secs(30);
    let running = world
        .function
        .invoke_with_timeout(create.to_string(), limit);
    let deleting = async {
        world.amg.token_made().await;
        let delete = delete_unanswered(&create).to_string();
        other
            .invoke_with_timeout(delete, Duration::from_secs(60))
            .await
    };
    let (made, deleted) = tokio::join!(running, deleting);
    assert!(matches!(made.unwrap(), Outcome::Reply(_)));
    assert!(matches!(deleted.unwrap(), Outcome::Reply(_)));
    let answers = world.bucket.accepted();
    let last = answers.last().expect("an answer of the Delete");
    assert_eq!(
        (&last["Status"], &last["PhysicalResourceId"]),
        (&json!("SUCCESS"), &json!(MADE_UP))
    );
    assert_nothing_left(&world);
}

#[tokio::test]
async fn a_create_that_made_nothing_leaves_what_another_stack_made() {
    let world = world().await;
    let mine = create(&world);
    assert_success(&world.request(&mine).await);
    let mut theirs = delete_unanswered(&mine);
    theirs["StackId"] = json!(OTHER_STACK);
    assert_success(&world.request(&theirs).await);
    assert_eq!(world.grafana.defaults(), [UID]);
    assert_eq!(
        world.grafana.dashboards().len(),
        crate::grafana_datasource_setup::dashboards::ALL
    );
    assert_eq!(world.amg.roles().len(), 1);
    let log = world.function.log();
    assert!(log.contains("is another stack's"), "{log}");
}

#[tokio::test]
async fn properties_that_describe_nothing_leave_nothing_to_remove() {
    let world = World::with_env(12, &[("GRAFANA_WORKSPACE_ID", "")]).await;
    let mut delete = delete_unanswered(&world.event("create"));
    delete["ResourceProperties"] = json!({});
    assert_success(&world.request(&delete).await);
    assert_eq!(world.amg.calls("DescribeWorkspace"), 0);
}

/// An update to another uid whose answer never came is rolled back, with the id of before.
#[tokio::test]
async fn an_update_that_was_abandoned_is_removed_by_the_roll_back() {
    let world = world().await;
    let before = create(&world);
    assert_success(&world.request(&before).await);
    let mut moved = before.clone();
    moved["RequestType"] = json!("Update");
    moved["PhysicalResourceId"] = json!(PHYSICAL_ID);
    moved["OldResourceProperties"] = before["ResourceProperties"].clone();
    moved["ResourceProperties"]["DataSourceName"] = json!("Prometheus of the GPUs");
    moved["ResourceProperties"]["DataSourceUid"] = json!("gpus");
    let answer = world.request(&moved).await;
    assert_eq!(answer["PhysicalResourceId"], "amg/g-0123abcdef/gpus");
    let uids = || -> Vec<String> {
        let sources = world.grafana.sources().into_iter();
        sources
            .map(|source| source["uid"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(uids(), ["loki", UID, "amazon-cloudwatch", "gpus"]);

    let mut rolled_back = moved.clone();
    rolled_back["ResourceProperties"] = before["ResourceProperties"].clone();
    rolled_back["OldResourceProperties"] = moved["ResourceProperties"].clone();
    assert_success(&world.request(&rolled_back).await);
    assert_eq!(uids(), ["loki", UID, "amazon-cloudwatch"]);
    assert_eq!(world.grafana.defaults(), [UID]);
    assert_eq!(world.amg.roles().len(), 1);
}

/// The role's policy names the present workspace alone.
#[tokio::test]
async fn a_former_workspace_out_of_the_roles_reach_does_not_hold_up_the_stack() {
    let world = world().await;
    let faults = world.amg.faults();
    faults.inject_always("DescribeWorkspace", Fault::Status(403));
    assert_success(&world.request(&world.event("delete")).await);
    let log = world.function.log();
    for part in ["WARN", "left in workspace g-0123abcdef", "its dashboards"] {
        assert!(log.contains(part), "{part} in {log}");
    }
}

/// An update of the role and of what it is for reach the function at almost the same time.
#[tokio::test]
async fn a_permission_that_is_new_is_waited_for() {
    let world = world().await;
    let faults = world.amg.faults();
    faults.inject("DescribeWorkspace", 3, Fault::Status(403));
    assert_success(&world.create().await);
}
