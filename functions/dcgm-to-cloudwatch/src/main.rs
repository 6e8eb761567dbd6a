//! The function's process: log, configuration, clients, and the runtime loop.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use chrono::Utc;
use dcgm_to_cloudwatch::config::Config;
use dcgm_to_cloudwatch::gzip;
use dcgm_to_cloudwatch::handler::Puller;
use dcgm_to_cloudwatch::prometheus::Amp;
use dcgm_to_cloudwatch::watermark::Watermark;
use lambda_runtime::LambdaEvent;
use serde_json::Value;
use startup::Environment;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    startup::log(&["dcgm_to_cloudwatch"]);
    let config = match Config::read(Environment::process()) {
        Ok(config) => config,
        Err(error) => return Err(startup::report_init_error("InvalidConfiguration", error).await),
    };
    let puller = match puller(config).await {
        Ok(puller) => Arc::new(puller),
        Err(error) => return Err(startup::report_init_error("InitFailed", error).await),
    };
    startup::serve(move |event: LambdaEvent<Value>| {
        let puller = Arc::clone(&puller);
        async move {
            #[expect(clippy::disallowed_methods, reason = "where the time comes in")]
            let clock = Utc::now();
            let time_left = event
                .context
                .deadline
                .saturating_sub(clock.timestamp_millis() as u64);
            puller
                .handle(event.payload, clock, Duration::from_millis(time_left))
                .await
        }
    })
    .await
}

async fn puller(config: Config) -> Result<Puller, Box<dyn Error + Send + Sync>> {
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
    let amp = Amp::new(
        config.workspace.clone(),
        config.amp_region.clone(),
        credentials,
        http,
        config.budget,
    );
    let cloudwatch = aws_sdk_cloudwatch::Client::from_conf(gzip::fast(&aws).build());
    let watermark = config
        .watermark_parameter
        .clone()
        .map(|parameter| Watermark::new(aws_sdk_ssm::Client::new(&aws), parameter));
    Ok(Puller::new(config, amp, cloudwatch, watermark))
}
