//! People get their roles from lists.

use std::time::Duration;

use serde_json::{Value, json};
use testkit::doubles::faults::Fault;

use crate::grafana_datasource_setup::world::{World, assert_success, reason};

/// A world with Ada, Bob by his user name alone, and a group; none of them has a role.
struct People {
    world: World,
    ada: String,
    bob: String,
    operators: String,
}

impl People {
    async fn new() -> Self {
        Self::with_env(&[]).await
    }

    async fn with_env(env: &[(&'static str, &str)]) -> Self {
        let world = World::with_env(12, env).await;
        Self {
            ada: world
                .identity_center
                .add_user("ada", Some("ada@example.com")),
            bob: world.identity_center.add_user("bob@example.com", None),
            operators: world.identity_center.add_group("GPU operators"),
            world,
        }
    }

    /// A request that gives these lists, and an update of them.
    fn request(&self, case: &str, lists: &Value, old: Option<&Value>) -> Value {
        let mut event = self.world.event(case);
        for (name, list) in lists.as_object().unwrap() {
            event["ResourceProperties"][name] = list.clone();
        }
        for (name, list) in old.into_iter().flat_map(|old| old.as_object().unwrap()) {
            event["OldResourceProperties"][name] = list.clone();
        }
        event
    }

    async fn create(&self, lists: &Value) -> Value {
        self.world
            .request(&self.request("create", lists, None))
            .await
    }

    /// Of the same workspaces.
    async fn update(&self, lists: &Value, old: &Value) -> Value {
        let update = self.request("update-amp-workspace", lists, Some(old));
        self.world.request(&update).await
    }

    async fn delete(&self, lists: &Value) -> Value {
        self.world
            .request(&self.request("delete", lists, None))
            .await
    }

    fn roles(&self) -> Vec<(String, String)> {
        let mut roles = self.world.amg.roles();
        roles.sort();
        roles
    }

    fn assert_roles(&self, expected: &[(&str, &str)]) {
        let mut expected: Vec<_> = expected
            .iter()
            .map(|(id, role)| ((*id).to_owned(), (*role).to_owned()))
            .collect();
        expected.sort();
        assert_eq!(self.roles(), expected, "{}", self.world.function.log());
    }
}

const CHANGE: &str = "UpdatePermissions";

#[tokio::test]
async fn lists_become_roles_and_a_change_of_them_exactly_the_difference() {
    let people = People::new().await;
    let (ada, bob, operators) = (&*people.ada, &*people.bob, &*people.operators);
    let zoe = "aaaaaaaa-0000-4000-8000-00000000000c";
    people.world.amg.give_role(zoe, "ADMIN");
    let first = json!({
        "GrafanaAdmins": "ada@example.com", "GrafanaEditors": "bob@example.com",
        "GrafanaViewers": "group:GPU operators",
    });
    assert_success(&people.create(&first).await);
    let made = [
        (ada, "ADMIN"),
        (bob, "EDITOR"),
        (operators, "VIEWER"),
        (zoe, "ADMIN"),
    ];
    people.assert_roles(&made);
    assert_eq!(people.world.amg.calls(CHANGE), 1);

    assert_success(&people.create(&first).await);
    assert_eq!(people.world.amg.calls(CHANGE), 1, "nothing to change");

    // Bob goes, the group gets another role, Ada stays.
    let second = json!({
        "GrafanaAdmins": "ada@example.com", "GrafanaEditors": "group:GPU operators",
        "GrafanaViewers": "",
    });
    assert_success(&people.update(&second, &first).await);
    people.assert_roles(&[(ada, "ADMIN"), (operators, "EDITOR"), (zoe, "ADMIN")]);

    assert_success(&people.delete(&second).await);
    people.assert_roles(&[(zoe, "ADMIN")]);
    people.world.assert_no_credential_left();
}

#[tokio::test]
async fn an_old_role_that_stays_beside_the_new_one_is_revoked() {
    let people = People::new().await;
    people.world.amg.keep_old_roles();
    people.world.amg.give_role(&people.ada, "ADMIN");
    let lists = json!({"GrafanaViewers": "ada@example.com"});
    assert_success(&people.create(&lists).await);
    people.assert_roles(&[(&people.ada, "VIEWER")]);
}

#[tokio::test]
async fn a_manual_run_adds_and_changes_and_tells_of_each() {
    let lists = [
        ("GRAFANA_ADMINS", "ada@example.com, bob@example.com"),
        ("GRAFANA_VIEWERS", "group:GPU operators,ada@example.com"),
    ];
    let people = People::with_env(&lists).await;
    people.world.amg.give_role(&people.bob, "VIEWER");
    let dry = people
        .world
        .run(r#"{"dryRun":true}"#)
        .await
        .reply()
        .unwrap();
    let expected = |added: &str, changed: &str| {
        json!([
            {"name": "ada@example.com", "role": "ADMIN", "action": added},
            {"name": "bob@example.com", "role": "ADMIN", "action": changed},
            {"name": "group:GPU operators", "role": "VIEWER", "action": added},
        ])
    };
    assert_eq!(dry["people"], expected("added", "changed"));
    assert_eq!(people.world.amg.calls(CHANGE), 0);
    for (added, changed) in [("added", "changed"), ("unchanged", "unchanged")] {
        let reply = people.world.run("").await.reply().unwrap();
        assert_eq!(reply["people"], expected(added, changed));
    }
    assert!(
        people
            .world
            .function
            .log()
            .contains("ada@example.com, ADMIN: added")
    );
}

#[tokio::test]
async fn nobody_asked_for_is_nobody_looked_up() {
    let people = People::new().await;
    people.world.identity_center.switch_off();
    people.world.run("").await.reply().unwrap();
    assert_success(&people.create(&json!({"GrafanaAdmins": ""})).await);
    assert_success(&people.delete(&json!({})).await);
    assert_eq!(people.world.identity_center.calls(), [""; 0]);
    assert_eq!(people.world.amg.calls("ListPermissions"), 0);
}

#[tokio::test]
async fn ids_need_no_identity_center() {
    let people = People::new().await;
    people.world.identity_center.switch_off();
    let id = "aaaaaaaa-0000-4000-8000-00000000000c";
    assert_success(&people.create(&json!({"GrafanaAdmins": id})).await);
    people.assert_roles(&[(id, "ADMIN")]);
}

#[tokio::test]
async fn unknown_people_are_told_all_at_once_before_anything_is_done() {
    let people = People::new().await;
    people.world.amg.give_role(&people.ada, "ADMIN");
    let lists = json!({
        "GrafanaAdmins": "ada@example.com,eve@example.com", "GrafanaViewers": "group:Nobody",
    });
    let answer = people.create(&lists).await;
    let reason = reason(&answer, "UnknownPeople");
    assert!(reason.contains("eve@example.com, group:Nobody"), "{reason}");
    assert!(!reason.contains("ada@"), "{reason}");
    assert_eq!(answer["PhysicalResourceId"], "amg/nothing-made");
    assert_eq!(people.world.grafana.writes(), [""; 0]);
    // The roll-back takes nothing from those who had their role before.
    let mut delete = people.request("delete", &lists, None);
    delete["PhysicalResourceId"] = answer["PhysicalResourceId"].clone();
    assert_success(&people.world.request(&delete).await);
    people.assert_roles(&[(&people.ada, "ADMIN")]);
}

#[tokio::test]
async fn identity_center_that_is_off_is_told_with_the_way_to_switch_it_on() {
    let people = People::with_env(&[("GRAFANA_ADMINS", "ada@example.com")]).await;
    people.world.identity_center.switch_off();
    let (error_type, message) = people.world.run("").await.error().unwrap();
    assert_eq!(error_type, "IdentityCenterOff");
    assert!(
        message.contains("console.aws.amazon.com/singlesignon"),
        "{message}"
    );
    assert!(message.contains("Enable"), "{message}");
}

#[tokio::test]
async fn a_list_that_nobody_can_read_is_told_entry_by_entry() {
    let people = People::new().await;
    let answer = people
        .create(&json!({"GrafanaEditors": "ada, group:"}))
        .await;
    let reason = reason(&answer, "InvalidConfiguration");
    assert!(reason.contains("GrafanaEditors"), "{reason}");
    assert!(reason.contains("\"ada\" is no e-mail address"), "{reason}");
}

#[tokio::test]
async fn a_refusal_inside_an_answer_of_200_is_told_and_names_the_person() {
    let people = People::new().await;
    people.world.amg.refuse_role_of(&people.bob);
    let lists = json!({"GrafanaAdmins": "ada@example.com,bob@example.com"});
    let answer = people.create(&lists).await;
    let status = people_status(&answer, "RolesRefused");
    assert!(
        status.contains("bob@example.com (400 Unable to update users in managed application)"),
        "{status}"
    );
    assert!(!status.contains("ada@"), "{status}");
    people.assert_roles(&[(&people.ada, "ADMIN")]);
}

/// Everything but people's roles is set up, and the stack is told why.
#[track_caller]
fn people_status<'a>(answer: &'a Value, error_type: &str) -> &'a str {
    assert_success(answer);
    assert_eq!(answer["Data"]["DataSourceHealth"], "OK");
    let status = answer["Data"]["GrafanaPeopleStatus"].as_str().unwrap();
    assert!(status.starts_with(&format!("{error_type}: ")), "{status}");
    status
}

#[tokio::test]
async fn a_change_that_shows_late_is_waited_for_and_made_once() {
    let people = People::new().await;
    people.world.amg.set_role_lag(3);
    assert_success(
        &people
            .create(&json!({"GrafanaAdmins": "ada@example.com"}))
            .await,
    );
    assert_eq!(people.world.amg.calls(CHANGE), 1);
    assert_eq!(people.world.amg.calls("ListPermissions"), 1 + 3 + 1);
}

#[tokio::test]
async fn a_change_that_never_shows_ends_in_time() {
    let people = People::new().await;
    people.world.amg.set_role_lag(usize::MAX);
    let create = people.request("create", &json!({"GrafanaAdmins": "ada@example.com"}), None);
    let limit = Duration::from_secs(4);
    let answer = people.world.request_within(&create, limit).await;
    let reason = reason(&answer, "OutOfTime");
    assert!(reason.contains("roles of the workspace"), "{reason}");
}

#[tokio::test]
async fn many_people_are_changed_in_batches() {
    let people = People::new().await;
    let addresses: Vec<_> = (0..45).map(|n| format!("user{n}@example.com")).collect();
    for address in &addresses {
        people
            .world
            .identity_center
            .add_user(address, Some(address));
    }
    let lists = json!({"GrafanaViewers": addresses.join(",")});
    assert_success(&people.create(&lists).await);
    assert_eq!(people.roles().len(), 45);
    assert_eq!(people.world.amg.calls(CHANGE), 3);
    assert_success(&people.delete(&lists).await);
    assert_eq!(people.roles(), []);
}

#[tokio::test]
async fn whoever_left_the_organisation_does_not_hold_up_an_update_or_a_delete() {
    let people = People::new().await;
    let lists = json!({"GrafanaAdmins": "ada@example.com,bob@example.com"});
    assert_success(&people.create(&lists).await);
    people.world.identity_center.remove_user("ada");
    let rest = json!({"GrafanaAdmins": "bob@example.com"});
    assert_success(&people.update(&rest, &lists).await);
    people.world.identity_center.switch_off();
    assert_success(&people.delete(&rest).await);
}

#[tokio::test]
async fn a_replacement_keeps_the_roles_that_its_clean_up_is_asked_to_take() {
    let people = People::new().await;
    let lists = json!({"GrafanaAdmins": "ada@example.com"});
    assert_success(&people.create(&lists).await);
    let mut moved = people.request("update-amp-workspace", &lists, Some(&lists));
    moved["ResourceProperties"]["DataSourceUid"] = json!("gpus");
    let answer = people.world.request(&moved).await;
    assert_eq!(answer["PhysicalResourceId"], "amg/g-0123abcdef/gpus");
    assert_success(&people.delete(&lists).await);
    people.assert_roles(&[(&people.ada, "ADMIN")]);
    let mut delete = people.request("delete", &lists, None);
    delete["PhysicalResourceId"] = answer["PhysicalResourceId"].clone();
    assert_success(&people.world.request(&delete).await);
    people.assert_roles(&[]);
}

#[tokio::test]
async fn a_role_given_by_hand_since_is_left_alone() {
    let people = People::new().await;
    let lists = json!({"GrafanaViewers": "ada@example.com"});
    assert_success(&people.create(&lists).await);
    people.world.amg.keep_old_roles();
    people.world.amg.give_role(&people.ada, "EDITOR");
    assert_success(&people.delete(&lists).await);
    people.assert_roles(&[(&people.ada, "EDITOR")]);
}

#[tokio::test]
async fn services_that_throttle_or_fail_at_times_are_asked_again() {
    let people = People::new().await;
    for operation in ["ListInstances", "GetUserId"] {
        let faults = people.world.identity_center.faults();
        faults.inject(operation, 1, Fault::Status(429));
        faults.inject(operation, 1, Fault::Status(500));
    }
    for operation in ["ListPermissions", CHANGE] {
        people
            .world
            .amg
            .faults()
            .inject(operation, 1, Fault::Status(429));
        people
            .world
            .amg
            .faults()
            .inject(operation, 1, Fault::StatusAfter(500));
    }
    assert_success(
        &people
            .create(&json!({"GrafanaAdmins": "ada@example.com"}))
            .await,
    );
    people.assert_roles(&[(&people.ada, "ADMIN")]);
}

#[tokio::test]
async fn a_missing_permission_of_the_function_is_told_by_its_action_and_stops_nothing_else() {
    for (operation, action) in [
        ("ListInstances", "sso:ListInstances"),
        ("GetUserId", "identitystore:GetUserId"),
        ("ListPermissions", "grafana:ListPermissions"),
        (CHANGE, "grafana:UpdatePermissions"),
    ] {
        let people = People::new().await;
        let lists = json!({"GrafanaAdmins": "ada@example.com"});
        for faults in [
            people.world.identity_center.faults(),
            people.world.amg.faults(),
        ] {
            faults.inject_always(operation, Fault::Status(403));
        }
        let answer = people.create(&lists).await;
        let status = people_status(&answer, "AccessDenied");
        assert!(status.contains(action), "{status}");
        let log = people.world.function.log();
        assert!(
            log.contains("are not as they should be: AccessDenied"),
            "{log}"
        );
        assert_success(&people.delete(&lists).await);
        assert_eq!(people.world.grafana.sources().len(), 1);

        // Once it is granted, the next run makes up for it.
        people.world.identity_center.faults().clear();
        people.world.amg.faults().clear();
        let answer = people.create(&lists).await;
        assert_eq!(answer["Data"]["GrafanaPeopleStatus"], "OK");
        people.assert_roles(&[(&people.ada, "ADMIN")]);
    }
}

/// An account of the organisation may have made an instance for itself, where nobody is.
#[tokio::test]
async fn every_instance_of_identity_center_is_asked_and_the_organisations_first() {
    let people = People::new().await;
    people.world.identity_center.add_account_instance();
    people.world.identity_center.add_group("GPU users");
    let lists = json!({"GrafanaAdmins": "ada@example.com", "GrafanaViewers": "group:GPU users"});
    let answer = people.create(&lists).await;
    assert_eq!(answer["Data"]["GrafanaPeopleStatus"], "OK", "{answer}");
    let calls = people.world.identity_center.calls();
    assert_eq!(calls, ["ListInstances", "GetUserId", "GetGroupId"]);

    let answer = people
        .create(&json!({"GrafanaAdmins": "eve@example.com"}))
        .await;
    let reason = reason(&answer, "UnknownPeople");
    let asked = "asked: directory d-9067641234 in eu-west-1 of account 999988887777, directory \
                 d-1111111111 in us-east-2 of account 123456789012";
    assert!(reason.contains(asked), "{reason}");
}

/// As CloudFormation hands on a list of a template.
#[tokio::test]
async fn a_list_of_a_template_is_understood() {
    let people = People::new().await;
    let list = json!({"GrafanaAdmins": ["ada@example.com", "bob@example.com"]});
    let answer = people.create(&list).await;
    assert_success(&answer);
    people.assert_roles(&[(&people.ada, "ADMIN"), (&people.bob, "ADMIN")]);
    assert_success(&people.delete(&list).await);
    people.assert_roles(&[]);
}

#[tokio::test]
async fn an_identity_center_that_never_answers_fails_in_time() {
    let people = People::new().await;
    let faults = people.world.identity_center.faults();
    faults.inject_always("GetUserId", Fault::Hang);
    let create = people.request("create", &json!({"GrafanaAdmins": "ada@example.com"}), None);
    let limit = Duration::from_secs(4);
    let answer = people.world.request_within(&create, limit).await;
    assert!(
        reason(&answer, "OutOfTime").contains("ada@example.com"),
        "{answer}"
    );
}
