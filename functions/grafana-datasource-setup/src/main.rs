//! The function's process: log, clients, and the runtime loop.

use grafana_datasource_setup::connect::connect;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), lambda_runtime::Error> {
    startup::log(&["grafana_datasource_setup"]);
    let setup = match connect().await {
        Ok(setup) => setup,
        Err(error) => return Err(startup::report_init_error("InitFailed", error).await),
    };
    startup::serve(|event| setup.handle(event, now())).await
}

#[expect(clippy::disallowed_methods, reason = "where the time comes in")]
fn now() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
