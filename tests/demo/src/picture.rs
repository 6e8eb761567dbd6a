//! The last minutes as bars of text.

use std::io;

use testkit::oracle::{Metric, Statistic};

use crate::{
    clock::{self, PERIOD, Span},
    proof::ReadBack,
    screen::Screen,
};

const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Lines of a chart.
const ROWS: usize = 3;

/// A metric to draw between two values.
#[derive(Debug)]
pub(crate) struct Chart {
    pub(crate) metric: Metric,
    pub(crate) statistic: Statistic,
    pub(crate) about: String,
    pub(crate) low: f64,
    pub(crate) high: f64,
}

/// The charts below one another, over one axis that tells where `live` begins.
pub(crate) fn draw(
    charts: &[Chart],
    found: &ReadBack,
    all: Span,
    live: Span,
    screen: &Screen,
) -> io::Result<()> {
    for chart in charts {
        let points = found.points(&chart.metric, chart.statistic, PERIOD);
        let values: Vec<_> = all
            .periods()
            .map(|start| points.get(&start).copied())
            .collect();
        screen.row(&chart.metric.name, &chart.about)?;
        screen.block(&bars(&values, chart.low, chart.high).join("\n"))?;
    }
    screen.block(&axis(all, live))
}

/// One bar for each value; nothing measured is a gap, never a zero.
fn bars(values: &[Option<f64>], low: f64, high: f64) -> Vec<String> {
    let heights: Vec<usize> = values
        .iter()
        .map(|value| value.map_or(0, |value| height(value, low, high)))
        .collect();
    (0..ROWS)
        .map(|row| {
            let below = (ROWS - 1 - row) * 8;
            let label = match row {
                0 => high.to_string(),
                _ if row == ROWS - 1 => low.to_string(),
                _ => String::new(),
            };
            let bar = |height: &usize| EIGHTHS[height.saturating_sub(below).min(8)];
            let bars: String = heights.iter().map(bar).collect();
            format!("{label:>5} ┤{bars}").trim_end().to_owned()
        })
        .collect()
}

/// In eighths of a row; at least one, so that what was measured can be seen.
fn height(value: f64, low: f64, high: f64) -> usize {
    let full = (ROWS * 8) as f64;
    let height = (value - low) / (high - low) * full;
    height.round().clamp(1.0, full) as usize
}

fn axis(all: Span, live: Span) -> String {
    let (whole, before) = (
        all.periods().count(),
        all.periods().take_while(|at| *at < live.start).count(),
    );
    let (start, live) = (clock::of_day(all.start), clock::of_day(live.start));
    format!(
        "      └{}┴{}\n       {start:<before$}{live}, live",
        "─".repeat(before.saturating_sub(1)),
        "─".repeat(whole - before)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_high_as_their_values() {
        let values = [Some(0.0), Some(50.0), None, Some(100.0), Some(500.0)];
        assert_eq!(
            bars(&values, 0.0, 100.0),
            ["  100 ┤   ██", "      ┤ ▄ ██", "    0 ┤▁█ ██"]
        );
    }

    #[test]
    fn the_axis_marks_where_the_live_minute_begins() {
        let all = Span { start: 0, end: 160 };
        let live = Span {
            start: 100,
            end: 160,
        };
        let expected = "      └─────────┴──────\n       00:00:00  00:01:40, live";
        assert_eq!(axis(all, live), expected);
    }
}
