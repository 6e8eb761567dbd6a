//! The Lambda driver against a function that ends in every way an invocation can end.

use std::time::Duration;

use serde_json::json;
use testkit::lambda::{Function, Outcome, bootstrap};

async fn echo(env: &[(&str, &str)]) -> Function {
    let env = env.iter().map(|(name, value)| (*name, (*value).to_owned()));
    Function::start(env!("CARGO_BIN_EXE_lambda-echo"), env)
        .await
        .expect("the function starts")
}

#[tokio::test]
async fn a_warm_function_answers_one_invocation_after_the_other() {
    let function = echo(&[]).await;
    let first = function.invoke("1").await.unwrap().reply().unwrap();
    let second = function.invoke("2").await.unwrap().reply().unwrap();
    assert_eq!(
        (&first["payload"], &second["payload"]),
        (&json!(1), &json!(2))
    );
    assert_ne!(first["requestId"], second["requestId"]);
    assert_eq!(
        function.log().matches("started as").count(),
        1,
        "one process serves both"
    );
    assert!(
        function.log().contains("got 2"),
        "the log is complete when the reply is here"
    );
}

#[tokio::test]
async fn invocations_at_the_same_time_are_served_in_turn() {
    let function = echo(&[]).await;
    let (first, second) = tokio::join!(function.invoke("1"), function.invoke("2"));
    assert_eq!(first.unwrap().reply().unwrap()["payload"], 1);
    assert_eq!(second.unwrap().reply().unwrap()["payload"], 2);
}

#[tokio::test]
async fn an_empty_payload_arrives_as_an_empty_body() {
    let reply = echo(&[]).await.invoke("").await.unwrap().reply().unwrap();
    assert_eq!(reply["payload"], "(empty)");
}

#[tokio::test]
async fn the_deadline_is_the_time_limit_away() {
    let function = echo(&[]).await;
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap();
    let limit = Duration::from_secs(42);
    let before = now();
    let reply = function
        .invoke_with_timeout("{}", limit)
        .await
        .unwrap()
        .reply()
        .unwrap();
    let deadline = Duration::from_millis(reply["deadline"].as_u64().unwrap());
    assert!(before + limit < deadline + Duration::from_millis(1) && deadline <= now() + limit);
}

#[tokio::test]
async fn the_process_gets_lambdas_environment_and_nothing_of_ours() {
    let function = echo(&[("AWS_REGION", "eu-west-1"), ("CLUSTER_NAME", "p5en")]).await;
    let payload = json!({ "do": "environment" }).to_string();
    let env = function.invoke(payload).await.unwrap().reply().unwrap();
    assert_eq!(
        (&env["AWS_REGION"], &env["CLUSTER_NAME"]),
        (&json!("eu-west-1"), &json!("p5en"))
    );
    assert!(env["AWS_SESSION_TOKEN"].is_string());
    assert_eq!(env["CARGO_MANIFEST_DIR"], json!(null));
}

#[tokio::test]
async fn a_reported_error_leaves_the_function_running() {
    let function = echo(&[]).await;
    let outcome = function
        .invoke(json!({ "do": "fail" }).to_string())
        .await
        .unwrap();
    assert!(matches!(&outcome, Outcome::Error { message, .. } if message == "the disk is full"));
    assert!(
        outcome
            .reply()
            .unwrap_err()
            .to_string()
            .contains("the disk is full")
    );
    assert_eq!(
        function.invoke("3").await.unwrap().reply().unwrap()["payload"],
        3
    );
}

#[tokio::test]
async fn a_panic_is_an_error_like_any_other() {
    let function = echo(&[]).await;
    let outcome = function
        .invoke(json!({ "do": "panic" }).to_string())
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Error { message, .. } if message.contains("out of luck")));
    assert_eq!(
        function.invoke("3").await.unwrap().reply().unwrap()["payload"],
        3
    );
}

#[tokio::test]
async fn a_reply_over_six_megabytes_is_an_error() {
    let outcome = echo(&[])
        .await
        .invoke(json!({ "do": "much" }).to_string())
        .await
        .unwrap();
    let Outcome::Error { error_type, .. } = outcome else {
        panic!("{outcome:?}")
    };
    assert_eq!(error_type, "Function.ResponseSizeTooLarge");
}

#[tokio::test]
async fn a_function_past_its_deadline_is_killed() {
    let function = echo(&[]).await;
    let limit = Duration::from_millis(50);
    let hang = json!({ "do": "hang" }).to_string();
    assert_eq!(
        function.invoke_with_timeout(hang, limit).await.unwrap(),
        Outcome::TimedOut
    );
    assert!(matches!(
        function.invoke("").await.unwrap(),
        Outcome::Exited { .. }
    ));
    assert!(
        function
            .peak_rss_kib()
            .unwrap_err()
            .to_string()
            .contains("ended")
    );
}

#[tokio::test]
async fn a_function_that_exits_tells_its_status() {
    let function = echo(&[]).await;
    let outcome = function
        .invoke(json!({ "do": "exit" }).to_string())
        .await
        .unwrap();
    assert!(matches!(outcome, Outcome::Exited { status } if status.code() == Some(3)));
    let outcome = echo(&[("INIT", "exit")]).await.invoke("{}").await.unwrap();
    assert!(matches!(outcome, Outcome::Exited { status } if status.code() == Some(7)));
}

#[tokio::test]
async fn an_init_error_is_told_by_the_invocation_and_ends_the_process() {
    let function = echo(&[("INIT", "error")]).await;
    let outcome = function.invoke("{}").await.unwrap();
    let (error_type, message) = ("InvalidConfiguration".into(), "NAME is not set".into());
    assert_eq!(
        outcome,
        Outcome::InitError {
            error_type,
            message
        }
    );
    assert!(!function.exit().await.success());
}

#[tokio::test]
async fn a_function_can_be_killed_in_the_middle_of_an_invocation() {
    let function = echo(&[]).await;
    function.invoke("{}").await.unwrap();
    let (outcome, ()) = tokio::join!(
        function.invoke(json!({ "do": "hang" }).to_string()),
        function.kill()
    );
    assert!(matches!(outcome.unwrap(), Outcome::Exited { status } if status.code().is_none()));
}

#[tokio::test]
async fn a_dropped_function_leaves_no_process() {
    let function = echo(&[]).await;
    function.invoke("{}").await.unwrap();
    let process = std::path::PathBuf::from(format!("/proc/{}/exe", function.pid()));
    assert!(process.exists());
    drop(function);
    while process.exists() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn memory_and_cpu_time_are_those_of_the_process() {
    let function = echo(&[]).await;
    function.invoke("{}").await.unwrap();
    let before = function.peak_rss_kib().unwrap();
    function
        .invoke(json!({ "do": "much" }).to_string())
        .await
        .unwrap();
    assert!(function.peak_rss_kib().unwrap() >= before + 7_000_000 / 1024);
    assert!(function.cpu_time().unwrap() > Duration::ZERO);
}

#[test]
fn a_function_that_is_not_built_is_named_with_the_remedy() {
    let error = bootstrap("no-such-function").unwrap_err().to_string();
    assert!(error.contains("no-such-function/bootstrap") && error.contains("make build"));
}
