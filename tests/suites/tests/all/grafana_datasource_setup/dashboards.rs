//! The folder of dashboards: made, updated, left alone where a person has changed something.

use serde_json::{Value, json};
use testkit::doubles::faults::Fault;

use crate::grafana_datasource_setup::world::{PLUGIN, UID, World, assert_success};

const SAVE: &str = "POST /api/dashboards/db";
/// The dashboards, in the order of the reply, each with the end of its uid and its title.
const DASHBOARDS: [(&str, &str); 5] = [
    ("cluster", "GPU cluster"),
    ("health", "GPU health"),
    ("efficiency", "GPU efficiency"),
    ("node", "GPU node"),
    ("pipeline", "GPU metrics pipeline"),
];
pub(crate) const ALL: usize = DASHBOARDS.len();

/// The folder.
const FOLDER: &str = "gpu-monitoring";

fn uid(end: &str) -> String {
    format!("gpu-{end}")
}

/// `create.json` with dashboards asked for.
fn create(world: &World) -> Value {
    let mut event = world.event("create");
    event["ResourceProperties"]["DashboardFolder"] = json!("GPU monitoring");
    event
}

async fn run(world: &World) -> Value {
    world.run("").await.reply().unwrap()
}

async fn world(major: u32) -> World {
    World::with_env(major, &[("DASHBOARD_FOLDER", "GPU monitoring")]).await
}

fn actions(reply: &Value) -> Vec<&str> {
    let dashboards = reply["dashboards"].as_array().unwrap();
    let actions = dashboards.iter().map(|dashboard| &dashboard["action"]);
    actions.map(|action| action.as_str().unwrap()).collect()
}

/// An action on every dashboard, but another one on the dashboard with that end.
fn all_but(end: &str, other: &'static str, action: &'static str) -> [&'static str; ALL] {
    DASHBOARDS.map(|(each, _)| if each == end { other } else { action })
}

/// What the browser sends when a person has changed one of our dashboards.
fn by_hand(world: &World, end: &str, title: &str) -> Value {
    let mut content = world.grafana.dashboard(&uid(end)).unwrap();
    content["title"] = json!(title);
    json!({"dashboard": content, "folderUid": FOLDER, "message": ""})
}

fn change_by_hand(world: &World, end: &str, title: &str) {
    let body = by_hand(world, end, title);
    world.grafana.save_as_person("/api/dashboards/db", &body);
}

#[tokio::test]
async fn every_version_gets_the_folder_and_its_dashboards_and_gives_them_back() {
    for (major, source_type) in [(10, "prometheus"), (12, PLUGIN), (13, PLUGIN)] {
        let world = World::new(major).await;
        let answer = world.request(&create(&world)).await;
        assert_success(&answer);
        let url = format!("{}/dashboards/f/{FOLDER}", world.grafana.url());
        assert_eq!(answer["Data"]["DashboardsUrl"], url);
        let folder = (FOLDER.to_owned(), "GPU monitoring".to_owned());
        assert_eq!(world.grafana.folders(), [folder]);
        let there = world.grafana.dashboards();
        let found: Vec<_> = there
            .iter()
            .map(|(folder, content)| (&**folder, content["uid"].as_str().unwrap().to_owned()))
            .collect();
        assert_eq!(
            found,
            DASHBOARDS.map(|(end, _)| (FOLDER, uid(end))),
            "Grafana {major}"
        );
        for (_, content) in there {
            let source = json!({"type": source_type, "uid": "${datasource}"});
            assert_eq!(content["panels"][1]["datasource"], source);
            let variable = &content["templating"]["list"][0];
            assert_eq!(variable["query"], source_type);
            assert_eq!(variable["current"]["value"], UID);
        }

        world.grafana.forget_requests();
        assert_success(&world.request(&create(&world)).await);
        assert_eq!(world.grafana.writes(), [""; 0], "Grafana {major}, again");

        assert_success(&world.request(&world.event("delete")).await);
        assert_eq!(world.grafana.folders(), []);
        assert_eq!(world.grafana.dashboards(), []);
        assert_eq!(world.grafana.sources().len(), 1);
        world.assert_no_credential_left();
    }
}

