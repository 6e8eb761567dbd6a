//! No step by hand in Grafana: what one deploy leaves there, what a change of the lists changes, and
//! what is left once the stack is gone.

use crate::rehearsal::UID;
use crate::rehearsal::world::{STACK, World};

const CLOUDWATCH: &str = "amazon-cloudwatch";
const DASHBOARDS: [&str; 5] = [
    "gpu-cluster",
    "gpu-health",
    "gpu-efficiency",
    "gpu-node",
    "gpu-pipeline",
];

#[tokio::test]
async fn one_deploy_leaves_nothing_to_do_in_grafana() {
    let world = World::start().await;
    let directory = &world.account.identity_center;
    let ada = directory.add_user("ada", Some("ada@example.com"));
    let bob = directory.add_user("bob@example.com", None);
    let operators = directory.add_group("GPU operators");
    let by_hand = "aaaaaaaa-0000-4000-8000-00000000000c";
    world.account.amg.give_role(by_hand, "ADMIN");

    let lists = lists("ada@example.com", "group:GPU operators,bob@example.com");
    world.create_monitoring(&refer(&lists)).await.unwrap();
    assert_grafana_is_ready(&world).await;
    assert_roles(
        &world,
        &[
            (by_hand, "ADMIN"),
            (&ada, "ADMIN"),
            (&operators, "VIEWER"),
            (&bob, "VIEWER"),
        ],
    );

    // Bob becomes an administrator, Ada leaves, the group stays.
    let lists = self::lists("bob@example.com", "group:GPU operators");
    world.update_monitoring(&refer(&lists)).await.unwrap();
    assert_roles(
        &world,
        &[(by_hand, "ADMIN"), (&operators, "VIEWER"), (&bob, "ADMIN")],
    );
    assert_grafana_is_ready(&world).await;

    let delete = ["delete-stack", "--stack-name", STACK];
    assert_eq!(world.account.change(STACK, &delete).await.unwrap(), None);
    let grafana = &world.account.grafana;
    assert_eq!(grafana.sources().len(), 0);
    assert_eq!(grafana.dashboards(), []);
    assert_eq!(grafana.folders(), []);
    assert_roles(&world, &[(by_hand, "ADMIN")]);

    // A misspelt address undoes the deploy, and is named.
    let lists = self::lists("eve@example.com", "");
    let state = world.create_monitoring(&refer(&lists)).await.unwrap_err();
    assert_eq!(state, "ROLLBACK_COMPLETE");
    let reasons = world.make("failures", &[]).await;
    assert!(
        reasons.contains("doesn't know eve@example.com"),
        "{reasons}"
    );
    assert_eq!(grafana.sources().len(), 0);
}

/// As the CLI takes them, in which a comma has to be quoted.
fn lists(admins: &str, viewers: &str) -> [String; 2] {
    [admins, viewers].map(|list| format!("\"{list}\""))
}

fn refer([admins, viewers]: &[String; 2]) -> [(&str, &str); 2] {
    [("GrafanaAdmins", admins), ("GrafanaViewers", viewers)]
}

async fn assert_grafana_is_ready(world: &World) {
    let grafana = &world.account.grafana;
    assert_eq!(grafana.defaults(), [UID]);
    let cloudwatch = grafana.source(CLOUDWATCH).unwrap();
    assert_eq!(cloudwatch["name"], "Amazon CloudWatch");
    let there: Vec<_> = grafana
        .dashboards()
        .into_iter()
        .map(|(folder, content)| (folder, content["uid"].as_str().unwrap().to_owned()))
        .collect();
    let expected = DASHBOARDS.map(|uid| ("gpu-monitoring".to_owned(), uid.to_owned()));
    assert_eq!(there, expected);
    let folder = ("gpu-monitoring".to_owned(), "GPU monitoring".to_owned());
    assert_eq!(grafana.folders(), [folder]);
    let told = world.account.output(STACK, "GrafanaDashboardsUrl").await;
    let expected = format!("{}/dashboards?tag=gpu", grafana.url());
    assert_eq!(told.unwrap(), expected);
}

fn assert_roles(world: &World, expected: &[(&str, &str)]) {
    let mut found = world.account.amg.roles();
    found.sort();
    let mut expected: Vec<_> = expected
        .iter()
        .map(|(id, role)| ((*id).to_owned(), (*role).to_owned()))
        .collect();
    expected.sort();
    assert_eq!(found, expected);
}
