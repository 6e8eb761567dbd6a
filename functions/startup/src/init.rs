//! The runtime loop, and the report to Lambda when a function can't start.

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

/// Tells Lambda why the function can't start, so that an invoker reads the cause instead of "exit
/// status 1" (<https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html>, initialization
/// error). Returns the error for `main` to end with.
pub async fn report_init_error(
    error_type: &str,
    error: impl Into<Box<dyn Error + Send + Sync>>,
) -> Box<dyn Error + Send + Sync> {
    let error = error.into();
    let message = crate::error_chain(&*error);
    tracing::error!("{message}");
    if let Some(api) = process_variable("AWS_LAMBDA_RUNTIME_API")
        && let Err(cause) = post_init_error(&api, error_type, &message).await
    {
        tracing::warn!(
            "the init error was not reported to Lambda: {}",
            crate::error_chain(&cause)
        );
    }
    error
}

async fn post_init_error(api: &str, error_type: &str, message: &str) -> reqwest::Result<()> {
    let report = json!({"errorType": error_type, "errorMessage": message, "stackTrace": []});
    // The Runtime API is plain HTTP on this machine, which `http_client` never proxies.
    crate::http_client()
        .build()?
        .post(format!("http://{api}/2018-06-01/runtime/init/error"))
        .header("content-type", "application/json")
        .header("lambda-runtime-function-error-type", error_type)
        .body(report.to_string())
        .send()
        .await?
        .error_for_status()
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    #[tokio::test]
    async fn a_report_that_lambda_refuses_is_noticed() {
        for (status, is_taken) in [("202 Accepted", true), ("403 Forbidden", false)] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let api = thread::spawn(move || {
                let (mut connection, _) = listener.accept().unwrap();
                let read = connection.read(&mut [0; 4096]).unwrap();
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                connection.write_all(answer.as_bytes()).unwrap();
                read
            });
            let posted = post_init_error(&address, "InvalidConfiguration", "A is not set").await;
            assert!(api.join().unwrap() > 0);
            assert_eq!(posted.is_ok(), is_taken, "{status}: {posted:?}");
        }
    }
}
