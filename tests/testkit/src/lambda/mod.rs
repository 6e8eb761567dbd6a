//! Runs a built `bootstrap` the way Lambda does: as a child process that asks for its invocations
//! at the Runtime API. One process is one execution environment; once it is gone, it stays gone.

mod runtime_api;

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    sync::Arc,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;
use tempfile::NamedTempFile;
use tokio::{
    net::TcpListener,
    process::{Child, Command},
    sync::{Mutex, Notify, watch},
    task::JoinSet,
    time::timeout,
};

use self::runtime_api::{Answer, Offered, RuntimeApi};
use crate::doubles::sigv4::Credentials;

/// The region the function believes to be in, unless its environment says otherwise.
pub const REGION: &str = "us-east-2";

/// Time a function has until its first `next`:
/// <https://docs.aws.amazon.com/lambda/latest/dg/lambda-runtime-environment.html>
const INIT_LIMIT: Duration = Duration::from_secs(10);

/// Lambda's longest: <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const LONGEST_TIMEOUT: Duration = Duration::from_secs(900);

/// How `/proc` counts CPU time, whatever the kernel's own tick is.
const USER_HZ: u64 = 100;

/// How an invocation ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The function answered.
    Reply(Value),
    /// The function reported an error; the process lives on.
    Error {
        /// What alarms and callers tell errors apart by.
        error_type: String,
        /// What the operator reads.
        message: String,
    },
    /// The function reported that it cannot start; the process is killed.
    InitError {
        /// What alarms and callers tell errors apart by.
        error_type: String,
        /// What the operator reads.
        message: String,
    },
    /// No answer by the deadline; the process is killed.
    TimedOut,
    /// The process ended without an answer.
    Exited {
        /// How it ended.
        status: ExitStatus,
    },
}

impl Outcome {
    /// The JSON the function answered with.
    ///
    /// # Errors
    /// Any other outcome, in words.
    pub fn reply(self) -> anyhow::Result<Value> {
        match self {
            Self::Reply(value) => Ok(value),
            other => anyhow::bail!("expected a reply of the function, got {other:?}"),
        }
    }

    /// Type and message of the error the function reported.
    ///
    /// # Errors
    /// Any other outcome, in words.
    pub fn error(self) -> anyhow::Result<(String, String)> {
        match self {
            Self::Error {
                error_type,
                message,
            } => Ok((error_type, message)),
            other => anyhow::bail!("expected an error of the function, got {other:?}"),
        }
    }
}

/// The built binary of one of the workspace's functions.
///
/// # Errors
/// It has not been built.
pub fn bootstrap(function: &str) -> anyhow::Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let folder = std::env::var_os("BOOTSTRAP_DIR")
        .map_or_else(|| workspace.join("target/lambda"), PathBuf::from);
    let path = folder.join(function).join("bootstrap");
    path.canonicalize()
        .with_context(|| format!("no {}: build the functions by `make build`", path.display()))
}

/// A function's execution environment; dropping it kills the process.
#[derive(Debug)]
pub struct Function {
    pid: u32,
    /// A file and no pipe: what the process has written is here, not on its way.
    log: NamedTempFile,
    runtime_api: Arc<RuntimeApi>,
    kill: Arc<Notify>,
    exited: watch::Receiver<Option<ExitStatus>>,
    /// An execution environment serves one invocation at a time.
    busy: Mutex<()>,
    _tasks: JoinSet<()>,
}

impl Function {
    /// Starts the process with Lambda's own variables and `env`, and nothing of ours. `env` wins.
    ///
    /// # Errors
    /// The process cannot be started. That it fails to initialise is what `invoke` tells.
    pub async fn start<'a>(
        bootstrap: impl AsRef<Path>,
        env: impl IntoIterator<Item = (&'a str, String)>,
    ) -> anyhow::Result<Self> {
        let bootstrap = bootstrap.as_ref();
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let log = NamedTempFile::new()?;
        let stdout = OpenOptions::new().append(true).open(log.path())?;
        let stderr = stdout.try_clone()?;
        let child = Command::new(bootstrap)
            .env_clear()
            .envs(lambda_environment(bootstrap, &address.to_string()))
            .envs(env)
            .stdin(Stdio::null())
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", bootstrap.display()))?;
        let pid = child
            .id()
            .context("a process has an id until it is waited for")?;

        let kill = Arc::new(Notify::new());
        let runtime_api = Arc::new(RuntimeApi::new(Arc::clone(&kill)));
        let router = Arc::clone(&runtime_api).router();
        let (exit, exited) = watch::channel(None);
        let mut tasks = JoinSet::new();
        tasks.spawn(supervise(child, Arc::clone(&kill), exit));
        tasks.spawn(async move { axum::serve(listener, router).await.expect("never ends") });
        let busy = Mutex::default();
        Ok(Self {
            pid,
            log,
            runtime_api,
            kill,
            exited,
            busy,
            _tasks: tasks,
        })
    }

    /// Invokes the function with all the time Lambda can give; an empty payload arrives as an empty
    /// body, as Lambda delivers it.
    ///
    /// # Errors
    /// The function answered with something that is not JSON.
    pub async fn invoke(&self, payload: impl Into<Vec<u8>>) -> anyhow::Result<Outcome> {
        self.invoke_with_timeout(payload, LONGEST_TIMEOUT).await
    }

