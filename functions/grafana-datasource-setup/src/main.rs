//! Wiring: the log, the clients, the runtime loop.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use grafana_datasource_setup::grafana::http_client;
use grafana_datasource_setup::handler::Setup;
use grafana_datasource_setup::identity_center::IdentityCenter;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    startup::log(&["grafana_datasource_setup"]);
    let http = match http_client() {
        Ok(http) => http,
        Err(error) => return Err(startup::report_init_error("InitFailed", error).await),
    };
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(Duration::from_secs(8))
        .operation_timeout(Duration::from_secs(30))
        .build();
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(startup::sdk_http(http.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(4))
        .timeout_config(timeouts)
        .load()
        .await;
    let setup = Setup {
        client: aws_sdk_grafana::Client::new(&aws),
        identity_center: IdentityCenter {
            sso: aws_sdk_ssoadmin::Client::new(&aws),
            directory: aws_sdk_identitystore::Client::new(&aws),
        },
        http,
        variables: startup::process_variable,
    };
    startup::serve(|event| setup.handle(event, now())).await
}

#[expect(
    clippy::disallowed_methods,
    reason = "the edge where the time comes in"
)]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
