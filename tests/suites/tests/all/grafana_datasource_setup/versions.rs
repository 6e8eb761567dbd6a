//! The life of the data source on every Grafana that AMG offers, and the table of it.

use std::time::Duration;

use serde_json::json;
use testkit::doubles::faults::Fault;
use testkit::lambda::REGION;

use crate::grafana_datasource_setup::world::{
    AMP, OTHER_AMP, PHYSICAL_ID, PLUGIN, UID, World, assert_success, reason,
};

struct Row {
    step: &'static str,
    source_type: String,
    default: String,
    health: String,
    writes: usize,
    credentials: usize,
}

#[tokio::test]
async fn every_version_from_create_to_delete() {
    let mut table = "| Grafana | step | type | default | health | writes to Grafana | credentials \
                     left |\n| --- | --- | --- | --- | --- | --- | --- |\n"
        .to_owned();
    for (major, source_type) in [
        (9, "prometheus"),
        (10, "prometheus"),
        (12, PLUGIN),
        (13, PLUGIN),
    ] {
        for row in life(major, source_type).await {
            let Row {
                step,
                source_type,
                default,
                health,
                writes,
                credentials,
            } = row;
            table += &format!(
                "| {major} | {step} | {source_type} | {default} | {health} | {writes} | {credentials} |\n"
            );
        }
    }
    eprintln!("\n{table}");
}

async fn life(major: u32, source_type: &str) -> Vec<Row> {
    let world = World::new(major).await;
    let mut rows = Vec::new();
    for (step, case, url, writes) in [
        ("create", "create", AMP, 1),
        ("re-run", "create", AMP, 0),
        ("URL changed", "update-amp-workspace", OTHER_AMP, 1),
    ] {
        world.grafana.set_amp_url(url);
        world.grafana.forget_requests();
        let answer = world.request(&world.event(case)).await;
        assert_success(&answer);
        assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
        let data = &answer["Data"];
        assert_eq!(
            *data,
            json!({
                "DataSourceConfigured": "true", "DataSourceUid": UID,
                "DataSourceType": source_type, "DataSourceHealth": "OK",
                "GrafanaEndpoint": world.grafana.url(),
                "GrafanaVersion": if major == 13 { "13.0".into() } else { format!("{major}.4") },
                "GrafanaPeopleStatus": "OK",
            }),
            "{step} on {major}"
        );
        let source = world.grafana.source(UID).expect("the data source");
        assert_eq!(source["url"], url);
        assert_eq!(source["jsonData"]["sigV4Region"], REGION);
        assert_eq!(world.grafana.writes().len(), writes, "{step} on {major}");
        world.assert_no_credential_left();
        rows.push(row(
            &world,
            step,
            source_type,
            data["DataSourceHealth"].as_str().unwrap(),
        ));
    }

    world.grafana.forget_requests();
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(
        world.grafana.sources().len(),
        1,
        "only what was there before"
    );
    world.assert_no_credential_left();
    rows.push(row(&world, "delete", "-", "-"));
    rows
}

fn row(world: &World, step: &'static str, source_type: &str, health: &str) -> Row {
    let defaults = world.grafana.defaults();
    assert_eq!(
        defaults,
        [if step == "delete" { "loki" } else { UID }],
        "{step}"
    );
    let live = world.amg.live();
    Row {
        step,
        source_type: source_type.to_owned(),
        default: defaults.concat(),
        health: health.to_owned(),
        writes: world.grafana.writes().len(),
        credentials: live.accounts.len() + live.tokens + live.api_keys.len(),
    }
}

#[tokio::test]
async fn grafana_8_is_set_up_with_an_api_key() {
    let world = World::new(8).await;
    assert_success(&world.create().await);
    assert_eq!(world.amg.calls("CreateWorkspaceApiKey"), 1);
    assert_eq!(world.amg.calls("DeleteWorkspaceApiKey"), 1);
    assert_eq!(world.amg.calls("CreateWorkspaceServiceAccount"), 0);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_source_that_grafana_13_migrated_keeps_its_type_and_is_left_alone() {
    let world = World::new(10).await;
    assert_success(&world.create().await);
    world.grafana.upgrade(13);
    world.amg.set_version(13);
    world.grafana.forget_requests();
    let answer = world.create().await;
    assert_eq!(answer["Data"]["DataSourceType"], PLUGIN);
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
    assert_eq!(world.grafana.writes(), [""; 0]);
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.defaults(), ["loki"]);
}

