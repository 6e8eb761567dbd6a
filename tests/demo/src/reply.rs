//! The function's reply, for people.

use std::io;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::screen::Screen;

/// Of more periods than this, those in the middle are left out.
const SHOWN: usize = 6;

/// As far as it is shown here.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Reply {
    mode: String,
    periods: Vec<Period>,
    pub(crate) dropped: Map<String, Value>,
    requests: u64,
    lag_seconds: i64,
    pub(crate) complete: bool,
    metrics: u64,
    estimated_monthly_usd: f64,
}

#[derive(Debug, Deserialize)]
struct Period {
    start: String,
    end: String,
    gpus: u64,
    series: u64,
    samples: u64,
    datums: u64,
}

impl Reply {
    /// `queries` is what AMP saw of the run.
    pub(crate) fn show(&self, queries: usize, screen: &Screen) -> io::Result<()> {
        let Self {
            mode,
            lag_seconds,
            requests,
            metrics,
            ..
        } = self;
        let end = if self.complete {
            "complete"
        } else {
            "not complete"
        };
        screen.row("reply", format!("{mode}, {end}, lag {lag_seconds} s"))?;
        let text = format!("{queries} signed queries, {requests} PutMetricData requests");
        screen.row("", text)?;
        let usd = self.estimated_monthly_usd;
        screen.row(
            "",
            format!("{metrics} metrics, ${usd:.2} a month by list price"),
        )?;
        screen.row("", format!("dropped {}", self.dropped_text()))?;
        self.show_periods(screen)
    }

    fn dropped_text(&self) -> String {
        let reasons = self.dropped.iter();
        let reasons: Vec<_> = reasons
            .map(|(reason, count)| format!("{count} {reason}"))
            .collect();
        match &reasons[..] {
            [] => "nothing".to_owned(),
            reasons => reasons.join(", "),
        }
    }

    fn show_periods(&self, screen: &Screen) -> io::Result<()> {
        let head = format!("{:22}gpus  series  samples  datums", "period");
        screen.note(format!("{:16}{head}", ""))?;
        let left_out = self.periods.len().saturating_sub(SHOWN);
        for (index, period) in self.periods.iter().enumerate() {
            if left_out == 0 || index < SHOWN / 2 || index >= SHOWN / 2 + left_out {
                screen.row("", period.line())?;
            } else if index == SHOWN / 2 {
                screen.note(format!("{:16}… {left_out} more", ""))?;
            }
        }
        Ok(())
    }
}

impl Period {
    fn line(&self) -> String {
        let Self {
            gpus,
            series,
            samples,
            datums,
            ..
        } = self;
        let [start, end] = [&self.start, &self.end].map(|time| time.get(11..19).unwrap_or(time));
        format!("{start} to {end}  {gpus:>4}  {series:>6}  {samples:>7}  {datums:>6}")
    }
}
