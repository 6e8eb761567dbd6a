//! A real Alertmanager with the definition that an Amazon Managed Prometheus workspace gets.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::doubles::sigv4::Credentials;
use crate::project::{repository, tool};
use crate::real::process::Group;

const START_LIMIT: Duration = Duration::from_secs(60);

/// A running Alertmanager; dropping it ends it.
#[derive(Debug)]
pub struct Alertmanager {
    process: Group,
    folder: TempDir,
    port: u16,
}

impl Alertmanager {
    /// Starts it with AMP's form of a definition. It publishes to the SNS at `sns_url`, and waits `speed`
    /// times as short as the definition says.
    ///
    /// # Errors
    /// It is not installed, or does not accept the definition; its log says why.
    pub async fn start(
        definition: &str,
        sns_url: &str,
        credentials: &Credentials,
        speed: u32,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("alertmanager-").tempdir()?;
        write_native(definition, &folder, sns_url, speed).await?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(tool("alertmanager"));
        command
            // Its templates are there.
            .current_dir(tool(""))
            .arg(format!("--config.file={}", path("alertmanager.yml")))
            .arg(format!("--storage.path={}", path("data")))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            // Without peers.
            .arg("--cluster.listen-address=")
            .envs(credentials.environment())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        let process = Group::spawn(&mut command).context("cannot start alertmanager")?;
        let mut alertmanager = Self {
            process,
            folder,
            port,
        };
        timeout(START_LIMIT, alertmanager.ready())
            .await
            .unwrap_or_else(|_| bail!("alertmanager is not ready after {START_LIMIT:?}"))
            .with_context(|| format!("alertmanager logged:\n{}", alertmanager.log()))?;
        Ok(alertmanager)
    }

    /// Where it listens, `127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let url = format!("http://{}/-/ready", self.address());
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("alertmanager ended with {status}: get it by `make tools`");
            }
            if let Ok(answer) = reqwest::get(&url).await
                && answer.status().is_success()
            {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn write_native(
    definition: &str,
    folder: &TempDir,
    sns_url: &str,
    speed: u32,
) -> anyhow::Result<()> {
    let mut child = Command::new(tool("python"))
        .arg(repository("tests/testkit/src/real/alertmanager/native.py"))
        .arg(folder.path())
        .args([sns_url, &speed.to_string()])
        .stdin(Stdio::piped())
        .spawn()?;
    let mut input = child.stdin.take().context("a piped stream")?;
    input.write_all(definition.as_bytes()).await?;
    drop(input);
    anyhow::ensure!(child.wait().await?.success(), "no definition: {definition}");
    Ok(())
}
