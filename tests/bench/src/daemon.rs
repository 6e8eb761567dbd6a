//! The Python daemon's cycle, for comparison.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::double::Double;
use crate::fleet::Fleet;

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
pub(crate) struct Daemon {
    pub(crate) wall_seconds: f64,
    pub(crate) cpu_seconds: f64,
    pub(crate) rss_kib: u64,
    pub(crate) requests: usize,
}

pub(crate) async fn measure(
    fleet: &Fleet,
    delay: Duration,
    python: &str,
) -> anyhow::Result<Daemon> {
    let cloudwatch = Double::cloudwatch(delay).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("daemon.py");
    let output = Command::new(python)
        .arg(script)
        .args(["--prometheus", &fleet.prometheus.url()])
        .args(["--time", &fleet.last_moment()])
        .args(["--cloudwatch", &cloudwatch.url])
        .kill_on_drop(true)
        .output()
        .await
        .with_context(|| format!("cannot start {python}"))?;
    ensure!(
        output.status.success(),
        "the daemon failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    cloudwatch.end().await?;
    Ok(serde_json::from_slice(&output.stdout)?)
}
