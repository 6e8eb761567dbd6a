//! The credential's one way that no event leads to: a panic while it is lent.

use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_sdk_grafana::Client;
use grafana_datasource_setup::{
    credential::with_credential,
    error::SetupError,
    workspace::{Version, Workspace},
};
use startup::Deadline;
use suites::sdk;
use testkit::doubles::managed_grafana::{Live, WORKSPACE_ID};
use testkit::doubles::sigv4;
use testkit::lambda::REGION;

use crate::grafana_datasource_setup::world::World;

#[tokio::test]
async fn a_panic_gives_the_credential_back() {
    for (major, version) in [(8, "8.4"), (12, "12.4")] {
        let world = World::new(major).await;
        let keys = sigv4::Credentials::example();
        let config = sdk::config(world.amg.url(), REGION, keys, RetryConfig::standard());
        let workspace = Workspace {
            id: WORKSPACE_ID.to_owned(),
            endpoint: world.grafana.url(),
            version: Version::parse(version).unwrap(),
        };
        let now = SystemTime::now();
        let deadline = Deadline::new(now, now + Duration::from_secs(60));
        let client = Client::new(&config);
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
