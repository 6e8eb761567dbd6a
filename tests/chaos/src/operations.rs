//! The failure table of docs/operations.md says what the faults do, and leaves none out.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use crate::fault::FAULTS;

fn file(path: &str) -> String {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::read_to_string(workspace.join(path)).unwrap()
}

/// Fault, what happens, published twice, what is seen, what to do.
fn rows(document: &str) -> Vec<[&str; 5]> {
    let lines = document.lines().filter(|line| line.starts_with("| "));
    let cells = lines.map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        cells
            .try_into()
            .unwrap_or_else(|_| panic!("not five cells: {line}"))
    });
    // Without the head and the line below it.
    cells.skip(2).collect()
}

#[test]
fn the_failure_table_has_the_faults_and_what_their_runs_end_with() {
    let document = file("docs/operations.md");
    let rows = rows(&document);
    let told: Vec<_> = rows.iter().map(|row| row[0]).collect();
    let tried: Vec<_> = FAULTS.iter().map(|fault| fault.name).collect();
    assert_eq!(told, tried);
    for (fault, [name, _, twice, seen, _]) in FAULTS.iter().zip(rows) {
        for end in fault.ends {
            assert!(seen.contains(&format!("`{end}`")), "{name}: no {end}");
        }
        assert_eq!(
            !twice.starts_with("nothing"),
            fault.doubles,
            "{name}: {twice}"
        );
        let is_counted = seen.contains("`detail.refused`");
        assert_eq!(is_counted, fault.refuses, "{name}: {seen}");
        let fails = fault.ends.iter().any(|end| *end != "complete");
        assert!(!fails || seen.contains("Alarm`"), "{name}: no alarm");
    }
}

#[test]
fn the_alarms_it_names_are_in_the_template() {
    let template = file("infra/alarms.yaml");
    let document = file("docs/operations.md");
    let named: BTreeSet<_> = document
        .split('`')
        .filter(|word| word.ends_with("Alarm"))
        .collect();
    assert!(named.len() > 1, "{named:?}");
    for alarm in named {
        let resource = format!("\n  {alarm}:\n    Type: AWS::CloudWatch::Alarm\n");
        assert!(template.contains(&resource), "{alarm}");
    }
}
