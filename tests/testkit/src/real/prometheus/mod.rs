//! A real Prometheus, on a free port, with a data directory of its own.

mod history;

use std::{
    fs::{self, File},
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tempfile::TempDir;
use tokio::{
    process::Command,
    time::{sleep, timeout},
};

use crate::doubles::sigv4::Credentials;
use crate::project::tool;
use crate::real::process::{self, Group};

pub use self::history::{History, every};

/// Replaying a large write-ahead log takes seconds on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(60);

/// How often a fresh port is tried, should somebody else take the one just found free.
const PORT_ATTEMPTS: usize = 5;

/// In place of an empty file, with which 2.53 collects garbage without end
/// (<https://github.com/prometheus/prometheus/issues/16029>).
const DEFAULTS: &str = "global: {}\n";

/// Where a configuration finds those whom [`Prometheus::send_alerts_to`] names.
pub const ALERTMANAGERS: &str = "alertmanagers.json";

/// What a [`Prometheus`] starts with.
#[derive(Debug, Default)]
pub struct Options {
    /// Its `prometheus.yml`; empty: it scrapes nothing. `127.0.0.1:9090` in it is itself.
    pub config: String,
    /// Rule files, which the configuration may name, and what is in them.
    pub rules: Vec<(String, String)>,
    /// How long a sample counts; Prometheus's own five minutes if it is not given.
    pub lookback: Option<Duration>,
    /// Loaded before it starts.
    pub history: Vec<History>,
    /// Takes samples at `/api/v1/write`.
    pub remote_write_receiver: bool,
    /// What it signs its own writes with.
    pub credentials: Option<Credentials>,
}

/// A Prometheus server; dropping it kills the process and deletes its data.
#[derive(Debug)]
pub struct Prometheus {
    /// Before the folder, as fields are dropped in order: a live server would write to it again.
    process: Option<Group>,
    folder: TempDir,
    lookback: Option<Duration>,
    remote_write_receiver: bool,
    credentials: Option<Credentials>,
    port: u16,
}

impl Prometheus {
    /// Loads the history, starts the server and awaits that it is ready.
    ///
    /// # Errors
    /// Prometheus is not installed, or does not accept its configuration; its log says why.
    pub async fn start(options: Options) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("prometheus-").tempdir()?;
        for history in options.history {
            history.load(&folder.path().join("data")).await?;
        }
        for (name, rules) in options.rules {
            fs::write(folder.path().join(name), rules)?;
        }
        let mut prometheus = Self {
            folder,
            lookback: options.lookback,
            remote_write_receiver: options.remote_write_receiver,
            credentials: options.credentials,
            port: 0,
            process: None,
        };
        for _ in 0..PORT_ATTEMPTS {
            prometheus.port = free_port()?;
            let own_address = format!("127.0.0.1:{}", prometheus.port);
            let config = match options.config.as_str() {
                "" => DEFAULTS.to_owned(),
                config => config.replace("127.0.0.1:9090", &own_address),
            };
            fs::write(prometheus.path("prometheus.yml"), config)?;
            match prometheus.restart().await {
                Err(error) if format!("{error:#}").contains("address already in use") => {
                    fs::write(prometheus.path("log"), "")?;
                }
                result => return result.map(|()| prometheus),
            }
        }
        bail!("no port stayed free for {PORT_ATTEMPTS} starts of prometheus")
    }

    /// `http://127.0.0.1:<port>`, the same after a restart.
    pub fn url(&self) -> String {
        format!("http://{}:{}", Ipv4Addr::LOCALHOST, self.port)
    }

    /// An orderly end; data and port are kept for [`Self::restart`].
    ///
    /// # Errors
    /// It is not running.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("prometheus is not running")?;
        let quit = format!("{}/-/quit", self.url());
        reqwest::Client::new()
            .post(quit)
            .send()
            .await?
            .error_for_status()?;
        process.wait().await?;
        Ok(())
    }

    /// Starts it again on the data and the port it had.
    ///
    /// # Errors
    /// It did not get ready; its log says why.
    pub async fn restart(&mut self) -> anyhow::Result<()> {
        let mut process = self.spawn()?;
        timeout(START_LIMIT, self.ready(&mut process))
            .await
            .unwrap_or_else(|_| bail!("prometheus is not ready after {START_LIMIT:?}"))
            .with_context(|| format!("prometheus logged:\n{}", self.log()))?;
        self.process = Some(process);
        Ok(())
    }

    /// Adds samples of the past, after [`Self::stop`] and before [`Self::restart`].
    ///
    /// # Errors
    /// `promtool` is not installed, or does not accept them.
    pub async fn load(&self, history: History) -> anyhow::Result<()> {
        history.load(&self.path("data")).await
    }

    /// Sends alerts to an Alertmanager, if its configuration names [`ALERTMANAGERS`].
    ///
    /// # Errors
    /// The disk is full.
    pub fn send_alerts_to(&self, address: &str) -> io::Result<()> {
        let targets = serde_json::json!([{"targets": [address]}]);
        fs::write(self.path(ALERTMANAGERS), targets.to_string())
    }

    /// What the server has logged, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    fn spawn(&self) -> anyhow::Result<Group> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))?;
        let mut command = Command::new(tool("prometheus"));
        command
            .arg(format!(
                "--config.file={}",
                self.path("prometheus.yml").display()
            ))
            .arg(format!(
                "--storage.tsdb.path={}",
                self.path("data").display()
            ))
            // Backfills reach 14 days back, and the default of 15 days cuts by whole blocks.
            .arg("--storage.tsdb.retention.time=100d")
            .arg(format!(
                "--web.listen-address={}:{}",
                Ipv4Addr::LOCALHOST,
                self.port
            ))
            .arg("--web.enable-lifecycle")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(lookback) = self.lookback {
            command.arg(format!("--query.lookback-delta={}ms", lookback.as_millis()));
        }
        if self.remote_write_receiver {
            command.arg("--web.enable-remote-write-receiver");
        }
        if let Some(credentials) = &self.credentials {
            command.envs(credentials.environment());
        }
        Group::spawn(&mut command).map_err(|error| not_installed("prometheus", error))
    }

    async fn ready(&self, process: &mut Group) -> anyhow::Result<()> {
        // Whoever else has taken the port may accept a request and never answer it.
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(1))
            .build()?;
        loop {
            if let Some(status) = process.try_wait()? {
                bail!("prometheus ended with {status}");
            }
            if self.answers(&client).await.unwrap_or(false) {
                return Ok(());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Somebody is ready on this port, and it is this server.
    async fn answers(&self, client: &reqwest::Client) -> reqwest::Result<bool> {
        client
            .get(self.url() + "/-/ready")
            .send()
            .await?
            .error_for_status()?;
        let flags = client
            .get(self.url() + "/api/v1/status/flags")
            .send()
            .await?
            .text()
            .await?;
        Ok(flags.contains(&self.folder.path().display().to_string()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

fn not_installed(program: &str, error: io::Error) -> anyhow::Error {
    let context = match error.kind() {
        io::ErrorKind::NotFound => {
            format!("no {}: get it by `make tools`", tool(program).display())
        }
        _ => format!("cannot start {program}"),
    };
    anyhow::Error::new(error).context(context)
}

/// Blocks of the samples in an OpenMetrics file, in a data directory no server runs on.
async fn create_blocks(samples: &Path, data: &Path) -> anyhow::Result<()> {
    let mut command = Command::new(tool("promtool"));
    command
        .args(["tsdb", "create-blocks-from", "openmetrics", "--quiet"])
        .args([samples, data])
        // It works in a temporary folder, which it leaves behind when it is killed.
        .env("TMPDIR", data.parent().unwrap_or(data));
    let output = process::output(&mut command)
        .await
        .map_err(|error| not_installed("promtool", error))?;
    if !output.status.success() {
        bail!(
            "promtool refuses the history: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_somebody_else_has_taken_is_told() {
        let mut prometheus = Prometheus::start(Options::default()).await.unwrap();
        prometheus.stop().await.unwrap();
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, prometheus.port)).unwrap();
        let error = format!("{:#}", prometheus.restart().await.unwrap_err());
        assert!(error.contains("address already in use"), "{error}");
        drop(taken);
        prometheus.restart().await.unwrap();
    }

    #[tokio::test]
    async fn a_configuration_it_does_not_take_is_told_in_its_own_words() {
        let options = Options {
            config: "scrape: 1".to_owned(),
            ..Default::default()
        };
        let error = format!("{:#}", Prometheus::start(options).await.unwrap_err());
        assert!(error.contains("field scrape not found"), "{error}");
    }

    #[tokio::test]
    async fn a_dropped_server_leaves_nothing_behind() {
        let prometheus = Prometheus::start(Options::default()).await.unwrap();
        let (folder, url) = (prometheus.folder.path().to_owned(), prometheus.url());
        drop(prometheus);
        assert!(!folder.exists());
        assert!(reqwest::get(&url).await.is_err());
    }

    #[test]
    fn a_missing_program_is_told_with_the_remedy() {
        let error = not_installed("promtool", io::ErrorKind::NotFound.into());
        let error = error.to_string();
        assert!(
            error.ends_with("bin/promtool: get it by `make tools`"),
            "{error}"
        );
    }
}
