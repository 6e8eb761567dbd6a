//! The documents' own commands, by the real AWS CLI.

use testkit::account::Account;

use crate::{
    aws,
    clock::{self, Span},
    screen::Screen,
};

/// Lists what there is.
pub(crate) async fn list_metrics(
    account: &Account,
    namespace: &str,
    screen: &Screen,
) -> anyhow::Result<()> {
    let line = format!("cloudwatch list-metrics --namespace {namespace} --output table --query");
    let shown = "Metrics[].[MetricName,Dimensions[0].Value,Dimensions[1].Value]";
    show(account, &line, shown, screen).await
}

/// The last five minutes: of all GPUs, of one, and a percentile of all.
pub(crate) async fn statistics(
    account: &Account,
    namespace: &str,
    instance_id: &str,
    live: Span,
    screen: &Screen,
) -> anyhow::Result<()> {
    let start = clock::rfc3339(clock::floor(live.end, 60) - 240);
    let end = clock::rfc3339(live.end);
    let one_gpu = format!(
        "--dimensions Name=InstanceId,Value={instance_id} Name=GPU,Value=0 --statistics Maximum"
    );
    for (metric, options, shown) in [
        ("GPUUtilization", "--statistics Average", "Average"),
        ("GPUTemperature", &one_gpu, "Maximum"),
        (
            "GPUPowerUsage",
            "--extended-statistics p90",
            "ExtendedStatistics.p90",
        ),
    ] {
        let line = format!(
            "cloudwatch get-metric-statistics --namespace {namespace} --metric-name {metric} \
             --start-time {start} --end-time {end} --period 60 {options} --output table --query"
        );
        let shown = format!("sort_by(Datapoints,&Timestamp)[].[Timestamp,{shown}]");
        show(account, &line, &shown, screen).await?;
    }
    Ok(())
}

async fn show(account: &Account, line: &str, query: &str, screen: &Screen) -> anyhow::Result<()> {
    let words: Vec<&str> = line.split_whitespace().chain([query]).collect();
    aws::show(account, &words, screen).await
}
