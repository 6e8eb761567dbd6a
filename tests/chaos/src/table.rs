//! The rows as a Markdown table.

use std::fmt::Write as _;

use crate::trial::Row;

pub(crate) const NOTE: &str = "\
Values: every raw sample counts for its GPU and for the cluster, and each minute has one GPUsReporting.
Refused: samples that CloudWatch does not take, as the replies say.
Ends: what the runs ended with while the fault lasted, and how many did.";

pub(crate) fn table(rows: &[Row]) -> String {
    let mut lines = vec![
        [
            "fault",
            "values expected",
            "found",
            "lost",
            "refused",
            "doubled",
            "recovery",
            "ends",
            "memory",
        ]
        .map(str::to_owned),
    ];
    lines.extend(rows.iter().map(cells));
    let widths: [usize; 9] = std::array::from_fn(|column| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or_default()
    });
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (column, (cell, width)) in line.iter().zip(widths).enumerate() {
            let _ = if (1..=5).contains(&column) {
                write!(text, "| {cell:>width$} ")
            } else {
                write!(text, "| {cell:<width$} ")
            };
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn cells(row: &Row) -> [String; 9] {
    let runs = row.runs_to_recover;
    let ends = row
        .ends
        .iter()
        .map(|(end, count)| format!("{count} × {end}"));
    [
        row.fault.name.to_owned(),
        row.tally.expected.to_string(),
        row.tally.found.to_string(),
        row.tally.lost().saturating_sub(row.refused).to_string(),
        row.refused.to_string(),
        row.tally.doubled.to_string(),
        format!(
            "{runs} {}, {:.1} s",
            if runs == 1 { "run" } else { "runs" },
            row.time_to_recover.as_secs_f64()
        ),
        ends.collect::<Vec<_>>().join(", "),
        format!("{} MiB", row.peak_rss_mib),
    ]
}
