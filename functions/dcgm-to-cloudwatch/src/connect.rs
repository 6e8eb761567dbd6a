//! The clients of the function, over one HTTP client.

use std::error::Error;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;

use crate::cloudwatch;
use crate::config::Config;
use crate::function::{Clients, Function};
use crate::otlp;
use crate::prometheus::client::Client;
use crate::prometheus::source::Source;
use crate::watermark::Watermark;

/// The function that a configuration describes, with the clients it needs.
///
/// # Errors
/// No credentials, or no root certificates.
pub async fn connect(config: Config) -> Result<Function, Box<dyn Error + Send + Sync>> {
    let http = startup::http_client().build()?;
    let aws = aws_config::defaults(BehaviorVersion::v2026_01_12())
        .http_client(startup::sdk_http(http.clone()))
        // Five tries within some 15 s: a minute's schedule has no use for longer patience, the
        // next run catches up.
        .retry_config(RetryConfig::standard().with_max_attempts(5))
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(10))
                .build(),
        )
        .load()
        .await;
    let credentials = aws
        .credentials_provider()
        .ok_or("no AWS credentials are configured")?;
    let compresses = aws.disable_request_compression() != Some(true);
    let detail = config.otlp.as_ref().map(|otlp| {
        let endpoint = otlp.endpoint.clone();
        otlp::client::Client::new(endpoint, credentials.clone(), http.clone(), compresses)
    });
    let client = Client::new(
        config.workspace.clone(),
        config.amp_region.clone(),
        credentials,
        http,
        config.budget,
    );
    let source = Source::new(
        client,
        config.cluster.clone(),
        config.metrics.clone(),
        config.series_selector.clone(),
        config.instance_id_labels.clone(),
        config.budget.readings,
    );
    let cloudwatch = cloudwatch::client::Client::new(&aws);
    let watermark = config
        .watermark_parameter
        .clone()
        .map(|parameter| Watermark::new(aws_sdk_ssm::Client::new(&aws), parameter));
    let clients = Clients {
        source,
        cloudwatch,
        detail,
        watermark,
    };
    Ok(Function::new(config, clients))
}
