//! Every file of `events/grafana-datasource-setup` against a workspace that is well.

use std::{fs, path::Path};

use serde_json::Value;

use crate::grafana_datasource_setup::world::{PHYSICAL_ID, World, assert_success, event, reason};

#[tokio::test]
async fn every_request_gets_one_answer_and_leaves_no_credential() {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/grafana-datasource-setup");
    let mut seen = 0;
    for file in fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let case = path.file_stem().unwrap().to_str().unwrap();
        if event(case).get("RequestType").is_none() {
            continue;
        }
        seen += 1;
        let world = World::new(12).await;
        let answer = world.request(&world.event(case)).await;
        let expected = if case.contains("hostile") {
            "FAILED"
        } else {
            "SUCCESS"
        };
        assert_eq!(answer["Status"], expected, "{case}: {answer}");
        world.assert_no_credential_left();
    }
    assert!(seen >= 6, "{seen} requests");
}

#[tokio::test]
async fn hostile_properties_are_told_one_by_one_and_touch_nothing() {
    let world = World::new(12).await;
    let answer = world.request(&world.event("create-hostile")).await;
    let reason = reason(&answer, "InvalidConfiguration");
    for name in [
        "GrafanaWorkspaceId",
        "AmpWorkspaceUrl",
        "AmpRegion",
        "DataSourceName",
        "DataSourceUid",
        "CloudWatchDataSourceName",
        "DashboardFolder",
        "DashboardOverwrite",
        "GrafanaAdmins",
        "GrafanaViewers",
    ] {
        assert!(reason.contains(name), "{name} in {reason}");
    }
    assert_eq!(world.amg.calls("DescribeWorkspace"), 0);

    let mut delete = world.event("delete");
    delete["PhysicalResourceId"] = answer["PhysicalResourceId"].clone();
    delete["ResourceProperties"] = world.event("create-hostile")["ResourceProperties"].clone();
    assert_success(&world.request(&delete).await);
}

#[tokio::test]
async fn a_failed_update_keeps_the_physical_id() {
    let world = World::new(12).await;
    let mut update = world.event("update-amp-workspace");
    update["ResourceProperties"]["GrafanaWorkspaceId"] = Value::from("g-ffffffffff");
    let answer = world.request(&update).await;
    reason(&answer, "WorkspaceNotFound");
    assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
    update["ResourceProperties"]["GrafanaWorkspaceId"] = Value::from("?");
    let answer = world.request(&update).await;
    reason(&answer, "InvalidConfiguration");
    assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
}

#[tokio::test]
async fn an_unknown_request_type_is_answered_with_a_failure() {
    let world = World::new(12).await;
    let mut request = world.event("create");
    request["RequestType"] = Value::from("Inspect");
    let answer = world.request(&request).await;
    assert!(reason(&answer, "InvalidEvent").contains("Inspect"));
}
