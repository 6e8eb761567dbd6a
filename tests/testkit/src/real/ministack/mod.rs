//! MiniStack: an AWS on this machine that runs real functions from a real template, driven by the
//! real AWS CLI. What it cannot do (metrics with their limits, AMG, AMP) doubles stand in
//! for, which the functions reach by the SDKs' own endpoint variables.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use std::{env, fs};

use anyhow::{Context as _, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::doubles::sigv4::Credentials;
use crate::lambda::REGION;
use crate::project::{repository, tool};
use crate::real::process::{self, Group};

/// The account that MiniStack is: it takes an access key of twelve digits for the account's id.
const ACCOUNT: &str = "123456789012";

const START_LIMIT: Duration = Duration::from_secs(30);

/// Far above what any change takes here: MiniStack itself waits an hour for a function.
const CHANGE_LIMIT: Duration = Duration::from_secs(300);

/// The CLI's own file, so that the user's is not read.
const CLI_CONFIG: &str = "aws-config";

/// How often a state is asked for that nothing tells of.
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A running MiniStack; dropping it ends it and the functions it runs.
#[derive(Debug)]
pub struct MiniStack {
    /// Its functions are processes of the same group, and end with it.
    process: Group,
    port: u16,
    folder: TempDir,
}

impl MiniStack {
    /// Starts it; its functions get `endpoints` into their environment.
    ///
    /// # Errors
    /// It is not installed or does not start; its log says why.
    pub async fn start<'a>(
        endpoints: impl IntoIterator<Item = (&'a str, String)>,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("ministack-").tempdir()?;
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
            .local_addr()?
            .port();
        // Version 1 of the CLI prints times as the wire has them, version 2 like this.
        let cli = "[default]\ncli_timestamp_format = iso8601\n";
        fs::write(folder.path().join(CLI_CONFIG), cli)?;
        let log = File::create(folder.path().join("log"))?;
        let mut command = Command::new(tool("python"));
        command
            .arg(repository("tests/testkit/src/real/ministack/start.py"))
            .env_clear()
            .envs(account_environment(port))
            .envs(endpoints)
            .env("BIND_HOST", Ipv4Addr::LOCALHOST.to_string())
            .env("GATEWAY_PORT", port.to_string())
            .env("MINISTACK_REGION", REGION)
            // Where a custom resource answers. `localhost` is not in every /etc/hosts.
            .env("MINISTACK_HOST", Ipv4Addr::LOCALHOST.to_string())
            .env("STATE_DIR", folder.path())
            .env("TMPDIR", folder.path())
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log);
        let process = Group::spawn(&mut command)
            .context("ministack does not start: `make tools` installs it")?;
        let mut stack = Self {
            process,
            port,
            folder,
        };
        timeout(START_LIMIT, stack.ready())
            .await
            .unwrap_or_else(|_| bail!("ministack is not ready after {START_LIMIT:?}"))
            .with_context(|| format!("ministack logged:\n{}", stack.log()))?;
        Ok(stack)
    }

    /// What its functions sign with.
    #[must_use]
    pub fn credentials() -> Credentials {
        Credentials {
            access_key_id: ACCOUNT.to_owned(),
            ..Credentials::example()
        }
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        url(self.port)
    }

    /// What it and its functions have logged.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// Where its commands run, and their files lie.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A program that finds the AWS CLI, and the CLI this MiniStack.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .envs(self.environment())
            .current_dir(&self.folder)
            .stdin(Stdio::null());
        command
    }

    /// What leads the AWS CLI here.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let config = self.folder.path().join(CLI_CONFIG).display().to_string();
        let mut environment = account_environment(self.port);
        environment.push(("AWS_CONFIG_FILE", config));
        environment.push(("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()));
        environment
    }

    /// Runs the AWS CLI and gives back what it printed, parsed where it is JSON.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn aws(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let text = process::printed(self.command(tool("aws")).args(arguments)).await?;
        Ok(serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.trim().to_owned())))
    }

    /// Waits until a stack is in no transition, and gives its state; nothing once it is deleted.
    ///
    /// # Errors
    /// The stack cannot be asked for, or its change does not end.
    pub async fn settled(&self, stack: &str) -> anyhow::Result<Option<String>> {
        timeout(CHANGE_LIMIT, self.settles(stack))
            .await
            .unwrap_or_else(|_| {
                bail!(
                    "stack {stack} still changes after {CHANGE_LIMIT:?}; ministack logged:\n{}",
                    self.log()
                )
            })
    }

    async fn settles(&self, stack: &str) -> anyhow::Result<Option<String>> {
        loop {
            let query = format!("Stacks[?StackName=='{stack}'].StackStatus | [0]");
            let state = self
                .aws(&["cloudformation", "describe-stacks", "--query", &query])
                .await?;
            match state.as_str() {
                Some(state) if state.ends_with("_IN_PROGRESS") => sleep(POLL_INTERVAL).await,
                state => return Ok(state.map(String::from)),
            }
        }
    }

    async fn ready(&mut self) -> anyhow::Result<()> {
        let health = format!("{}/_ministack/health", self.url());
        let client = reqwest::Client::new();
        while client.get(&health).send().await.is_err() {
            if let Some(status) = self.process.try_wait()? {
                bail!("ministack ended with {status}");
            }
            sleep(POLL_INTERVAL).await;
        }
        Ok(())
    }
}

fn url(port: u16) -> String {
    format!("http://{}:{port}", Ipv4Addr::LOCALHOST)
}

/// What MiniStack, its functions and the CLI share: nothing of the caller's own AWS.
fn account_environment(port: u16) -> Vec<(&'static str, String)> {
    let inherited = env::var("PATH").unwrap_or_default();
    let mut environment = vec![
        ("PATH", format!("{}:{inherited}", tool("").display())),
        ("LANG", "C.UTF-8".to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_ENDPOINT_URL", url(port)),
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ("MINISTACK_ACCOUNT_ID", ACCOUNT.to_owned()),
    ];
    environment.extend(MiniStack::credentials().environment());
    environment
}
