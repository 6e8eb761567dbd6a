//! The runtime loop, and what Lambda is told when it can't begin.

use std::error::Error;
use std::fmt::Debug;
use std::future::Future;

use lambda_runtime::layers::TracingLayer;
use lambda_runtime::{Diagnostic, LambdaEvent, LambdaInvocation, Runtime, service_fn};
use serde_json::{Value, json};
use tower::util::MapRequestLayer;

use crate::environment::process_variable;

/// Serves invocations until Lambda ends the process. An invocation without payload reaches the
/// handler as `null`.
///
/// # Errors
/// The Runtime API is out of reach.
pub async fn serve<F, Answer, Reply, Failure>(mut handler: F) -> Result<(), lambda_runtime::Error>
where
    F: FnMut(LambdaEvent<Value>) -> Answer + Send,
    Answer: Future<Output = Result<Reply, Failure>> + Send,
    Reply: serde::Serialize + Send,
    Failure: Into<Diagnostic> + Debug + Send,
{
    // Boxed: inside of the runtime's own services a whole function's future is nested too deep for
    // the compiler.
    Runtime::new(service_fn(move |event| Box::pin(handler(event))))
        .layer(MapRequestLayer::new(empty_is_null))
        .layer(TracingLayer::new())
        .run()
        .await
}

fn empty_is_null(mut invocation: LambdaInvocation) -> LambdaInvocation {
    if invocation.body.trim_ascii().is_empty() {
        invocation.body = "null".into();
    }
    invocation
}

/// Tells Lambda why the function can't start, so that an invoker reads the mistake itself instead
/// of "exit status 1" (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>,
/// initialization error). Gives the error back for `main` to end with.
pub async fn report_init_error<E: Error>(error_type: &str, error: E) -> E {
    tracing::error!("{}", crate::chain(&error));
    if let Some(api) = process_variable("AWS_LAMBDA_RUNTIME_API") {
        let report = json!({
            "errorType": error_type,
            "errorMessage": crate::chain(&error),
            "stackTrace": [],
        });
        let sent = reqwest::Client::new()
            .post(format!("http://{api}/2018-06-01/runtime/init/error"))
            .header("content-type", "application/json")
            .header("lambda-runtime-function-error-type", error_type)
            .body(report.to_string())
            .send()
            .await;
        if let Err(error) = sent {
            tracing::warn!(
                "the start's failure was not reported: {}",
                crate::chain(&error)
            );
        }
    }
    error
}
