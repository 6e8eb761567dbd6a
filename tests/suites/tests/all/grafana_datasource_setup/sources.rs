//! Data sources that are there already, renamed, replaced, or somebody else's.

use serde_json::{Value, json};

use crate::grafana_datasource_setup::world::{
    AMP, PHYSICAL_ID, UID, World, assert_success, reason,
};

fn by_a_person(extra: &Value) -> Value {
    let mut source = json!({
        "uid": "P8E80F9AEF21F6940", "name": "Amazon Managed Prometheus", "type": "prometheus",
        "access": "proxy", "url": "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-old/",
        "jsonData": {
            "httpMethod": "GET", "timeInterval": "15s", "sigV4Auth": true,
            "sigV4AuthType": "keys", "sigV4Region": "us-east-2",
        },
        "secureJsonData": {"sigV4AccessKey": "AKIA", "sigV4SecretKey": "secret"},
    });
    for (name, value) in extra.as_object().unwrap() {
        source[name] = value.clone();
    }
    source
}

#[tokio::test]
async fn a_source_of_the_same_name_is_adopted_and_left_in_place_on_delete() {
    let world = World::new(12).await;
    world.grafana.add(&by_a_person(&json!({})));
    let answer = world.create().await;
    assert_success(&answer);
    assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
    assert_eq!(answer["Data"]["DataSourceUid"], "P8E80F9AEF21F6940");
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
    let adopted = world.grafana.source("P8E80F9AEF21F6940").unwrap();
    assert_eq!(adopted["url"], AMP);
    assert_eq!(adopted["jsonData"]["sigV4AuthType"], "ec2_iam_role");
    assert_eq!(adopted["jsonData"]["timeInterval"], "15s");
    assert_eq!(adopted["jsonData"]["httpMethod"], "GET");
    assert_eq!(adopted["secureJsonData"]["sigV4SecretKey"], "secret");
    assert_eq!(world.grafana.defaults(), ["P8E80F9AEF21F6940"]);

    world.grafana.forget_requests();
    assert_success(&world.create().await);
    assert_eq!(
        world.grafana.writes(),
        [""; 0],
        "the second run changes nothing"
    );

    assert_success(&world.request(&world.event("delete")).await);
    let left = world.grafana.source("P8E80F9AEF21F6940").unwrap();
    assert_eq!(left["jsonData"].get("grafanaDatasourceSetup"), None);
    assert_eq!(left["secureJsonData"]["sigV4SecretKey"], "secret");
    assert_eq!(world.grafana.defaults(), ["loki"]);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn an_adopted_source_that_assumed_another_role_queries_with_the_workspaces() {
    let world = World::new(10).await;
    world.grafana.add(&by_a_person(&json!({"jsonData": {
        "sigV4Auth": true, "sigV4AuthType": "ec2_iam_role", "sigV4Region": "us-east-2",
        "sigV4AssumeRoleArn": "arn:aws:iam::999988887777:role/reader", "sigV4ExternalId": "x",
        "timeInterval": "30s",
    }})));
    let answer = world.create().await;
    assert_success(&answer);
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
    let adopted = world.grafana.source("P8E80F9AEF21F6940").unwrap();
    for key in ["sigV4AssumeRoleArn", "sigV4ExternalId"] {
        assert_eq!(adopted["jsonData"].get(key), None);
    }
    assert_eq!(adopted["jsonData"]["timeInterval"], "30s");
}

#[tokio::test]
async fn a_source_just_as_wanted_is_not_written_whoever_made_it() {
    let world = World::new(10).await;
    world.grafana.add(&by_a_person(&json!({
        "url": format!("{AMP}/"), "isDefault": true,
        "jsonData": {"sigV4Auth": true, "sigV4AuthType": "ec2_iam_role", "sigV4Region": "us-east-2"},
    })));
    assert_success(&world.create().await);
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.writes(), [""; 0]);
}

#[tokio::test]
async fn the_default_that_was_there_before_comes_back_whole() {
    let world = World::new(13).await;
    let before = world.grafana.source("loki").unwrap();
    assert_success(&world.create().await);
    assert_eq!(world.grafana.defaults(), [UID]);
    assert_success(&world.request(&world.event("delete")).await);
    let mut after = world.grafana.source("loki").unwrap();
    after["version"] = before["version"].clone();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_default_that_somebody_chose_meanwhile_stays() {
    let world = World::new(12).await;
    assert_success(&world.create().await);
    world.grafana.add(&json!({
        "uid": "mimir", "name": "Mimir", "type": "prometheus", "access": "proxy", "isDefault": true,
    }));
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.defaults(), ["mimir"]);
    assert!(world.grafana.source(UID).is_none());
}

