//! The stack deployed, at work and deleted, shown on one machine: real Prometheus, real functions,
//! real AWS CLI; simulated GPUs, a CloudFormation that deploys, and strict doubles of the rest of AWS.

#![expect(
    clippy::disallowed_methods,
    reason = "a program that people start: it reads the clock and the environment itself"
)]

mod aws;
mod clock;
mod documents;
mod keep;
mod live;
mod parts;
mod picture;
mod proof;
mod reply;
mod scraped;
mod screen;
mod served;
mod sick;
mod stack;
mod story;
mod verdict;

use std::{ffi::OsStr, io, process::ExitCode};

use anyhow::bail;
use tokio::{
    runtime,
    signal::unix::{SignalKind, signal},
};

use self::screen::Screen;

const HELP: &str = "\
Shows how DCGM metrics get from GPU nodes to CloudWatch and Grafana, on this machine, without an
AWS account.

Two simulated p5en.48xlarge nodes are scraped by a real Prometheus with the head node's own
configuration, which sends to Amazon Managed Prometheus: a gateway that checks every signature,
before another real Prometheus. The real AWS CLI deploys the packaged stack to MiniStack. There the
built functions make the data source in a Grafana, and carry the metrics by their schedule and by
hand to a CloudWatch that refuses what CloudWatch refuses. A GPU falls ill and recovers: the stack's
rules and a real Alertmanager tell it to a queue. The stack is updated and deleted, and every number
in CloudWatch is compared with what the nodes served.

Takes about two and a half minutes. Everything is stopped and deleted at the end, and on Ctrl-C.
With DEMO_KEEP=1 all of it goes on at the end, with a page of the dashboards, until Ctrl-C.

Usage: demo [--help]    (`make demo` installs and builds what it needs, then runs it)

Exit code:   0 every number agrees    1 one does not, or something failed    2 wrong usage
             130, 143 stopped by Ctrl-C or SIGTERM

Environment: DEMO_KEEP      1: keeps the stack and all around it running
             NO_COLOR       no colours
             BOOTSTRAP_DIR  where the built functions lie; else target/lambda
";

/// How it ended.
enum End {
    Told { agrees: bool },
    Stopped { code: u8 },
}

fn main() -> ExitCode {
    let screen = Screen::new();
    match std::env::args().nth(1).as_deref() {
        None => run(&screen),
        Some("-h" | "--help") => match screen.say(HELP.trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => failed(&error.into()),
        },
        Some(other) => {
            eprintln!("demo: unknown argument {other:?}; see demo --help");
            ExitCode::from(2)
        }
    }
}

fn run(screen: &Screen) -> ExitCode {
    let runtime = match runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error.into()),
    };
    let end = runtime.block_on(tell_unless_stopped(screen));
    // Ends what is still running, child processes too.
    drop(runtime);
    match end {
        Ok(End::Told { agrees: true }) => ExitCode::SUCCESS,
        Ok(End::Told { agrees: false }) => ExitCode::FAILURE,
        Ok(End::Stopped { code }) => {
            eprintln!("\ndemo: stopped; nothing is left running");
            ExitCode::from(code)
        }
        Err(error) => failed(&error),
    }
}

async fn tell_unless_stopped(screen: &Screen) -> anyhow::Result<End> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let keep = is_kept(std::env::var_os("DEMO_KEEP").as_deref())?;
    tokio::select! {
        agrees = story::tell(screen, keep) => Ok(End::Told { agrees: agrees? }),
        _ = interrupt.recv() => Ok(End::Stopped { code: 130 }),
        _ = terminate.recv() => Ok(End::Stopped { code: 143 }),
    }
}

/// Another word would be found to mean nothing only after the demo.
fn is_kept(value: Option<&OsStr>) -> anyhow::Result<bool> {
    match value.map(OsStr::to_string_lossy).as_deref() {
        Some("1") => Ok(true),
        None | Some("" | "0") => Ok(false),
        Some(other) => bail!("DEMO_KEEP={other}: expected 1, or nothing"),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    // `demo | head`: nobody reads any more, which is no failure to tell of.
    let is_broken_pipe = error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
    if !is_broken_pipe {
        eprintln!("\ndemo: {error:#}");
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_does_not_keep_the_demo_is_refused() {
        let kept = |value: &str| is_kept(Some(OsStr::new(value)));
        assert!(kept("1").is_ok_and(|kept| kept));
        assert!(kept("0").is_ok_and(|kept| !kept));
        assert!(is_kept(None).is_ok_and(|kept| !kept));
        let error = kept("yes").expect_err("it is no 1").to_string();
        assert_eq!(error, "DEMO_KEEP=yes: expected 1, or nothing");
    }
}
