//! The real AWS CLI, at this machine's CloudWatch.

use std::{fs, path::PathBuf, process::Stdio};

use anyhow::{Context as _, bail};
use harness::{cloudwatch::CloudWatch, lambda::REGION, sigv4::Credentials};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

/// The widest line of a command.
const WIDTH: usize = 84;

/// The CLI with a configuration of its own; the user's is not read.
#[derive(Debug)]
pub(crate) struct Aws {
    program: PathBuf,
    endpoint: String,
    folder: TempDir,
}

impl Aws {
    pub(crate) fn new(program: PathBuf, cloudwatch: &CloudWatch) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("aws-cli-").tempdir()?;
        // Version 1 prints times as the wire has them, version 2 like this.
        let config = "[default]\ncli_timestamp_format = iso8601\n";
        fs::write(folder.path().join("config"), config)?;
        Ok(Self {
            program,
            endpoint: cloudwatch.url(),
            folder,
        })
    }

    /// What `aws <words>` prints.
    pub(crate) async fn run(&self, words: &[&str]) -> anyhow::Result<String> {
        let credentials = Credentials::example();
        let output = Command::new(&self.program)
            .args(words)
            .env("AWS_ENDPOINT_URL_CLOUDWATCH", &self.endpoint)
            .env("AWS_ACCESS_KEY_ID", credentials.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
            .env("AWS_CONFIG_FILE", self.folder.path().join("config"))
            .env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_DEFAULT_OUTPUT", "json")
            .env("AWS_PAGER", "")
            .env("NO_PROXY", "127.0.0.1")
            .env_remove("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS")
            .env_remove("AWS_PROFILE")
            .env_remove("AWS_SESSION_TOKEN")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .with_context(|| {
                let program = self.program.display();
                format!("{program} does not run: get the AWS CLI by `make tools`")
            })?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`{}` failed: {}", typed(words), error.trim());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    /// The answer to a `get-metric-data` of these queries.
    pub(crate) async fn metric_data(
        &self,
        queries: &[Value],
        start: &str,
        end: &str,
    ) -> anyhow::Result<Value> {
        let file = self.folder.path().join("queries.json");
        fs::write(&file, serde_json::to_vec(queries)?)?;
        let file = format!("file://{}", file.display());
        let words = [
            "cloudwatch",
            "get-metric-data",
            "--metric-data-queries",
            &file,
        ];
        let times = ["--start-time", start, "--end-time", end];
        let answer = self.run(&[&words[..], &times[..]].concat()).await?;
        serde_json::from_str(&answer).context("the answer of get-metric-data")
    }
}

/// The command as one would type it, broken before an option where it gets too long.
pub(crate) fn typed(words: &[&str]) -> String {
    let mut options: Vec<String> = Vec::new();
    for word in words {
        match options.last_mut() {
            Some(option) if !word.starts_with("--") => {
                option.push(' ');
                option.push_str(&quoted(word));
            }
            _ => options.push(quoted(word)),
        }
    }
    let mut lines = vec!["aws".to_owned()];
    for option in options {
        let line = lines.last_mut().expect("one stands there from the start");
        if line.len() + 1 + option.len() + 2 <= WIDTH {
            *line += &format!(" {option}");
        } else {
            line.push_str(" \\");
            lines.push(format!("    {option}"));
        }
    }
    lines.join("\n")
}

fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,".contains(c);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_can_be_pasted_into_a_shell() {
        let words = [
            "cloudwatch",
            "list-metrics",
            "--query",
            "Metrics[].[MetricName]",
        ];
        let expected = "aws cloudwatch list-metrics --query 'Metrics[].[MetricName]'";
        assert_eq!(typed(&words), expected);
        assert_eq!(quoted("it's"), r"'it'\''s'");
    }

    #[test]
    fn a_long_command_is_broken_before_an_option() {
        let long = "x".repeat(60);
        let words = [
            "cloudwatch",
            "list-metrics",
            "--namespace",
            &long,
            "--output",
            "text",
        ];
        let expected =
            format!("aws cloudwatch list-metrics \\\n    --namespace {long} \\\n    --output text");
        assert_eq!(typed(&words), expected);
    }
}
