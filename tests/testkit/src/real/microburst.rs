//! microburst: a proxy before a double of AWS that fails as AWS does, in the protocol the SDK
//! speaks, and breaks connections.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::project::tool;
use crate::real::process::Group;

/// It reads botocore's models first, which takes seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A running proxy; dropping it ends it.
#[derive(Debug)]
pub struct Microburst {
    process: Group,
    url: String,
    http: reqwest::Client,
    folder: TempDir,
}

impl Microburst {
    /// Starts it before `upstream`, with no rule: everything passes.
    ///
    /// # Errors
    /// It is not installed or does not start; its log says why.
    pub async fn start(upstream: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("microburst-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(tool("microburst"));
        command
            .args(["--upstream", upstream, "--port", &port.to_string()])
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let process = Group::spawn(&mut command)
            .context("microburst does not start: `make tools` installs it")?;
        let mut proxy = Self {
            process,
            url: format!("http://{}:{port}", Ipv4Addr::LOCALHOST),
            http: reqwest::Client::new(),
            folder,
        };
        timeout(START_LIMIT, proxy.ready())
            .await
            .unwrap_or_else(|_| bail!("microburst is not ready after {START_LIMIT:?}"))
            .with_context(|| {
                let log = fs::read_to_string(proxy.folder.path().join("log"));
                format!("microburst logged:\n{}", log.unwrap_or_default())
            })?;
        Ok(proxy)
    }

    /// What clients take for the service.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Fails from now on every call of `operation`, as one of its rules says
    /// (<https://github.com/pingedbrain/microburst#rules>).
    ///
    /// # Errors
    /// It does not take the rule.
    pub async fn fail(&self, service: &str, operation: &str, how: Value) -> anyhow::Result<()> {
        let mut rule = how;
        rule["service"] = service.into();
        rule["operation"] = operation.into();
        self.set_rules(json!([rule])).await
    }

    /// Lets everything pass again, and says how many calls have failed since the last time.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn recover(&self) -> anyhow::Result<usize> {
        self.set_rules(json!([])).await?;
        let fired = self.control("fired");
        let faults = self.http.get(&fired).send().await?.error_for_status()?;
        let faults: Value = serde_json::from_slice(&faults.bytes().await?)?;
        let forget = self.http.delete(&fired).send().await?;
        forget.error_for_status()?;
        Ok(faults.as_array().context("a list of faults")?.len())
    }

    async fn set_rules(&self, rules: Value) -> anyhow::Result<()> {
        let request = self.http.post(self.control("rules"));
        let request = request.header("content-type", "application/json");
        let answer = request.body(rules.to_string()).send().await?;
        let status = answer.status();
        ensure!(status.is_success(), "{status}: {}", answer.text().await?);
        Ok(())
    }

    fn control(&self, path: &str) -> String {
        format!("{}/_microburst/{path}", self.url)
    }

    /// The first call with a credential scope takes seconds of processor time, more than the SDK
    /// waits on a busy machine. The double behind refuses this one.
    async fn warm_up(&self) -> anyhow::Result<()> {
        let scope = "x/20260101/us-east-2/monitoring/aws4_request";
        let authorization =
            format!("AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=x");
        let request = self.http.post(&self.url);
        request
            .header("authorization", authorization)
            .send()
            .await?;
        Ok(())
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        loop {
            if let Some(status) = self.process.try_wait()? {
                bail!("microburst ended with {status}");
            }
            let health = self.http.get(self.control("health")).send().await;
            if health.is_ok_and(|reply| reply.status().is_success()) {
                return self.warm_up().await;
            }
            sleep(Duration::from_millis(50)).await;
        }
    }
}
