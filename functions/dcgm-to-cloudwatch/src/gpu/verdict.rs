//! Verdicts on a cluster's GPUs and nodes: what the rules in `infra/rules` record in AMP.
//!
//! The counts of the whole cluster are published. The verdicts themselves, one series for each GPU or node,
//! go to the log.

use std::fmt;

use super::metric::{Kind, Metric, Scale, Series};
use super::reading::ANY;
use super::unit::Unit;

/// Series, metric and unit of the counts.
const COUNTS: [(&str, &str, Unit); 6] = [
    ("cluster:gpus_unhealthy", "GPUsUnhealthy", Unit::Count),
    ("cluster:gpus_missing", "GPUsMissing", Unit::Count),
    ("cluster:gpus_idle", "GPUsIdle", Unit::Count),
    ("cluster:gpus_throttled", "GPUsThrottled", Unit::Count),
    ("cluster:nodes_straggling", "NodesStraggling", Unit::Count),
    (
        "cluster:idle_usd_per_hour",
        "GPUIdleCostPerHour",
        Unit::None,
    ),
];

/// Series of the verdicts that need somebody to act, and the words for them.
pub(crate) const FINDINGS: [(&str, &str); 5] = [
    ("gpu:unhealthy", "is unhealthy"),
    ("gpu:missing", "is missing"),
    ("gpu:frozen", "sends the same readings all the time"),
    ("node:exporter_down", "has no exporter that answers"),
    ("node:straggling", "is slower than the others"),
];

/// Labels of a finding's series, in the order of [`Finding::read`].
pub(crate) const FINDING_LABELS: [&str; 7] = [
    "__name__",
    "instance_id",
    "gpu",
    "UUID",
    "reason",
    "severity",
    "action",
];

/// The metrics that count verdicts on the whole cluster. 0 while it is healthy; no series where there are
/// no rules, or while no GPU reports.
pub(crate) fn counts() -> Vec<Metric> {
    let metric = |(series, name, unit): (&str, &str, Unit)| Metric {
        name: name.to_owned(),
        unit,
        possible: ANY,
        kind: Kind::Gauge,
        series: vec![Series {
            name: series.to_owned(),
            scale: Scale::ONE,
            older_scale: None,
            part: 0,
        }],
    };
    COUNTS.map(metric).into()
}

/// The names of the counts in CloudWatch.
#[must_use]
pub fn count_names() -> [&'static str; COUNTS.len()] {
    COUNTS.map(|(_, name, _)| name)
}

/// A verdict on one GPU or node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// Instance id.
    pub(crate) instance_id: String,
    /// GPU index; empty for a node as a whole.
    pub(crate) gpu: String,
    /// The words of [`FINDINGS`].
    verdict: &'static str,
    /// The GPU's UUID, or empty.
    pub(crate) uuid: String,
    /// What was seen, `XID 79`, or empty.
    pub(crate) reason: String,
    /// `critical` or `warning`, or empty.
    pub(crate) severity: String,
    /// What to do, `reboot_node`, or empty.
    pub(crate) action: String,
}

impl Finding {
    /// The finding of a series with these values of [`FINDING_LABELS`]; none if it is no finding.
    pub(crate) fn read(values: &[String]) -> Option<Self> {
        let [series, instance_id, gpu, uuid, reason, severity, action] = values else {
            return None;
        };
        let (_, verdict) = FINDINGS.iter().find(|(name, _)| name == series)?;
        Some(Self {
            instance_id: instance_id.clone(),
            gpu: gpu.clone(),
            verdict,
            uuid: uuid.clone(),
            reason: reason.clone(),
            severity: severity.clone(),
            action: action.clone(),
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.gpu.is_empty() {
            write!(f, "GPU {} of ", self.gpu)?;
        }
        write!(f, "{} {}", self.instance_id, self.verdict)?;
        if !self.reason.is_empty() {
            write!(f, ": {}", self.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_says_who_and_what() {
        let read = |values: [&str; 7]| Finding::read(&values.map(str::to_owned));
        let gpu = read([
            "gpu:unhealthy",
            "i-1",
            "3",
            "GPU-a",
            "XID 79",
            "critical",
            "reboot_node",
        ]);
        let gpu = gpu.unwrap().to_string();
        assert_eq!(gpu, "GPU 3 of i-1 is unhealthy: XID 79");
        let node = read(["node:straggling", "i-1", "", "", "", "", ""]).unwrap();
        assert_eq!(node.to_string(), "i-1 is slower than the others");
        assert_eq!(read(["gpu:idle", "i-1", "3", "", "", "", ""]), None);
    }

    #[test]
    fn counts_have_names_of_their_own() {
        for metric in counts() {
            assert_eq!(super::super::metric::find(&metric.name), None);
        }
    }
}