    /// Invokes the function, whose time is over `time_limit` after it has taken the invocation.
    ///
    /// # Errors
    /// The function answered with something that is not JSON.
    pub async fn invoke_with_timeout(
        &self,
        payload: impl Into<Vec<u8>>,
        time_limit: Duration,
    ) -> anyhow::Result<Outcome> {
        let _one_at_a_time = self.busy.lock().await;
        let mut offered = self.runtime_api.offer(payload.into(), time_limit);
        tokio::select! {
            biased;
            answer = answer_in_time(&mut offered, time_limit) => match answer {
                Some(answer) => outcome(answer),
                None => {
                    self.kill().await;
                    Ok(Outcome::TimedOut)
                }
            },
            status = self.exit() => Ok(match self.runtime_api.init_error() {
                Some(error) => {
                    Outcome::InitError { error_type: error.error_type, message: error.message }
                }
                None => Outcome::Exited { status },
            }),
        }
    }

    /// Everything the process has written to stdout and stderr so far.
    pub fn log(&self) -> String {
        let log = fs::read(self.log.path()).expect("the file lives as long as this");
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Ends the process by SIGKILL, also in the middle of an invocation, and awaits its end.
    pub async fn kill(&self) {
        self.kill.notify_one();
        self.exit().await;
    }

    /// Awaits the end of the process.
    pub async fn exit(&self) -> ExitStatus {
        let mut exited = self.exited.clone();
        let status = exited.wait_for(Option::is_some).await;
        status
            .ok()
            .and_then(|status| *status)
            .expect("the supervisor tells the status at its end")
    }

    /// The process's id, also after its end.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The most memory the process has held at any time.
    ///
    /// # Errors
    /// The process has ended.
    pub fn peak_rss_kib(&self) -> anyhow::Result<u64> {
        let status = self.proc_file("status")?;
        let size = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let size = size.context("no VmHWM: the process has ended")?;
        Ok(size.trim().trim_end_matches(" kB").parse()?)
    }

    /// CPU time the process has used so far, user and system together.
    ///
    /// # Errors
    /// The process has ended.
    pub fn cpu_time(&self) -> anyhow::Result<Duration> {
        let stat = self.proc_file("stat")?;
        // proc(5): the command's name ends at the last `)`; utime and stime are the 12th and 13th
        // field after it.
        let (_, fields) = stat.rsplit_once(')').context("no command name in stat")?;
        let ticks = fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(str::parse::<u64>);
        let ticks: u64 = ticks.sum::<Result<_, _>>()?;
        Ok(Duration::from_millis(ticks * 1000 / USER_HZ))
    }

    fn proc_file(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.pid);
        fs::read_to_string(&path).with_context(|| format!("no {path}: the process has ended"))
    }
}

/// The answer, or nothing when the time is over. Pends for ever when the process is dead, which is
/// for the caller to notice.
async fn answer_in_time(offered: &mut Offered, time_limit: Duration) -> Option<Answer> {
    timeout(INIT_LIMIT, &mut offered.taken).await.ok()?.ok()?;
    timeout(time_limit, &mut offered.answered).await.ok()?.ok()
}

fn outcome(answer: Answer) -> anyhow::Result<Outcome> {
    Ok(match answer {
        Answer::Response(body) => Outcome::Reply(
            serde_json::from_slice(&body)
                .with_context(|| format!("the function's reply is not JSON: {body:?}"))?,
        ),
        Answer::Error(error) => Outcome::Error {
            error_type: error.error_type,
            message: error.message,
        },
    })
}

async fn supervise(mut child: Child, kill: Arc<Notify>, exit: watch::Sender<Option<ExitStatus>>) {
    let status = tokio::select! {
        status = child.wait() => status,
        () = kill.notified() => {
            child.start_kill().expect("a child that was not waited for can be killed");
            child.wait().await
        }
    };
    exit.send_replace(Some(status.expect("a child can be waited for")));
}

/// <https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html#configuration-envvars-runtime>
fn lambda_environment(bootstrap: &Path, runtime_api: &str) -> Vec<(&'static str, String)> {
    let task_root = bootstrap.parent().unwrap_or(Path::new("/"));
    let name = task_root.file_name().unwrap_or_default().to_string_lossy();
    let credentials = Credentials::example();
    let mut environment = vec![
        ("_HANDLER", "bootstrap".to_owned()),
        ("AWS_ACCESS_KEY_ID", credentials.access_key_id),
        ("AWS_DEFAULT_REGION", REGION.to_owned()),
        ("AWS_LAMBDA_FUNCTION_MEMORY_SIZE", "128".to_owned()),
        ("AWS_LAMBDA_FUNCTION_NAME", name.to_string()),
        ("AWS_LAMBDA_FUNCTION_VERSION", "$LATEST".to_owned()),
        ("AWS_LAMBDA_INITIALIZATION_TYPE", "on-demand".to_owned()),
        ("AWS_LAMBDA_LOG_GROUP_NAME", format!("/aws/lambda/{name}")),
        (
            "AWS_LAMBDA_LOG_STREAM_NAME",
            "2026/01/01/[$LATEST]0123456789abcdef".to_owned(),
        ),
        ("AWS_LAMBDA_RUNTIME_API", runtime_api.to_owned()),
        ("AWS_REGION", REGION.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", credentials.secret_access_key),
        ("LAMBDA_TASK_ROOT", task_root.display().to_string()),
        ("LANG", "en_US.UTF-8".to_owned()),
        ("PATH", "/usr/local/bin:/usr/bin:/bin".to_owned()),
        ("TZ", ":UTC".to_owned()),
    ];
    environment.extend(
        credentials
            .session_token
            .map(|token| ("AWS_SESSION_TOKEN", token)),
    );
    environment
}