#[tokio::test]
async fn a_manual_run_tells_what_became_of_each() {
    let world = world(12).await;
    for action in ["created", "unchanged"] {
        let reply = run(&world).await;
        assert_eq!(
            reply["folder"],
            json!({
                "uid": FOLDER, "title": "GPU monitoring", "action": action,
                "url": format!("{}/dashboards/f/{FOLDER}", world.grafana.url()),
            })
        );
        let expected = DASHBOARDS
            .map(|(end, title)| json!({"uid": uid(end), "title": title, "action": action}));
        assert_eq!(reply["dashboards"], json!(expected));
    }
}

#[tokio::test]
async fn a_dry_run_tells_and_writes_nothing() {
    let world = world(12).await;
    let reply = world.run(r#"{"dryRun":true}"#).await.reply().unwrap();
    assert_eq!(reply["folder"]["action"], "created");
    assert_eq!(actions(&reply), ["created"; ALL]);
    assert_eq!(world.grafana.writes(), [""; 0]);
}

#[tokio::test]
async fn what_a_person_has_changed_is_kept_and_told() {
    for major in [10, 13] {
        let world = world(major).await;
        run(&world).await;
        change_by_hand(&world, "node", "My nodes");
        world.grafana.forget_requests();

        let reply = run(&world).await;
        assert_eq!(actions(&reply), all_but("node", "kept", "unchanged"));
        assert_eq!(world.grafana.writes(), [""; 0]);
        let log = world.function.log();
        assert!(log.contains("kept as a person has changed it"), "{log}");

        assert_success(&world.request(&world.event("delete")).await);
        let left = world.grafana.dashboards();
        let [(folder, content)] = &left[..] else {
            panic!("{left:?}")
        };
        assert_eq!((&**folder, &content["title"]), (FOLDER, &json!("My nodes")));
        assert_eq!(world.grafana.folders().len(), 1, "it is in there");
    }
}

#[tokio::test]
async fn with_overwrite_ours_is_saved_over_a_persons_once() {
    let world = World::new(12).await;
    assert_success(&world.request(&create(&world)).await);
    change_by_hand(&world, "node", "My nodes");
    let mut overwrite = create(&world);
    overwrite["ResourceProperties"]["DashboardOverwrite"] = json!("true");
    world.grafana.forget_requests();
    assert_success(&world.request(&overwrite).await);
    assert_eq!(
        world.grafana.dashboard(&uid("node")).unwrap()["title"],
        "GPU node"
    );
    assert_eq!(world.grafana.writes(), [SAVE]);

    world.grafana.forget_requests();
    assert_success(&world.request(&overwrite).await);
    assert_eq!(world.grafana.writes(), [""; 0]);
}

#[tokio::test]
async fn another_content_of_ours_is_saved_where_the_dashboard_is_now() {
    let world = world(10).await;
    run(&world).await;
    let team = json!({"uid": "team", "title": "Team"});
    world.grafana.save_as_person("/api/folders", &team);
    // Grafana moves a dashboard without touching what was said of it.
    let mut moved = by_hand(&world, "node", "GPU node");
    moved["folderUid"] = json!("team");
    moved["message"] = json!(format!(
        "written by grafana-datasource-setup for {UID}, content 0"
    ));
    world.grafana.save_as_person("/api/dashboards/db", &moved);
    // An upgrade changes the type of the data source that dashboards name.
    world.grafana.upgrade(12);
    world.amg.set_version(12);
    let reply = run(&world).await;
    assert_eq!(actions(&reply), ["updated"; ALL]);
    let there = world.grafana.dashboards();
    let folders: Vec<_> = there.iter().map(|(folder, _)| &**folder).collect();
    assert_eq!(folders, all_but("node", "team", FOLDER));
    for (_, content) in there {
        assert_eq!(content["panels"][1]["datasource"]["type"], PLUGIN);
    }
}

#[tokio::test]
async fn a_save_in_between_is_not_written_over() {
    let world = world(10).await;
    run(&world).await;
    // All are to be saved again, and a person is faster with the first.
    world.grafana.upgrade(12);
    world.amg.set_version(12);
    let persons = by_hand(&world, "cluster", "Mine");
    world.grafana.save_as_person_in_between(&persons);
    let reply = run(&world).await;
    assert_eq!(actions(&reply), all_but("cluster", "kept", "updated"));
    let cluster = world.grafana.dashboard(&uid("cluster")).unwrap();
    assert_eq!(cluster["title"], "Mine");
}

#[tokio::test]
async fn a_save_whose_answer_is_lost_counts_as_made() {
    let world = world(12).await;
    world
        .grafana
        .faults()
        .inject(SAVE, 1, Fault::StatusAfter(500));
    world
        .grafana
        .faults()
        .inject("POST /api/folders", 1, Fault::StatusAfter(500));
    let reply = run(&world).await;
    assert_eq!(reply["folder"]["action"], "created");
    assert_eq!(actions(&reply), ["created"; ALL]);
    assert_eq!(world.grafana.dashboards().len(), ALL);
}

#[tokio::test]
async fn a_dashboard_that_grafana_never_takes_fails_the_run_with_its_words() {
    let world = World::new(12).await;
    world
        .grafana
        .faults()
        .inject_always(SAVE, Fault::Status(412));
    let answer = world.request(&create(&world)).await;
    let reason = crate::grafana_datasource_setup::world::reason(&answer, "GrafanaRejected");
    assert!(reason.contains("POST /api/dashboards/db: 412"), "{reason}");
    world.assert_no_credential_left();
    world.grafana.faults().clear();
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.folders(), []);
}

