//! The function's process: log, configuration, clients, and the runtime loop.

use std::error::Error;
use std::sync::Arc;

use chrono::Utc;
use dcgm_to_cloudwatch::config::Config;
use dcgm_to_cloudwatch::connect::connect;
use lambda_runtime::LambdaEvent;
use serde_json::Value;
use startup::{Deadline, Environment};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    startup::log(&["dcgm_to_cloudwatch"]);
    let config = match Config::read(Environment::process()) {
        Ok(config) => config,
        Err(error) => return Err(startup::report_init_error("InvalidConfiguration", error).await),
    };
    let function = match connect(config).await {
        Ok(function) => Arc::new(function),
        Err(error) => return Err(startup::report_init_error("InitFailed", error).await),
    };
    startup::serve(move |event: LambdaEvent<Value>| {
        let function = Arc::clone(&function);
        async move {
            #[expect(clippy::disallowed_methods, reason = "where the time comes in")]
            let clock = Utc::now();
            let deadline = Deadline::new(clock.into(), event.context.deadline());
            function.handle(event.payload, clock, deadline).await
        }
    })
    .await
}
