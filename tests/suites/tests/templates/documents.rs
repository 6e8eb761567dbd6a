//! What the documents tell to type: every `make` has its target, and gets what that needs.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testkit::project::repository;

use crate::run;

#[test]
fn make_understands_what_the_documents_tell_to_type() {
    let makefile = fs::read_to_string(repository("Makefile")).unwrap();
    let mut typed = 0;
    for document in documents() {
        let text = fs::read_to_string(&document).unwrap();
        let document = document.display();
        for command in commands(&text) {
            let target = command.split_whitespace().nth(1).unwrap();
            let has_target = makefile.contains(&format!("\n{target}: "));
            assert!(has_target, "{document}: {command}");
            // Without a variable it is the target's name, in a sentence.
            if command.contains('=') {
                let dry_run = command.replacen("make", "make --dry-run", 1);
                let mut shell = Command::new("bash");
                shell.args(["-c", &dry_run]).current_dir(repository(""));
                let (understood, printed) = run(&mut shell);
                assert!(understood, "{document}: {command}: {printed}");
                typed += 1;
            }
        }
    }
    assert!(typed > 10, "only {typed} commands found");
}

/// The CLI gives up after a minute, and tries again: a second run beside the first.
/// <https://docs.aws.amazon.com/cli/latest/userguide/cli-configure-options.html>
#[test]
fn whoever_invokes_a_function_waits_for_its_end() {
    let functions = ["dcgm-to-cloudwatch", "grafana-datasource-setup"];
    let readmes = functions.map(|name| repository(&format!("functions/{name}/README.md")));
    let makefile = repository("Makefile");
    let readmes = readmes.into_iter().filter(|path| path.exists());
    let mut invoked = 0;
    for document in documents().into_iter().chain(readmes).chain([makefile]) {
        let text = fs::read_to_string(&document).unwrap();
        let text = text.replace("\\\n", " ");
        let commands = text
            .lines()
            .flat_map(|line| line.split("aws lambda invoke").skip(1));
        for rest in commands.filter(|rest| rest.contains("--function-name")) {
            let waits = rest.contains("--cli-read-timeout 910 ");
            assert!(waits, "{}: aws lambda invoke{rest}", document.display());
            invoked += 1;
        }
    }
    assert!(invoked >= 5, "only {invoked} commands found");
}

fn documents() -> Vec<PathBuf> {
    let docs = fs::read_dir(repository("docs")).unwrap();
    let docs = docs.map(|entry| entry.unwrap().path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    docs.filter(is_markdown)
        .chain([repository("README.md")])
        .collect()
}

/// Every `make …` in a block of code or between backticks.
fn commands(markdown: &str) -> Vec<String> {
    let markdown = markdown.replace("\\\n", " ");
    let lines = markdown.lines().flat_map(|line| line.split('`'));
    let commands = lines.filter(|text| text.starts_with("make "));
    commands
        .map(|text| text.split(" #").next().unwrap().to_owned())
        .collect()
}