#[tokio::test]
async fn a_previous_default_that_is_read_only_does_not_hold_up_the_delete() {
    let world = World::new(12).await;
    assert_success(&world.create().await);
    world.grafana.set_read_only("loki");
    assert_success(&world.request(&world.event("delete")).await);
    assert!(world.grafana.source(UID).is_none());
    assert!(
        world
            .function
            .log()
            .contains("loki can't become the default again")
    );
}

#[tokio::test]
async fn another_name_renames_the_source() {
    let world = World::new(12).await;
    assert_success(&world.create().await);
    let mut update = world.event("update-amp-workspace");
    update["ResourceProperties"]["DataSourceName"] = json!("GPU metrics");
    let answer = world.request(&update).await;
    assert_eq!(
        answer["PhysicalResourceId"], PHYSICAL_ID,
        "not a replacement"
    );
    assert_eq!(world.grafana.source(UID).unwrap()["name"], "GPU metrics");
    assert_eq!(world.grafana.sources().len(), 2);
}

#[tokio::test]
async fn another_uid_is_a_replacement_that_the_clean_up_does_not_undo() {
    let world = World::new(12).await;
    assert_success(&world.create().await);
    let mut update = world.event("update-amp-workspace");
    update["ResourceProperties"]["DataSourceUid"] = json!("gpu");
    update["ResourceProperties"]["AmpWorkspaceUrl"] = json!(AMP);
    let answer = world.request(&update).await;
    assert_eq!(answer["PhysicalResourceId"], "amg/g-0123abcdef/gpu");
    assert_eq!(answer["Data"]["DataSourceUid"], "gpu");
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(
        world.grafana.defaults(),
        ["gpu"],
        "the clean-up of the old id left it alone"
    );
    let mut delete = world.event("delete");
    delete["PhysicalResourceId"] = json!("amg/g-0123abcdef/gpu");
    assert_success(&world.request(&delete).await);
    assert_eq!(world.grafana.defaults(), ["loki"]);
}

#[tokio::test]
async fn a_read_only_source_is_an_error_that_says_so() {
    let world = World::new(12).await;
    world.grafana.add(&by_a_person(&json!({"readOnly": true})));
    let answer = world.create().await;
    let reason = reason(&answer, "ReadOnly");
    assert!(
        reason.contains("read-only") && reason.contains("P8E80F9AEF21F6940"),
        "{reason}"
    );
    assert_eq!(world.grafana.writes(), [""; 0]);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_namesake_of_another_kind_is_an_error() {
    let world = World::new(12).await;
    world.grafana.add(&by_a_person(&json!({"type": "loki"})));
    reason(&world.create().await, "NameTaken");
    assert_eq!(world.grafana.writes(), [""; 0]);
}

#[tokio::test]
async fn delete_succeeds_when_there_is_nothing_to_delete() {
    let world = World::new(12).await;
    world.grafana.add(&by_a_person(&json!({"uid": UID})));
    assert_success(&world.request(&world.event("delete")).await);
    assert!(
        world.grafana.source(UID).is_some(),
        "a person's source of that uid is no business of ours"
    );
    world.amg.set_statuses(&["DELETING"]);
    assert_success(&world.request(&world.event("delete")).await);
    world.amg.set_statuses(&["CREATING"]);
    assert_success(&world.request(&world.event("delete")).await);
    world.amg.delete_workspace();
    let answer = world.request(&world.event("delete")).await;
    assert_success(&answer);
    assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
    assert_eq!(world.grafana.writes(), [""; 0]);
}

#[tokio::test]
async fn delete_works_in_a_workspace_whose_last_change_failed() {
    let world = World::new(12).await;
    assert_success(&world.create().await);
    world.amg.set_statuses(&["UPDATE_FAILED"]);
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.defaults(), ["loki"]);
}

#[tokio::test]
async fn the_workspaces_role_without_permission_is_told_in_words_and_fails_nothing() {
    let world = World::new(12).await;
    world.grafana.set_role_may_query(false);
    let limit = std::time::Duration::from_secs(6);
    let answer = world.request_within(&world.event("create"), limit).await;
    assert_success(&answer);
    let health = answer["Data"]["DataSourceHealth"].as_str().unwrap();
    assert!(
        health.contains("the workspace role lacks aps:QueryMetrics on ws-1a2b3c4d"),
        "{health}"
    );
    assert_eq!(answer["Data"]["DataSourceConfigured"], "true");
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_role_that_gets_its_permission_late_ends_healthy() {
    let world = World::new(12).await;
    let health = "GET /api/datasources/uid/:uid/health";
    world
        .grafana
        .faults()
        .inject(health, 2, testkit::doubles::faults::Fault::Status(403));
    let answer = world.create().await;
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
}
