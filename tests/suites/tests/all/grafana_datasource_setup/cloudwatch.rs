//! The CloudWatch data source beside AMP's.

use serde_json::{Value, json};
use testkit::doubles::faults::Fault;
use testkit::lambda::REGION;

use crate::grafana_datasource_setup::world::{UID, World, assert_success, reason};

const CLOUDWATCH: &str = "amazon-cloudwatch";

/// `create.json` with CloudWatch asked for.
fn create(world: &World) -> Value {
    let mut event = world.event("create");
    event["ResourceProperties"]["CloudWatchDataSourceName"] = json!("Amazon CloudWatch");
    event
}

#[tokio::test]
async fn cloudwatch_is_made_once_beside_the_default_and_taken_away() {
    for major in [9, 10, 12, 13] {
        let world = World::new(major).await;
        let answer = world.request(&create(&world)).await;
        assert_success(&answer);
        assert_eq!(answer["Data"]["CloudWatchDataSourceUid"], CLOUDWATCH);
        let source = world.grafana.source(CLOUDWATCH).unwrap();
        assert_eq!(source["name"], "Amazon CloudWatch");
        assert_eq!(source["type"], "cloudwatch");
        assert_eq!(source["jsonData"]["authType"], "ec2_iam_role");
        assert_eq!(source["jsonData"]["defaultRegion"], REGION);
        assert_eq!(world.grafana.defaults(), [UID], "Grafana {major}");

        world.grafana.forget_requests();
        assert_success(&world.request(&create(&world)).await);
        assert_eq!(world.grafana.writes(), [""; 0], "Grafana {major}");

        assert_success(&world.request(&world.event("delete")).await);
        assert!(world.grafana.source(CLOUDWATCH).is_none());
        assert_eq!(world.grafana.defaults(), ["loki"]);
        world.assert_no_credential_left();
    }
}

#[tokio::test]
async fn a_manual_run_tells_of_it() {
    let env = [("CLOUDWATCH_DATASOURCE_NAME", "CloudWatch")];
    let world = World::with_env(12, &env).await;
    let dry = world.run(r#"{"dryRun":true}"#).await.reply().unwrap();
    assert_eq!(dry["cloudWatch"]["action"], "created");
    assert_eq!(world.grafana.writes(), [""; 0]);
    for action in ["created", "unchanged"] {
        let reply = world.run("").await.reply().unwrap();
        let expected = json!({"uid": CLOUDWATCH, "name": "CloudWatch", "action": action});
        assert_eq!(reply["cloudWatch"], expected);
    }
}

#[tokio::test]
async fn another_name_renames_it() {
    let world = World::new(12).await;
    assert_success(&world.request(&create(&world)).await);
    let mut update = create(&world);
    update["ResourceProperties"]["CloudWatchDataSourceName"] = json!("CloudWatch");
    assert_success(&world.request(&update).await);
    assert_eq!(
        world.grafana.source(CLOUDWATCH).unwrap()["name"],
        "CloudWatch"
    );
    assert_eq!(world.grafana.sources().len(), 3);
}

#[tokio::test]
async fn a_persons_source_of_that_name_is_used_and_never_written() {
    let world = World::new(12).await;
    let persons = json!({
        "uid": "P1", "name": "Amazon CloudWatch", "type": "cloudwatch", "access": "proxy",
        "isDefault": false, "jsonData": {"authType": "keys", "defaultRegion": "eu-west-1"},
        "secureJsonData": {"accessKey": "AKIA", "secretKey": "s"},
    });
    world.grafana.add(&persons);
    let before = world.grafana.source("P1");
    let answer = world.request(&create(&world)).await;
    assert_eq!(answer["Data"]["CloudWatchDataSourceUid"], "P1");
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.source("P1"), before);
}

#[tokio::test]
async fn a_namesake_of_another_kind_is_an_error_that_names_the_setting() {
    let world = World::new(12).await;
    let loki = json!({
        "uid": "x", "name": "Amazon CloudWatch", "type": "loki", "access": "proxy",
    });
    world.grafana.add(&loki);
    let answer = world.request(&create(&world)).await;
    let reason = reason(&answer, "NameTaken");
    assert!(reason.contains("CLOUDWATCH_DATASOURCE_NAME"), "{reason}");
}

#[tokio::test]
async fn another_uid_of_the_resource_takes_it_along() {
    let world = World::new(12).await;
    assert_success(&world.request(&create(&world)).await);
    let mut moved = create(&world);
    moved["ResourceProperties"]["DataSourceUid"] = json!("gpus");
    assert_success(&world.request(&moved).await);
    assert_success(&world.request(&world.event("delete")).await);
    assert!(
        world.grafana.source(CLOUDWATCH).is_some(),
        "the clean-up of the old id"
    );
    let mut delete = world.event("delete");
    delete["PhysicalResourceId"] = json!("amg/g-0123abcdef/gpus");
    assert_success(&world.request(&delete).await);
    assert_eq!(world.grafana.sources().len(), 1);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_counts_as_made() {
    let env = [("CLOUDWATCH_DATASOURCE_NAME", "CloudWatch")];
    let world = World::with_env(12, &env).await;
    let add = "POST /api/datasources";
    world
        .grafana
        .faults()
        .inject(add, 1, Fault::StatusAfter(500));
    let reply = world.run("").await.reply().unwrap();
    assert_eq!(reply["dataSource"]["action"], "created");
    assert_eq!(reply["cloudWatch"]["action"], "created");
    assert_eq!(world.grafana.sources().len(), 3);
}
