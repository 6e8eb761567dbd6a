//! What the documents tell to type and where they lead: every `make` has its target and gets what that
//! needs, and every link has its heading.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testkit::project::repository;

use crate::templates::markdown::Document;
use crate::templates::run;

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
    let makefile = repository("Makefile");
    let mut invoked = 0;
    for document in documents().into_iter().chain(others()).chain([makefile]) {
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

#[test]
fn every_link_within_the_repository_leads_to_a_heading_or_a_file() {
    let mut followed = 0;
    for path in documents().into_iter().chain(others()) {
        let document = Document::load(&path);
        for link in document.sections.iter().flat_map(|section| &section.links) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", document.path);
            if !heading.is_empty() {
                let anchors = Document::load(&target).anchors();
                let leads = anchors.iter().any(|anchor| anchor == heading);
                assert!(leads, "{}: {link}: {anchors:?}", document.path);
            }
            followed += 1;
        }
    }
    assert!(followed > 100, "only {followed} links found");
}

/// Markdown takes `**` between punctuation and a letter for text, as where a Korean particle follows.
#[test]
fn no_emphasis_is_left_open() {
    for path in documents() {
        let document = Document::load(&path);
        for passage in document.passages() {
            let mut outside_code = passage
                .cells
                .iter()
                .flat_map(|cell| cell.split('`').step_by(2));
            let open = outside_code.find(|text| text.contains('*'));
            assert_eq!(open, None, "{}:{}", document.path, passage.line);
        }
    }
}

/// README and `docs`, in every language.
fn documents() -> Vec<PathBuf> {
    let docs = ["docs", "docs/ko"].map(|folder| fs::read_dir(repository(folder)).unwrap());
    let docs = docs.into_iter().flatten();
    let docs = docs.map(|entry| entry.unwrap().path());
    let is_markdown = |path: &PathBuf| path.extension().is_some_and(|kind| kind == "md");
    docs.filter(is_markdown)
        .chain([repository("README.md")])
        .collect()
}

/// What else people read.
fn others() -> [PathBuf; 5] {
    [
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "functions/dcgm-to-cloudwatch/README.md",
        "functions/grafana-datasource-setup/README.md",
    ]
    .map(repository)
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
