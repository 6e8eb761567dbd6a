//! The function with its clients, ready for its first run.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::grafana::http_client;
use crate::handler::Setup;
use crate::people::identity_center::IdentityCenter;
use crate::run::Clients;

const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(8);
const OPERATION_TIMEOUT: Duration = Duration::from_secs(30);
const MAX_ATTEMPTS: u32 = 4;

/// Connects the function to its services, and to the process's environment.
///
/// # Errors
/// The TLS library can't start.
pub async fn connect() -> reqwest::Result<Setup> {
    let http = http_client()?;
    let timeouts = TimeoutConfig::builder()
        .operation_attempt_timeout(ATTEMPT_TIMEOUT)
        .operation_timeout(OPERATION_TIMEOUT)
        .build();
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(startup::sdk_http(http.clone()))
        .retry_config(RetryConfig::standard().with_max_attempts(MAX_ATTEMPTS))
        .timeout_config(timeouts)
        .load()
        .await;
    let clients = Clients {
        managed_grafana: aws_sdk_grafana::Client::new(&aws),
        identity_center: IdentityCenter {
            sso: aws_sdk_ssoadmin::Client::new(&aws),
            directory: aws_sdk_identitystore::Client::new(&aws),
        },
        http,
    };
    Ok(Setup {
        clients,
        variables: startup::process_variable,
    })
}
