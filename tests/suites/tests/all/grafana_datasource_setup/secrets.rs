//! Nothing secret in any log line, answer or reply, at the most talkative level.

use testkit::doubles::faults::Fault;
use testkit::doubles::response_url::SIGNATURE;
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::Outcome;

use crate::grafana_datasource_setup::world::World;

#[tokio::test]
async fn a_trace_log_has_no_secret_in_it() {
    for format in ["JSON", "Text"] {
        for major in [8, 12] {
            let env = [
                ("AWS_LAMBDA_LOG_LEVEL", "TRACE"),
                ("AWS_LAMBDA_LOG_FORMAT", format),
                ("RUST_LOG", "trace"),
            ];
            let world = World::with_env(major, &env).await;
            let mut said = String::new();
            let mut note = |outcome: Outcome| said += &format!("{outcome:?}\n");

            note(world.run(&world.event("create").to_string()).await);
            note(world.run("").await);
            // Failures are where payloads get printed.
            world
                .grafana
                .faults()
                .inject("GET /api/datasources", 1, Fault::Status(401));
            world
                .grafana
                .faults()
                .inject("PUT /api/datasources/uid/:uid", 3, Fault::Status(409));
            world.bucket.faults().inject("PUT", 2, Fault::Status(503));
            note(
                world
                    .run(&world.event("update-amp-workspace").to_string())
                    .await,
            );
            world.bucket.faults().inject("PUT", 1, Fault::Status(403));
            let undelivered = world.run(&world.event("delete").to_string()).await;
            assert!(
                matches!(undelivered, Outcome::Error { .. }),
                "{undelivered:?}"
            );
            note(undelivered);

            said += &world.function.log();
            said += &format!("{:?}", world.bucket.accepted());
            assert!(said.contains("DEBUG"), "the level took effect: {said}");
            let credentials = Credentials::example();
            let mut secrets = world.amg.secrets();
            assert!(secrets.len() >= 4, "{secrets:?}");
            secrets.push(SIGNATURE.to_owned());
            secrets.push("X-Amz-Signature".to_owned());
            secrets.push("hunter2".to_owned());
            secrets.push(credentials.secret_access_key);
            secrets.extend(credentials.session_token);
            for secret in secrets {
                assert!(!said.contains(&secret), "{secret} in {said}");
            }
        }
    }
}