#[tokio::test]
async fn an_upgrade_to_12_changes_the_type_of_a_source_that_can_no_longer_sign() {
    let world = World::new(10).await;
    assert_success(&world.create().await);
    world.grafana.upgrade(12);
    world.amg.set_version(12);
    let answer = world.create().await;
    assert_eq!(answer["Data"]["DataSourceType"], PLUGIN);
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
}

#[tokio::test]
async fn a_plugin_that_an_administrator_installed_is_used_before_12_too() {
    let world = World::new(10).await;
    world.grafana.install(PLUGIN);
    let answer = world.create().await;
    assert_eq!(answer["Data"]["DataSourceType"], PLUGIN);
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
}

/// In its first seconds Grafana says that there are no plugins.
#[tokio::test]
async fn a_plugin_that_is_being_loaded_is_waited_for() {
    let world = World::new(12).await;
    world.grafana.load_plugins_for(3);
    let answer = world.create().await;
    assert_success(&answer);
    assert_eq!(answer["Data"]["DataSourceType"], PLUGIN);
    let installs = |request: &&String| request.ends_with("/install");
    assert_eq!(world.grafana.requests().iter().filter(installs).count(), 0);
}

#[tokio::test]
async fn grafana_12_without_the_plugin_gets_it_where_plugins_are_managed() {
    let world = World::new(12).await;
    world.grafana.uninstall(PLUGIN);
    world.grafana.manage_plugins(2);
    let dry = world.run(r#"{"dryRun":true}"#).await.reply().unwrap();
    assert_eq!(dry["dataSource"]["type"], PLUGIN);
    assert_eq!(world.grafana.writes(), [""; 0]);
    let log = world.function.log();
    assert!(log.contains("would be installed"), "{log}");

    let answer = world.create().await;
    assert_success(&answer);
    assert_eq!(answer["Data"]["DataSourceType"], PLUGIN);
    let install = format!("POST /api/plugins/{PLUGIN}/install");
    assert_eq!(world.grafana.writes(), [&*install, "POST /api/datasources"]);
}

#[tokio::test]
async fn grafana_12_without_the_plugin_is_told_before_a_data_source_is_written() {
    let world = World::new(12).await;
    world.grafana.uninstall(PLUGIN);
    let answer = world.create().await;
    let reason = reason(&answer, "PluginMissing");
    assert!(reason.contains(PLUGIN), "{reason}");
    assert!(reason.contains("does not install it: 404"), "{reason}");
    let install = format!("POST /api/plugins/{PLUGIN}/install");
    assert_eq!(world.grafana.writes(), [install]);
    assert_eq!(world.grafana.sources().len(), 1);
    world.assert_no_credential_left();
}

/// The health check of Grafana 9 succeeds whatever AMP would answer; that of 8 is no better, and it has
/// no proxy by uid.
#[tokio::test]
async fn a_health_check_that_proves_nothing_is_backed_by_a_query() {
    for major in [8, 9] {
        let world = World::new(major).await;
        let health = async || {
            let outcome = world.run("").await;
            outcome.reply().unwrap()["dataSource"]["health"].clone()
        };
        assert_eq!(health().await["status"], "OK", "Grafana {major}");
        world.grafana.set_role_may_query(false);
        let limit = Duration::from_secs(12);
        let outcome = world.function.invoke_with_timeout("", limit).await.unwrap();
        let health = outcome.reply().unwrap()["dataSource"]["health"].clone();
        assert_eq!(health["status"], "ERROR", "Grafana {major}");
        let message = health["message"].as_str().unwrap();
        assert!(message.contains("lacks aps:QueryMetrics"), "{message}");
    }
}

#[tokio::test]
async fn health_that_nothing_can_prove_is_unknown() {
    let world = World::new(9).await;
    for call in ["GET /api/datasources/proxy/uid/:uid", "POST /api/ds/query"] {
        world
            .grafana
            .faults()
            .inject_always(call, Fault::Status(404));
    }
    let answer = world.create().await;
    assert_success(&answer);
    let health = answer["Data"]["DataSourceHealth"].as_str().unwrap();
    assert!(
        health.starts_with("Grafana 9.4 checks without a query"),
        "{health}"
    );
    let reply = world.run("").await.reply().unwrap();
    assert_eq!(reply["dataSource"]["health"]["status"], "UNKNOWN");
}
