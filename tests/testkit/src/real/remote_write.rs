//! Samples sent as a Prometheus sends them, at whatever time they are said to be of:
//! <https://prometheus.io/docs/specs/prw/remote_write_spec/>.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use prost::Message;

use crate::doubles::dcgm_exporter::{Field, Node};

/// What Prometheus writes as the last sample of a series that has ended:
/// <https://prometheus.io/docs/specs/prw/remote_write_spec/#stale-markers>
pub const STALE: u64 = 0x7ff0_0000_0000_0002;

/// A request that is being put together.
#[derive(Clone, PartialEq, Message)]
pub struct Request {
    #[prost(message, repeated, tag = "1")]
    timeseries: Vec<TimeSeries>,
}

#[derive(Clone, PartialEq, Message)]
struct TimeSeries {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

impl Request {
    /// Adds samples of one series. `labels` are as in an exposition, without escapes:
    /// `a="1",b="2"`.
    pub fn series(
        &mut self,
        name: &str,
        labels: &str,
        samples: impl IntoIterator<Item = (SystemTime, f64)>,
    ) {
        let pairs = labels
            .split("\",")
            .filter_map(|pair| pair.split_once("=\""))
            .map(|(name, value)| (name, value.trim_end_matches('"')));
        self.labelled(pairs.chain([("__name__", name)]), samples);
    }

    /// Adds samples of the series with these labels, of which one is its name.
    pub fn labelled<'a>(
        &mut self,
        labels: impl IntoIterator<Item = (&'a str, &'a str)>,
        samples: impl IntoIterator<Item = (SystemTime, f64)>,
    ) {
        let labels = labels.into_iter().map(|(name, value)| Label {
            name: name.to_owned(),
            value: value.to_owned(),
        });
        let mut labels: Vec<_> = labels.collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let samples = samples.into_iter().map(|(time, value)| Sample {
            value,
            timestamp: millis(time),
        });
        self.timeseries.push(TimeSeries {
            labels,
            samples: samples.collect(),
        });
    }

    /// Adds what a node's exporter shows of these fields at each of `times`.
    pub fn load(&mut self, node: &Node, fields: &[Field], times: &[SystemTime]) {
        self.each(node, fields, |node, series, field| {
            let exported = node.release.exported(field);
            let value = |time: &SystemTime| {
                let value = node.load(series, field, *time);
                (*time, exported.scaled(value))
            };
            times.iter().map(value).collect()
        });
    }

    /// Adds the end of each of a node's series, as when its exporter no longer answers.
    pub fn end(&mut self, node: &Node, fields: &[Field], time: SystemTime) {
        self.each(node, fields, |_, _, _| vec![(time, f64::from_bits(STALE))]);
    }

    fn each(
        &mut self,
        node: &Node,
        fields: &[Field],
        samples: impl Fn(&Node, &crate::doubles::dcgm_exporter::Series, Field) -> Vec<(SystemTime, f64)>,
    ) {
        for field in fields {
            let name = node.release.exported(*field).name;
            for series in node.series() {
                let labels = node.stored_labels(&series);
                self.series(name, &labels, samples(node, &series, *field));
            }
        }
    }

    /// Sends it to a Prometheus that takes samples.
    ///
    /// # Errors
    /// Prometheus refuses it, and says why.
    pub async fn send(&self, prometheus: &str) -> anyhow::Result<()> {
        let body = snap::raw::Encoder::new().compress_vec(&self.encode_to_vec())?;
        let reply = reqwest::Client::new()
            .post(format!("{prometheus}/api/v1/write"))
            .header("content-encoding", "snappy")
            .header("content-type", "application/x-protobuf")
            .header("x-prometheus-remote-write-version", "0.1.0")
            .body(body)
            .send()
            .await?;
        let status = reply.status();
        let said = reply.text().await.unwrap_or_default();
        status
            .is_success()
            .then_some(())
            .with_context(|| format!("{status}: {said}"))
    }
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