#[tokio::test]
async fn a_persons_folder_of_that_title_is_used_and_stays() {
    let world = world(10).await;
    world.grafana.save_as_person(
        "/api/folders",
        &json!({"uid": "team", "title": "GPU monitoring"}),
    );
    let reply = run(&world).await;
    assert_eq!(reply["folder"]["uid"], "team");
    assert_eq!(reply["folder"]["action"], "unchanged");
    assert_eq!(world.grafana.dashboards()[0].0, "team");
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.dashboards(), []);
    assert_eq!(world.grafana.folders().len(), 1);
}

#[tokio::test]
async fn a_folder_with_something_of_a_person_in_it_stays() {
    let world = world(12).await;
    run(&world).await;
    world.grafana.put_into_folder(FOLDER);
    assert_success(&world.request(&world.event("delete")).await);
    assert_eq!(world.grafana.folders().len(), 1);
    assert_eq!(world.grafana.dashboards(), []);
    assert!(world.function.log().contains("left folder"));
}

#[tokio::test]
async fn a_renamed_folder_is_found_by_its_uid() {
    let world = World::new(12).await;
    assert_success(&world.request(&create(&world)).await);
    let mut renamed = create(&world);
    renamed["ResourceProperties"]["DashboardFolder"] = json!("Machines");
    assert_success(&world.request(&renamed).await);
    assert_eq!(world.grafana.folders().len(), 1);
}

#[tokio::test]
async fn another_uid_takes_the_dashboards_along() {
    let world = World::new(10).await;
    assert_success(&world.request(&create(&world)).await);
    let mut moved = create(&world);
    moved["ResourceProperties"]["DataSourceUid"] = json!("gpus");
    assert_success(&world.request(&moved).await);
    assert_success(&world.request(&world.event("delete")).await);
    let there = world.grafana.dashboards();
    assert_eq!(there.len(), ALL, "the clean-up of the old id");
    for (_, content) in there {
        assert_eq!(content["templating"]["list"][0]["current"]["value"], "gpus");
    }
    let mut delete = world.event("delete");
    delete["PhysicalResourceId"] = json!("amg/g-0123abcdef/gpus");
    assert_success(&world.request(&delete).await);
    assert_eq!(world.grafana.folders(), []);
    assert_eq!(world.grafana.dashboards(), []);
}

