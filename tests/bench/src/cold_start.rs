//! How long a function takes from exec to the first `next`, and how large it is.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::bootstrap;
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;

use crate::median;

const WORKSPACE: &str = "http://127.0.0.1:9/workspaces/ws-1f3a6c1e";
const FUNCTIONS: [&str; 2] = ["dcgm-to-cloudwatch", "grafana-datasource-setup"];

#[derive(Debug)]
pub(crate) struct ColdStart {
    pub(crate) function: &'static str,
    pub(crate) to_next: Duration,
    pub(crate) binary_bytes: usize,
    /// As a zip holds it.
    pub(crate) deflated_bytes: usize,
}

pub(crate) async fn measure(times: usize) -> anyhow::Result<Vec<ColdStart>> {
    let mut starts = Vec::new();
    // Built are both, or the one that is worked at.
    let built = FUNCTIONS
        .iter()
        .filter_map(|function| Some((*function, bootstrap(function).ok()?)));
    for (function, binary) in built {
        let mut durations = Vec::new();
        for _ in 0..times {
            durations.push(
                to_next(&binary)
                    .await
                    .with_context(|| function.to_owned())?,
            );
        }
        let bytes = std::fs::read(&binary)?;
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&bytes)?;
        starts.push(ColdStart {
            function,
            to_next: median(&durations, Duration::as_secs_f64).unwrap_or_default(),
            binary_bytes: bytes.len(),
            deflated_bytes: encoder.finish()?.len(),
        });
    }
    Ok(starts)
}

/// Plays the Runtime API up to the function's first question.
async fn to_next(binary: &Path) -> anyhow::Result<Duration> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let credentials = Credentials::example();
    let began = Instant::now();
    let _process = Command::new(binary)
        .env_clear()
        .env("AWS_ACCESS_KEY_ID", credentials.access_key_id)
        .env("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key)
        .env("AWS_REGION", "us-east-2")
        .env("AWS_LAMBDA_FUNCTION_NAME", "under-test")
        .env("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST")
        .env("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128")
        .env("AWS_LAMBDA_LOG_GROUP_NAME", "/aws/lambda/under-test")
        .env("AWS_LAMBDA_LOG_STREAM_NAME", "bench")
        .env("AWS_LAMBDA_RUNTIME_API", listener.local_addr()?.to_string())
        .env("AMP_WORKSPACE_URL", WORKSPACE)
        .env("CLUSTER_NAME", "p5en")
        .env("GRAFANA_WORKSPACE_ID", "g-1234567890")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()?;
    let accepted = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
    let (mut connection, _) = accepted.context("it does not ask for an invocation")??;
    let mut asked = [0; 48];
    connection.read_exact(&mut asked).await?;
    let duration = began.elapsed();
    let asked = String::from_utf8_lossy(&asked);
    ensure!(asked.contains("/invocation/next"), "it asked {asked:?}");
    Ok(duration)
}
