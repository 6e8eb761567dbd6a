//! Samples of the past, written as OpenMetrics text and turned into blocks by `promtool`.

use std::{
    io::{BufWriter, Write as _},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tempfile::NamedTempFile;

use crate::doubles::dcgm_exporter::{Field, Node, Series};

/// Samples for a Prometheus to start with. One history should not span much more than it holds:
/// `promtool` reads all of it once for every two hours between its first and its last sample.
/// 80,000 series load in 7 s with 4 samples each, in 45 s with 60.
#[derive(Debug)]
pub struct History {
    file: BufWriter<NamedTempFile>,
}

impl History {
    /// An empty history, on disk.
    ///
    /// # Errors
    /// There is no temporary file to write to.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            file: BufWriter::with_capacity(1 << 20, NamedTempFile::new()?),
        })
    }

    /// What these nodes' exporters would have shown of the published fields at each of `times`.
    ///
    /// # Errors
    /// There is no temporary file to write to, or the disk is full.
    pub fn of(nodes: &[Node], times: &[SystemTime]) -> anyhow::Result<Self> {
        let mut history = Self::new()?;
        history.fleet(nodes, &Field::published(), times, Node::load)?;
        Ok(history)
    }

    /// Adds a series: its name, its labels as in an exposition (`a="1",b="2"`), and its samples in
    /// order of time.
    ///
    /// # Errors
    /// The disk is full.
    pub fn series(
        &mut self,
        name: &str,
        labels: &str,
        samples: impl IntoIterator<Item = (SystemTime, f64)>,
    ) -> anyhow::Result<()> {
        for (time, value) in samples {
            let millis = time.duration_since(UNIX_EPOCH)?.as_millis();
            let (seconds, millis) = (millis / 1000, millis % 1000);
            // Rust writes infinities as `inf`.
            let value = match value {
                f64::INFINITY => "+Inf".to_owned(),
                f64::NEG_INFINITY => "-Inf".to_owned(),
                finite_or_nan => finite_or_nan.to_string(),
            };
            writeln!(
                self.file,
                "{name}{{{labels}}} {value} {seconds}.{millis:03}"
            )?;
        }
        Ok(())
    }

    /// Adds what these nodes' exporters would have shown at each of `times`, with `value` in place
    /// of their own load.
    ///
    /// # Errors
    /// The disk is full.
    pub fn fleet(
        &mut self,
        nodes: &[Node],
        fields: &[Field],
        times: &[SystemTime],
        value: impl Fn(&Node, &Series, Field, SystemTime) -> f64,
    ) -> anyhow::Result<()> {
        for field in fields {
            for node in nodes {
                for series in node.series() {
                    let labels = node.stored_labels(&series);
                    let exported = node.release.exported(*field);
                    let samples = times.iter().map(|time| {
                        let value = value(node, &series, *field, *time);
                        (*time, exported.scaled(value))
                    });
                    self.series(exported.name, &labels, samples)?;
                }
            }
        }
        Ok(())
    }

    pub(super) async fn load(mut self, data: &Path) -> anyhow::Result<()> {
        writeln!(self.file, "# EOF")?;
        let file = self.file.into_inner()?;
        super::create_blocks(file.path(), data).await
    }
}

/// Times from `start` to before `end`, `step` apart.
pub fn every(step: Duration, start: SystemTime, end: SystemTime) -> Vec<SystemTime> {
    std::iter::successors(Some(start), |time| Some(*time + step))
        .take_while(|time| *time < end)
        .collect()
}
