//! The real AWS CLI against the double.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::{Value, json};
use testkit::doubles::cloudwatch::CloudWatch;

use super::start;

/// Runs the real AWS CLI: the project's own, else the one in PATH.
async fn aws(cloudwatch: &CloudWatch, arguments: &[&str]) -> Result<Value, String> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.venv/bin/aws");
    let in_path = || {
        if own.exists() {
            own.clone().into()
        } else {
            "aws".into()
        }
    };
    // Version 1 prints times as the wire has them, version 2 like this.
    let mut config = tempfile::NamedTempFile::new().expect("a temporary file");
    writeln!(config, "[default]\ncli_timestamp_format = iso8601").expect("a line in it");
    let program = std::env::var_os("AWS_CLI").unwrap_or_else(in_path);
    let output = tokio::process::Command::new(&program)
        .args([
            "--endpoint-url",
            &cloudwatch.url(),
            "--output",
            "json",
            "cloudwatch",
        ])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_DEFAULT_REGION", "us-east-2")
        .env("AWS_CONFIG_FILE", config.path())
        .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        .env_remove("AWS_PROFILE")
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| {
            panic!(
                "{program:?} does not run ({error}); install the AWS CLI: \
                 python3 -m venv .venv && .venv/bin/pip install awscli"
            )
        });
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    Ok(serde_json::from_slice(&output.stdout).unwrap_or(Value::Null))
}

#[tokio::test]
async fn the_aws_cli_writes_and_reads() {
    let (cloudwatch, _) = start().await;
    let aws = async |line: &str, more: &[&str]| {
        let words: Vec<_> = line
            .split_whitespace()
            .chain(more.iter().copied())
            .collect();
        aws(&cloudwatch, &words).await
    };
    let put = "put-metric-data --namespace NS --metric-name GPUUtilization --unit Percent \
               --timestamp 2026-11-22T05:00:10Z";
    let of_gpu = "--dimensions InstanceId=i-1,GPU=0 --value 12.5";
    aws(&format!("{put} {of_gpu}"), &[]).await.unwrap();
    let cluster = json!([{"MetricName": "GPUUtilization", "Unit": "Percent",
        "Timestamp": "2026-11-22T05:00:00Z", "Values": [1, 2.5, 100], "Counts": [8, 1, 1]}]);
    let put_data = "put-metric-data --namespace NS --metric-data";
    aws(put_data, &[&cluster.to_string()]).await.unwrap();
    let error = aws(&format!("{put} --value NaN"), &[]).await.unwrap_err();
    assert!(
        error.contains(
            "An error occurred (InvalidParameterValue) when calling the PutMetricData operation: \
             The value NaN for parameter MetricData.member.1.Value is invalid."
        ),
        "{error}"
    );
    assert_eq!(cloudwatch.datums().len(), 2);

    let dimensions = json!([{"Name": "GPU", "Value": "0"}, {"Name": "InstanceId", "Value": "i-1"}]);
    let listed = |dimensions: Value| json!({"Namespace": "NS", "MetricName": "GPUUtilization", "Dimensions": dimensions});
    assert_eq!(
        aws("list-metrics --namespace NS", &[]).await.unwrap(),
        json!({"Metrics": [listed(json!([])), listed(dimensions.clone())]})
    );

    let get = "get-metric-statistics --namespace NS --metric-name GPUUtilization --period 60 \
               --start-time 2026-11-22T04:50:00Z --end-time 2026-11-22T05:10:00Z";
    let reply = |mut point: Value| {
        point["Timestamp"] = json!("2026-11-22T05:00:00+00:00");
        point["Unit"] = json!("Percent");
        json!({"Label": "GPUUtilization", "Datapoints": [point]})
    };
    assert_eq!(
        aws(&format!("{get} --statistics Average SampleCount"), &[])
            .await
            .unwrap(),
        reply(json!({"Average": 11.05, "SampleCount": 10.0}))
    );
    assert_eq!(
        aws(&format!("{get} --extended-statistics p90"), &[])
            .await
            .unwrap(),
        reply(json!({"ExtendedStatistics": {"p90": 2.5}}))
    );
    let exact = "--statistics Maximum --dimensions Name=InstanceId,Value=i-1 Name=GPU,Value=0";
    assert_eq!(
        aws(&format!("{get} {exact}"), &[]).await.unwrap(),
        reply(json!({"Maximum": 12.5}))
    );
    let partial = "--statistics Maximum --dimensions Name=InstanceId,Value=i-1";
    assert_eq!(
        aws(&format!("{get} {partial}"), &[]).await.unwrap(),
        json!({"Label": "GPUUtilization", "Datapoints": []})
    );

    let metric = listed(dimensions);
    let queries =
        json!([{"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "p90"}}]);
    let range = "get-metric-data --start-time 2026-11-22T04:50:00Z --end-time 2026-11-22T05:10:00Z \
                 --metric-data-queries";
    let reply = aws(range, &[&queries.to_string()]).await.unwrap();
    let result = json!({"Id": "m", "Label": "GPUUtilization", "StatusCode": "Complete",
        "Timestamps": ["2026-11-22T05:00:00+00:00"], "Values": [12.5]});
    assert_eq!(reply["MetricDataResults"], json!([result]));
}