#[tokio::test]
async fn grafana_9_gets_a_data_source_and_no_dashboards() {
    let world = world(9).await;
    let reply = run(&world).await;
    assert_eq!(reply["dataSource"]["action"], "created");
    assert!(
        reply["folder"].is_null() && reply["dashboards"].is_null(),
        "{reply}"
    );
    assert_eq!(world.grafana.folders(), []);
    assert!(
        world
            .function
            .log()
            .contains("no dashboards: they need Grafana 10")
    );
}

/// With the data source of the Grafana before, whose type has another name.
#[tokio::test]
async fn untouched_dashboards_are_known_without_a_history() {
    for before in [10, 12] {
        let world = world(before).await;
        run(&world).await;
        change_by_hand(&world, "node", "My nodes");
        world.grafana.upgrade(13);
        world.amg.set_version(13);
        let reply = run(&world).await;
        assert_eq!(
            actions(&reply),
            all_but("node", "unknown", "updated"),
            "{before}"
        );
        // Saved once more, they have a history again.
        assert_eq!(
            actions(&run(&world).await),
            all_but("node", "unknown", "unchanged")
        );
        assert_eq!(
            world.grafana.dashboard(&uid("node")).unwrap()["title"],
            "My nodes"
        );
        let log = world.function.log();
        let told = "Grafana has no history that tells whether a person has changed it; \
                    DASHBOARD_OVERWRITE=true saves ours over it";
        assert_eq!(log.matches(told).count(), 2, "{log}");
    }
}

#[tokio::test]
async fn a_delete_without_a_history_takes_what_is_untouched_and_tells_how_to_remove_the_rest() {
    for (overwrite, left) in [("false", vec![uid("node")]), ("true", vec![])] {
        let world = world(12).await;
        assert_success(&world.request(&create(&world)).await);
        change_by_hand(&world, "node", "My nodes");
        world.grafana.upgrade(13);
        world.amg.set_version(13);
        let mut delete = world.event("delete");
        delete["ResourceProperties"]["DashboardOverwrite"] = json!(overwrite);
        assert_success(&world.request(&delete).await);
        let uids = world.grafana.dashboards().into_iter();
        let uids: Vec<_> = uids.map(|(_, content)| content["uid"].clone()).collect();
        assert_eq!(uids, left, "DashboardOverwrite {overwrite}");
        let log = world.function.log();
        let told = log.contains("left dashboard gpu-node: Grafana has no history")
            && log.contains("set DashboardOverwrite to true");
        assert_eq!(told, !left.is_empty(), "{log}");
    }
}

#[tokio::test]
async fn a_folder_that_somebody_moved_is_found_and_left_where_it_is() {
    for major in [10, 12, 13] {
        let world = world(major).await;
        let others = json!({"uid": "others", "title": "Others"});
        world.grafana.save_as_person("/api/folders", &others);
        assert_success(&world.request(&create(&world)).await);
        world.grafana.move_folder(FOLDER, "others");
        let reply = run(&world).await;
        assert_eq!(reply["folder"]["action"], "unchanged", "Grafana {major}");
        assert_eq!(actions(&reply), ["unchanged"; ALL]);
        assert_success(&world.request(&create(&world)).await);
        assert_success(&world.request(&world.event("delete")).await);
        let others = ("others".to_owned(), "Others".to_owned());
        assert_eq!(world.grafana.folders(), [others], "Grafana {major}");
    }
}

#[tokio::test]
async fn a_folder_of_the_title_is_found_among_more_than_a_page_of_them() {
    let world = world(10).await;
    for index in 0..1_000 {
        let folder = json!({"uid": format!("f{index}"), "title": format!("Folder {index}")});
        world.grafana.save_as_person("/api/folders", &folder);
    }
    let ours = json!({"uid": "persons", "title": "GPU monitoring"});
    world.grafana.save_as_person("/api/folders", &ours);
    let reply = run(&world).await;
    assert_eq!(reply["folder"]["uid"], "persons", "{reply}");
}
