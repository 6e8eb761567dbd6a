//! Child processes that end whole: with what they have started, and before their handle is gone.

use std::{
    io, iter,
    process::{ExitStatus, Output, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, Command},
    try_join,
};

/// How long a killed group is waited for, in steps of a millisecond. Where nobody reaps orphans,
/// as in a container without an init, it never counts as gone.
const PATIENCE: usize = 2_000;

/// A process that leads a group of its own; dropping it kills the group and waits until it is gone.
#[derive(Debug)]
pub struct Group {
    leader: Child,
}

impl Group {
    /// Starts the command. A Ctrl-C at the terminal reaches its caller, and not the group.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let leader = command.process_group(0).spawn()?;
        Ok(Self { leader })
    }

    /// How the leader ended, if it has.
    ///
    /// # Errors
    /// It cannot be asked for.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.leader.try_wait()
    }

    /// Awaits the leader's end.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        self.leader.wait().await
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // A leader that has been waited for may have given its number away.
        let Some(group) = self.leader.id().and_then(|id| Pid::from_raw(id as i32)) else {
            return;
        };
        if kill_process_group(group, Signal::KILL).is_err() {
            return;
        }
        for _ in 0..PATIENCE {
            let leader = self.leader.try_wait();
            if !matches!(leader, Ok(None)) && test_kill_process_group(group).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Runs a command to its end and gives back what it printed.
///
/// # Errors
/// It cannot be started or read from.
pub async fn output(command: &mut Command) -> io::Result<Output> {
    let piped = command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut group = Group::spawn(piped)?;
    let (Some(mut out), Some(mut err)) = (group.leader.stdout.take(), group.leader.stderr.take())
    else {
        return Err(io::Error::other("a piped stream is missing"));
    };
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    try_join!(out.read_to_end(&mut stdout), err.read_to_end(&mut stderr))?;
    Ok(Output {
        status: group.wait().await?,
        stdout,
        stderr,
    })
}

/// What a command prints on its way to a successful end.
///
/// # Errors
/// It cannot be started, or fails; what it complained of is told.
pub async fn printed(command: &mut Command) -> anyhow::Result<String> {
    let words = command.as_std().get_args();
    let words: Vec<_> = iter::once(command.as_std().get_program())
        .chain(words)
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let words = words.join(" ");
    let output = output(command)
        .await
        .with_context(|| format!("cannot start {words}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{words}: {}", complaint.trim());
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    /// A process that starts another one, which tells its own number.
    async fn family(folder: &Path) -> (Group, PathBuf) {
        let told = folder.join("child");
        let script = format!(
            "sleep 1000 & echo $! > {0}.new && mv {0}.new {0}; wait",
            told.display()
        );
        let group = Group::spawn(Command::new("sh").args(["-c", &script])).unwrap();
        while !told.exists() {
            tokio::task::yield_now().await;
        }
        let child = std::fs::read_to_string(told).unwrap();
        (group, Path::new("/proc").join(child.trim()))
    }

    #[tokio::test]
    async fn with_a_dropped_process_its_children_are_gone() {
        let folder = tempfile::tempdir().unwrap();
        let (group, child) = family(folder.path()).await;
        assert!(child.exists());
        drop(group);
        assert!(!child.exists());
    }

    #[tokio::test]
    async fn a_command_that_is_given_up_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let told = folder.path().join("pid");
        let script = format!(
            "echo $$ > {0}.new && mv {0}.new {0}; sleep 1000",
            told.display()
        );
        let mut command = Command::new("sh");
        command.args(["-c", &script]);
        let begun = async {
            while !told.exists() {
                tokio::task::yield_now().await;
            }
        };
        tokio::select! {
            ended = output(&mut command) => panic!("{ended:?}"),
            () = begun => {}
        }
        let pid = std::fs::read_to_string(&told).unwrap();
        assert!(!Path::new("/proc").join(pid.trim()).exists());
    }

    #[tokio::test]
    async fn what_a_command_prints_and_how_it_ends_is_told() {
        let script = "echo out; echo err >&2; exit 3";
        let output = output(Command::new("sh").args(["-c", script]))
            .await
            .unwrap();
        assert_eq!(output.status.code(), Some(3));
        assert_eq!(
            (&output.stdout[..], &output.stderr[..]),
            (&b"out\n"[..], &b"err\n"[..])
        );
    }
}
