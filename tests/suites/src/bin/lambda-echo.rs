//! The smallest function that can end in every way an invocation can end: what it does is what its
//! payload (or, before the first invocation, the variable `INIT`) tells it to do.

#![expect(
    clippy::disallowed_methods,
    reason = "a program of its own, whose edge is all there is"
)]

use lambda_runtime::{Error, LambdaEvent, LambdaInvocation, Runtime, service_fn};
use serde_json::{Value, json};
use tower::util::MapRequestLayer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    match std::env::var("INIT").as_deref() {
        Ok("exit") => std::process::exit(7),
        Ok("error") => report_init_error().await?,
        _ => (),
    }
    eprintln!("started as {}", std::env::var("AWS_LAMBDA_FUNCTION_NAME")?);
    Runtime::new(service_fn(echo))
        .layer(MapRequestLayer::new(empty_as_null))
        .run()
        .await
}

/// Lambda delivers an invocation without payload as an empty body, which is not JSON.
fn empty_as_null(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if invocation.body.is_empty() {
        invocation.body = "\"(empty)\"".into();
    }
    invocation
}

async fn echo(event: LambdaEvent<Value>) -> Result<Value, Error> {
    let (payload, context) = event.into_parts();
    eprintln!("got {payload}");
    match payload["do"].as_str() {
        Some("fail") => Err("the disk is full".into()),
        Some("panic") => panic!("out of luck"),
        Some("hang") => std::future::pending().await,
        Some("exit") => std::process::exit(3),
        Some("much") => Ok("x".repeat(7_000_000).into()),
        Some("environment") => Ok(std::env::vars().collect()),
        _ => Ok(json!({
            "payload": payload,
            "requestId": context.request_id,
            "deadline": context.deadline,
            "function": context.invoked_function_arn,
        })),
    }
}

async fn report_init_error() -> Result<(), Error> {
    let address = std::env::var("AWS_LAMBDA_RUNTIME_API")?;
    let body = json!({ "errorType": "InvalidConfiguration", "errorMessage": "NAME is not set" });
    let url = format!("http://{address}/2018-06-01/runtime/init/error");
    reqwest::Client::new()
        .post(url)
        .body(body.to_string())
        .send()
        .await?;
    std::future::pending().await
}
