//! AMP and CloudWatch in processes of their own: this same program, called `bench double …`. One
//! tells its URL on standard output, serves until its standard input closes, and ends with what it
//! has counted.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};
use testkit::doubles::amp_gateway::{self, AmpGateway};
use testkit::doubles::cloudwatch::{CloudWatch, Outcome};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use crate::cpu_time;

/// What a double has seen and used.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Counted {
    pub(crate) calls: usize,
    /// Bodies on the wire, answers of AMP or requests to CloudWatch.
    pub(crate) bytes: usize,
    /// Of requests to CloudWatch before compression.
    pub(crate) unpacked_bytes: usize,
    pub(crate) refused: usize,
    pub(crate) cpu: Duration,
}

/// The child's side.
pub(crate) async fn serve(of: &[&str]) -> anyhow::Result<()> {
    let counted = match *of {
        ["amp", prometheus, delay_ms] => {
            let amp = AmpGateway::start(prometheus, amp_gateway::Options::default()).await?;
            amp.set_delay(Duration::from_millis(delay_ms.parse()?));
            println!("{}", amp.workspace_url());
            until_told_to_end().await?;
            let requests = amp.requests();
            Counted {
                calls: requests.len(),
                bytes: requests.iter().map(|request| request.response_bytes).sum(),
                unpacked_bytes: 0,
                refused: requests.iter().filter(|r| r.status != Some(200)).count(),
                cpu: cpu_time(std::process::id())?,
            }
        }
        ["cloudwatch", delay_ms] => {
            let cloudwatch = CloudWatch::start().await?;
            cloudwatch.set_delay(Duration::from_millis(delay_ms.parse()?));
            println!("{}", cloudwatch.url());
            until_told_to_end().await?;
            // Wire bytes, bytes before compression, and whether all of it was accepted.
            let puts = cloudwatch.requests().into_iter().map(|put| {
                let is_whole = put.outcome == Outcome::Accepted;
                (put.wire_bytes, put.decoded_bytes, is_whole)
            });
            let exports = cloudwatch.exports().into_iter().map(|export| {
                let is_whole = export.status == 200 && export.rejected == 0;
                (export.wire_bytes, export.decoded_bytes, is_whole)
            });
            let requests: Vec<_> = puts.chain(exports).collect();
            Counted {
                calls: requests.len(),
                bytes: requests.iter().map(|(wire, ..)| wire).sum(),
                unpacked_bytes: requests.iter().map(|(_, unpacked, _)| unpacked).sum(),
                refused: requests.iter().filter(|(.., is_whole)| !is_whole).count(),
                cpu: cpu_time(std::process::id())?,
            }
        }
        _ => bail!("expected `double amp PROMETHEUS_URL DELAY_MS` or `double cloudwatch DELAY_MS`"),
    };
    println!("{}", serde_json::to_string(&counted)?);
    Ok(())
}

async fn until_told_to_end() -> anyhow::Result<()> {
    tokio::io::stdin().read_to_end(&mut Vec::new()).await?;
    Ok(())
}

/// A double that runs.
pub(crate) struct Double {
    pub(crate) url: String,
    /// Also kills the process, should the benchmark end early.
    process: Child,
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
}

impl Double {
    pub(crate) async fn amp(prometheus: &str, delay: Duration) -> anyhow::Result<Self> {
        Self::start(&["amp", prometheus, &delay.as_millis().to_string()]).await
    }

    pub(crate) async fn cloudwatch(delay: Duration) -> anyhow::Result<Self> {
        Self::start(&["cloudwatch", &delay.as_millis().to_string()]).await
    }

    async fn start(of: &[&str]) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .arg("double")
            .args(of)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = process.stdout.take().context("stdout is a pipe")?;
        let mut stdout = BufReader::new(stdout).lines();
        let url = stdout
            .next_line()
            .await?
            .context("a double did not start")?;
        Ok(Self {
            url,
            stdin: process.stdin.take(),
            process,
            stdout,
        })
    }

    /// Ends it.
    pub(crate) async fn end(mut self) -> anyhow::Result<Counted> {
        drop(self.stdin.take());
        let counted = self.stdout.next_line().await?;
        let counted = serde_json::from_str(&counted.context("a double ended without its count")?)?;
        self.process.wait().await?;
        Ok(counted)
    }
}
