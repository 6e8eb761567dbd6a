//! Runs by hand: `aws lambda invoke`.

use serde_json::json;

use crate::grafana_datasource_setup::world::{UID, World, event};

#[tokio::test]
async fn no_payload_null_and_empty_object_set_up_and_report() {
    let world = World::new(12).await;
    for (payload, action) in [("", "created"), ("null", "unchanged"), ("{}", "unchanged")] {
        let reply = world.run(payload).await.reply().unwrap();
        assert_eq!(
            reply,
            json!({
                "dataSource": {
                    "uid": UID, "name": "Amazon Managed Prometheus",
                    "type": "grafana-amazonprometheus-datasource", "action": action,
                    "isDefault": true,
                    "health": {"status": "OK", "message": "Successfully queried the Prometheus API."},
                },
                "grafana": {"endpoint": world.grafana.url(), "version": "12.4"},
            }),
            "{payload:?}"
        );
    }
    assert_eq!(world.bucket.attempts(), 0);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn the_log_says_what_was_done() {
    let world = World::new(12).await;
    world.run("").await.reply().unwrap();
    let log = world.function.log();
    for line in [
        "workspace g-0123abcdef is ACTIVE, Grafana 12.4",
        "made service account",
        "data source \"Amazon Managed Prometheus\" (uid amazon-managed-prometheus, type \
         grafana-amazonprometheus-datasource): created, it is the default",
        "health: OK",
        "took the credential back",
    ] {
        assert!(log.contains(line), "{line} in {log}");
    }
}

#[tokio::test]
async fn a_dry_run_writes_nothing() {
    let world = World::new(10).await;
    let payload = event("manual-dry-run").to_string();
    let reply = world.run(&payload).await.reply().unwrap();
    assert_eq!(reply["dryRun"], true);
    assert_eq!(reply["dataSource"]["action"], "created");
    assert_eq!(reply["dataSource"]["health"]["status"], "UNKNOWN");
    assert_eq!(world.grafana.writes(), [""; 0]);
    assert_eq!(world.grafana.defaults(), ["loki"]);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn any_other_payload_is_refused_by_the_field_that_is_wrong() {
    let world = World::new(12).await;
    let schedule = event("schedule-by-mistake").to_string();
    for (payload, part) in [
        (schedule.as_str(), "account"),
        (r#"{"dryRun":"yes"}"#, "dryRun"),
        (r#"{"dryRun":true,"force":true}"#, "force"),
        ("[]", "a list"),
        (r#"{"RequestType":"Create"}"#, "ResponseURL"),
    ] {
        let (error_type, message) = world.run(payload).await.error().expect("an error");
        assert_eq!(error_type, "InvalidEvent");
        assert!(
            message.contains(part) && message.contains("dryRun"),
            "{payload}: {message}"
        );
    }
    assert_eq!(world.amg.calls("DescribeWorkspace"), 0);
}

#[tokio::test]
async fn a_failed_run_is_a_function_error_with_a_stable_type() {
    let world = World::new(12).await;
    world.amg.delete_workspace();
    let (error_type, message) = world.run("").await.error().expect("an error");
    assert_eq!(error_type, "WorkspaceNotFound");
    assert!(message.contains("g-0123abcdef"), "{message}");
}

#[tokio::test]
async fn wrong_variables_are_told_all_at_once() {
    let env = [
        ("GRAFANA_WORKSPACE_ID", "grafana"),
        ("AMP_WORKSPACE_URL", "ws-1"),
    ];
    let world = World::with_env(12, &env).await;
    let (error_type, message) = world.run("").await.error().expect("an error");
    assert_eq!(error_type, "InvalidConfiguration");
    for part in [
        "GRAFANA_WORKSPACE_ID=\"grafana\"",
        "AMP_WORKSPACE_URL=\"ws-1\"",
    ] {
        assert!(message.contains(part), "{message}");
    }
}
