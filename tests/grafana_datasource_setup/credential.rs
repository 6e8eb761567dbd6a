//! The credential's one way that no event leads to: a panic while it is lent.

use std::time::{Duration, SystemTime};

use aws_config::{BehaviorVersion, Region};
use aws_sdk_grafana::{Client, Config, config::Credentials};
use grafana_datasource_setup::{
    credential::with_credential,
    deadline::Deadline,
    error::SetupError,
    workspace::{Version, Workspace},
};
use harness::{
    lambda::REGION,
    managed_grafana::{Live, WORKSPACE_ID},
    sigv4,
};

use crate::world::World;

#[tokio::test]
async fn a_panic_gives_the_credential_back() {
    for (major, version) in [(8, "8.4"), (12, "12.4")] {
        let world = World::new(major).await;
        let keys = sigv4::Credentials::example();
        let (id, secret) = (keys.access_key_id, keys.secret_access_key);
        let config = Config::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(startup::sdk_http(reqwest::Client::new()))
            .credentials_provider(Credentials::new(
                id,
                secret,
                keys.session_token,
                None,
                "test",
            ))
            .region(Region::new(REGION))
            .endpoint_url(world.amg.url());
        let workspace = Workspace {
            id: WORKSPACE_ID.to_owned(),
            endpoint: world.grafana.url(),
            version: Version::parse(version).unwrap(),
        };
        let now = SystemTime::now();
        let deadline = Deadline::new(now, now + Duration::from_secs(60));
        let client = Client::from_conf(config.build());
        let mut lent = Live::default();
        let outcome: Result<(), _> =
            with_credential(&client, &workspace, &deadline, async |_, _| {
                lent = world.amg.live();
                panic!("a bug")
            })
            .await;
        assert!(
            matches!(outcome, Err(SetupError::Panicked { .. })),
            "{outcome:?}"
        );
        assert_ne!(lent, Live::default(), "there was something to give back");
        world.assert_no_credential_left();
    }
}
