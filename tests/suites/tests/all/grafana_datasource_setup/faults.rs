//! What goes wrong, each with exactly one response and no credential left.

use std::time::Duration;

use testkit::doubles::faults::{ANY, Fault};
use testkit::doubles::managed_grafana::Live;
use testkit::lambda::Outcome;
use tokio::time::timeout;

use crate::grafana_datasource_setup::world::{PHYSICAL_ID, UID, World, assert_success, reason};

/// Longer than any of these tests takes; a test that waits for more is stuck.
const PATIENCE: Duration = Duration::from_secs(60);

const LIST: &str = "GET /api/datasources";
const ADD: &str = "POST /api/datasources";
const CHANGE: &str = "PUT /api/datasources/uid/:uid";

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The reason holds `words`, and no credential stays behind.
async fn assert_create_fails(world: &World, error_type: &str, words: &str) {
    let answer = world.create().await;
    assert!(reason(&answer, error_type).contains(words), "{answer}");
    world.assert_no_credential_left();
}

/// The function answers in time that time is short, in these words, and no credential stays behind.
async fn assert_create_runs_out_of_time(world: &World, words: &str) {
    let event = world.event("create");
    let answer = world.request_within(&event, seconds(4)).await;
    assert!(reason(&answer, "OutOfTime").contains(words), "{answer}");
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_workspace_being_created_is_waited_for() {
    let world = World::new(12).await;
    world
        .amg
        .set_statuses(&["CREATING", "CREATING", "UPDATING", "ACTIVE"]);
    assert_success(&world.create().await);
    assert_eq!(world.amg.calls("DescribeWorkspace"), 4);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_workspace_stuck_in_creating_fails_in_time_and_says_so() {
    let world = World::new(12).await;
    world.amg.set_statuses(&["CREATING"]);
    let answer = world
        .request_within(&world.event("create"), seconds(4))
        .await;
    assert!(
        reason(&answer, "OutOfTime").contains("g-0123abcdef is CREATING"),
        "{answer}"
    );
    assert_eq!(answer["PhysicalResourceId"], PHYSICAL_ID);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_failed_state_ends_the_run_at_once_with_its_name() {
    let world = World::new(12).await;
    for status in [
        "CREATION_FAILED",
        "FAILED",
        "DELETING",
        "UPDATE_FAILED",
        "UPGRADE_FAILED",
    ] {
        world.amg.set_statuses(&[status]);
        assert_create_fails(&world, "WorkspaceUnusable", status).await;
    }
    assert_eq!(world.amg.calls("DescribeWorkspace"), 5, "no polling");
}

#[tokio::test]
async fn a_degraded_workspace_is_used() {
    let world = World::new(12).await;
    world.amg.set_statuses(&["DEGRADED"]);
    assert_success(&world.create().await);
}

#[tokio::test]
async fn a_token_that_is_not_accepted_at_first_is_tried_again() {
    let world = World::new(12).await;
    world.grafana.faults().inject(ANY, 4, Fault::Status(401));
    assert_success(&world.create().await);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_grafana_that_forbids_is_not_asked_again() {
    let world = World::new(12).await;
    world
        .grafana
        .faults()
        .inject_always(ADD, Fault::Status(403));
    assert_create_fails(&world, "GrafanaRejected", "403").await;
    assert_eq!(world.grafana.sources().len(), 1);
}

#[tokio::test]
async fn a_conflict_is_read_again_and_settled() {
    let world = World::new(12).await;
    world.grafana.faults().inject(ADD, 1, Fault::Status(409));
    assert_success(&world.create().await);
    world.grafana.faults().inject(CHANGE, 2, Fault::Status(409));
    assert_success(&world.request(&world.event("update-amp-workspace")).await);
    world
        .grafana
        .faults()
        .inject_always(CHANGE, Fault::Status(409));
    assert_create_fails(&world, "GrafanaRejected", "409").await;
}

#[tokio::test]
async fn grafana_may_fail_once_before_or_after_the_write() {
    for fault in [Fault::Status(500), Fault::StatusAfter(500)] {
        let world = World::new(12).await;
        for operation in [LIST, ADD, "GET /api/plugins/:id/settings"] {
            world.grafana.faults().inject(operation, 1, fault);
        }
        let reply = world.run("").await.reply().unwrap();
        assert_eq!(reply["dataSource"]["action"], "created", "{fault:?}");
        assert_eq!(world.grafana.sources().len(), 2, "{fault:?}");
        world.assert_no_credential_left();
    }
}

#[tokio::test]
async fn a_grafana_that_never_answers_fails_in_time() {
    let world = World::new(12).await;
    world.grafana.faults().inject_always(ANY, Fault::Hang);
    assert_create_runs_out_of_time(&world, "/api/plugins/").await;
}

#[tokio::test]
async fn a_grafana_that_only_fails_is_told_with_its_last_answer() {
    let world = World::new(12).await;
    world
        .grafana
        .faults()
        .inject_always(LIST, Fault::Status(502));
    assert_create_runs_out_of_time(&world, "GET /api/datasources").await;
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let world = World::new(12).await;
    world.grafana.faults().inject_always(LIST, Fault::Endless);
    assert_create_fails(&world, "GrafanaUnintelligible", "longer than").await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_so_never_sees_the_token() {
    let world = World::new(12).await;
    world
        .grafana
        .faults()
        .inject_always(LIST, Fault::Status(302));
    assert_create_fails(&world, "GrafanaRejected", "302").await;
}

#[tokio::test]
async fn a_response_url_that_fails_twice_gets_one_response() {
    let world = World::new(12).await;
    world.bucket.faults().inject("PUT", 2, Fault::Status(503));
    assert_success(&world.create().await);
    assert_eq!(world.bucket.attempts(), 3);
}

#[tokio::test]
async fn a_response_that_nobody_takes_fails_the_invocation() {
    let world = World::new(12).await;
    world
        .bucket
        .faults()
        .inject_always("PUT", Fault::Status(403));
    let (error_type, message) = world
        .run(&world.event("create").to_string())
        .await
        .error()
        .expect("an error");
    assert_eq!(error_type, "ResponseUndelivered");
    assert!(message.contains("403"), "{message}");
    assert_eq!(world.bucket.attempts(), 1, "what is refused is refused");
    world.assert_no_credential_left();
}

#[tokio::test]
async fn everything_hanging_from_some_call_on_is_answered_before_lambda_ends_it() {
    let hanging_from = async |operation| {
        let world = World::new(12).await;
        world.amg.faults().inject_always(operation, Fault::Hang);
        world.grafana.faults().inject_always(ANY, Fault::Hang);
        assert_create_runs_out_of_time(&world, "").await;
    };
    tokio::join!(
        hanging_from("DescribeWorkspace"),
        hanging_from("CreateWorkspaceServiceAccount"),
        hanging_from("CreateWorkspaceServiceAccountToken"),
    );
}

#[tokio::test]
async fn a_ten_second_limit_is_enough_to_answer_when_nothing_answers() {
    let world = World::new(12).await;
    world.amg.faults().inject_always(ANY, Fault::Hang);
    world.grafana.faults().inject_always(ANY, Fault::Hang);
    let answer = world
        .request_within(&world.event("create"), seconds(10))
        .await;
    assert!(reason(&answer, "OutOfTime").contains("10 s"), "{answer}");
    world.assert_no_credential_left();
}

#[tokio::test]
async fn an_account_whose_creation_was_never_confirmed_is_taken_back() {
    let world = World::new(12).await;
    world
        .amg
        .faults()
        .inject("CreateWorkspaceServiceAccount", 1, Fault::HangAfter);
    assert_create_runs_out_of_time(&world, "").await;
}

#[tokio::test]
async fn a_token_whose_creation_was_never_confirmed_is_taken_back() {
    let world = World::new(12).await;
    world
        .amg
        .faults()
        .inject("CreateWorkspaceServiceAccountToken", 1, Fault::HangAfter);
    assert_create_runs_out_of_time(&world, "").await;
}

#[tokio::test]
async fn what_a_killed_run_left_behind_is_removed_by_the_next() {
    let world = World::new(12).await;
    world.grafana.faults().inject_always(ANY, Fault::Hang);
    let event = world.event("create").to_string();
    let killed = async {
        timeout(PATIENCE, world.amg.token_made())
            .await
            .expect("a token is made");
        world.function.kill().await;
    };
    let (outcome, ()) = tokio::join!(
        world.function.invoke_with_timeout(event, seconds(4)),
        killed
    );
    assert!(matches!(outcome.unwrap(), Outcome::Exited { .. }));
    assert_eq!(
        world.amg.live().tokens,
        1,
        "the killed run took nothing back"
    );

    world.grafana.faults().clear();
    let next = world.another_function().await;
    assert_success(
        &world
            .request_to(&next, &world.event("create"), PATIENCE)
            .await,
    );
    assert!(
        next.log().contains("left by a run that was killed"),
        "{}",
        next.log()
    );
    assert_eq!(world.amg.live(), Live::default());
    assert_eq!(world.grafana.defaults(), [UID]);
}

#[tokio::test]
async fn other_peoples_service_accounts_are_left_alone() {
    let world = World::new(12).await;
    for name in ["terraform", "grafana", "alerts", "a", "b"] {
        world.amg.add_account(name);
    }
    world.amg.add_left_over("grafana-datasource-setup", 1);
    assert_success(&world.create().await);
    assert_eq!(
        world.amg.live().accounts,
        ["terraform", "grafana", "alerts", "a", "b"]
    );
}

#[tokio::test]
async fn a_full_quota_is_told_with_its_remedy() {
    let world = World::new(12).await;
    world.amg.set_quotas(1, 0);
    assert_create_fails(&world, "QuotaExceeded", "delete service account tokens").await;
}

#[tokio::test]
async fn a_missing_permission_of_the_function_is_told_by_its_action() {
    for operation in [
        "DescribeWorkspace",
        "CreateWorkspaceServiceAccount",
        "CreateWorkspaceServiceAccountToken",
    ] {
        let world = World::new(12).await;
        world
            .amg
            .faults()
            .inject_always(operation, Fault::Status(403));
        let action = format!("grafana:{operation}:");
        assert_create_fails(&world, "AccessDenied", &action).await;
    }
}

#[tokio::test]
async fn a_control_plane_that_throttles_or_fails_at_times_is_asked_again() {
    let world = World::new(12).await;
    for operation in [
        "DescribeWorkspace",
        "CreateWorkspaceServiceAccount",
        "CreateWorkspaceServiceAccountToken",
        "DeleteWorkspaceServiceAccountToken",
        "DeleteWorkspaceServiceAccount",
    ] {
        world.amg.faults().inject(operation, 1, Fault::Status(429));
        world.amg.faults().inject(operation, 1, Fault::Status(500));
    }
    assert_success(&world.create().await);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn the_same_request_one_after_the_other_ends_in_one_data_source() {
    let world = World::new(12).await;
    let first = world.create().await;
    let second = world.create().await;
    assert_eq!(first, second);
    assert_eq!(world.grafana.writes(), [ADD]);
    for _ in 0..2 {
        assert_success(&world.request(&world.event("delete")).await);
    }
    assert_eq!(world.grafana.defaults(), ["loki"]);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn the_same_request_at_the_same_time_ends_in_one_data_source() {
    let world = World::new(12).await;
    // Whoever comes first is still at it when the other one comes.
    world.grafana.faults().inject(LIST, 2, Fault::Status(503));
    let other = world.another_function().await;
    let event = world.event("create").to_string();
    let (one, two) = tokio::join!(
        world.function.invoke_with_timeout(event.clone(), PATIENCE),
        other.invoke_with_timeout(event, PATIENCE),
    );
    assert!(
        matches!(one.unwrap(), Outcome::Reply(_)),
        "{}",
        world.function.log()
    );
    assert!(matches!(two.unwrap(), Outcome::Reply(_)), "{}", other.log());
    let answers = world.bucket.accepted();
    assert_eq!(answers.len(), 2);
    assert_success(&answers[0]);
    assert_eq!(answers[0], answers[1]);
    assert_eq!(world.grafana.sources().len(), 2);
    assert_eq!(world.grafana.defaults(), [UID]);
    assert_eq!(world.grafana.writes(), [ADD]);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn a_delete_that_overtakes_its_create_waits_for_it() {
    let world = World::new(12).await;
    // The create holds the credential until Grafana answers.
    world.grafana.faults().inject(LIST, 3, Fault::Status(503));
    let other = world.another_function().await;
    let create = world.event("create").to_string();
    let delete = async {
        timeout(PATIENCE, world.amg.token_made())
            .await
            .expect("the create makes a token");
        other
            .invoke_with_timeout(world.event("delete").to_string(), PATIENCE)
            .await
    };
    let (created, deleted) =
        tokio::join!(world.function.invoke_with_timeout(create, PATIENCE), delete);
    assert!(matches!(created.unwrap(), Outcome::Reply(_)));
    assert!(matches!(deleted.unwrap(), Outcome::Reply(_)));
    world.bucket.accepted().iter().for_each(assert_success);
    assert_eq!(
        world.grafana.writes().len(),
        3,
        "made, default given back, deleted"
    );
    assert_eq!(world.grafana.defaults(), ["loki"], "{}", other.log());
    assert!(world.grafana.source(UID).is_none());
    world.assert_no_credential_left();
}

#[tokio::test]
async fn another_runs_account_is_not_taken_for_ones_own() {
    let world = World::new(12).await;
    world.amg.add_left_over("grafana-datasource-setup", 600);
    let create = "CreateWorkspaceServiceAccount";
    world.amg.faults().inject(create, 1, Fault::HangAfter);
    let answer = world
        .request_within(&world.event("create"), seconds(4))
        .await;
    reason(&answer, "OutOfTime");
    let answer = world
        .request_within(&world.event("create"), seconds(4))
        .await;
    assert!(
        reason(&answer, "OutOfTime").contains("another run"),
        "{answer}"
    );
    assert_eq!(world.amg.live().tokens, 1, "it is still at work");
}

#[tokio::test]
async fn a_run_that_was_killed_before_it_had_a_token_does_not_block_the_next() {
    let world = World::new(12).await;
    world.amg.add_account("grafana-datasource-setup");
    assert_success(&world.create().await);
    world.assert_no_credential_left();
}

#[tokio::test]
async fn an_account_that_cannot_be_deleted_loses_its_token_at_least() {
    let world = World::new(12).await;
    let delete = "DeleteWorkspaceServiceAccount";
    world.amg.faults().inject_always(delete, Fault::Status(403));
    assert_success(&world.create().await);
    assert_eq!(world.amg.live().tokens, 0);
    assert!(
        world
            .function
            .log()
            .contains("is left in workspace g-0123abcdef")
    );
    world.amg.faults().clear();
    assert_success(&world.create().await);
    world.assert_no_credential_left();
}
