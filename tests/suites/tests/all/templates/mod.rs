//! The stack's templates and the nodes' set-up, held to what the functions read, call and publish.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]

mod markdown;
mod node;
mod release;
mod template;

mod cluster;
mod compute_node;
mod documents;
mod functions;
mod head_node;
mod house;
mod metrics;
mod migration;
mod nodes;
mod packages;
mod parameters;
mod patterns;
mod permissions;
mod reality;
mod simulation;
mod stack;
mod translations;

use std::fs;
use std::path::Path;
use std::process::Command;

use testkit::project::{repository, tool};

/// Runs a command to its end and gives back all it printed.
fn run(command: &mut Command) -> (bool, String) {
    let output = command
        .output()
        .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

fn do_or_fail(command: &mut Command) {
    let (done, printed) = run(command);
    assert!(done, "{command:?}: {printed}");
}

/// Writes a program. Another process does: a file that is open for writing here would be open in a
/// child that another test starts just then, and could not be executed ("Text file busy").
fn place_program(path: &Path, text: &str) {
    let written = path.with_extension("text");
    fs::write(&written, text).unwrap();
    let mut install = Command::new("install");
    do_or_fail(install.args(["--mode", "755"]).arg(&written).arg(path));
    fs::remove_file(written).unwrap();
}

#[test]
fn cfn_lint_finds_nothing_not_even_to_mention() {
    let mut lint = Command::new(tool("cfn-lint"));
    let (clean, printed) = run(lint.current_dir(repository("")));
    assert!(clean, "{printed}");
}
