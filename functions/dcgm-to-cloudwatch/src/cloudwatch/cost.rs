//! The monthly price of what is published, and the dimension sets that a cap on metrics allows.
//!
//! It is a lower bound: of CloudWatch's list prices, before requests, alarms, queries and taxes, and for OTLP
//! of the bytes that are sure to be charged. What AWS counts besides the names, labels, times and values of
//! points is not documented; up to twice as much is possible.

use serde::Serialize;

use crate::gpu::rollup::DimensionSet;

/// US dollars a metric and month, by tier: `(metrics in the tier, price)`. List prices of
/// us-east-1 (<https://aws.amazon.com/cloudwatch/pricing/>, read November 2026); the ten free
/// metrics of an account are not counted, they may be used up elsewhere.
const TIERS: [(u64, f64); 4] = [
    (10_000, 0.30),
    (240_000, 0.10),
    (750_000, 0.05),
    (u64::MAX, 0.02),
];

/// The monthly list price of that many custom metrics published all month long. CloudWatch
/// prorates by the hour: a metric that gets data for 8 hours a day costs a third.
pub(crate) fn monthly_usd(metrics: u64) -> f64 {
    let mut left = metrics;
    let mut usd = 0.0;
    for (size, price) in TIERS {
        let here = left.min(size);
        usd += here as f64 * price;
        left -= here;
    }
    to_cents(usd)
}

/// US dollars a gigabyte of OTLP metrics, with 15 months of storage. List price of us-east-1
/// (<https://aws.amazon.com/cloudwatch/pricing/>, read November 2026).
const USD_PER_GIGABYTE: f64 = 0.50;
const GIGABYTE: f64 = 1e9;
/// Seconds of the month of 730 hours that AWS's own price examples have.
const MONTH_SECONDS: f64 = 730.0 * 3_600.0;

/// The monthly list price of so many bytes of OTLP metrics in every period of `period_seconds`, all month
/// long.
pub(crate) fn monthly_detail_usd(bytes: u64, period_seconds: i64) -> f64 {
    let bytes = bytes as f64 * MONTH_SECONDS / period_seconds as f64;
    to_cents(bytes / GIGABYTE * USD_PER_GIGABYTE)
}

/// What a month costs at least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Cost {
    /// Custom metrics.
    pub(crate) metrics_usd: f64,
    /// The metrics of each GPU by OTLP.
    pub(crate) detail_usd: f64,
}

impl Cost {
    /// Both together.
    pub(crate) fn total(self) -> f64 {
        to_cents(self.metrics_usd + self.detail_usd)
    }
}

fn to_cents(usd: f64) -> f64 {
    (usd * 100.0).round() / 100.0
}

/// The dimension sets, given from fine to coarse, that keep a period within `limit` metrics, and how
/// many metrics those are. The finest sets are left out first. `fixed` metrics are there in any case;
/// `metrics` is how many a set makes.
pub(crate) fn affordable(
    sets: &[DimensionSet],
    fixed: usize,
    metrics: impl Fn(DimensionSet) -> usize,
    limit: usize,
) -> (&[DimensionSet], usize) {
    let of_set: Vec<usize> = sets.iter().map(|set| metrics(*set)).collect();
    (0..=sets.len())
        .map(|left_out| {
            let metrics = fixed + of_set[left_out..].iter().sum::<usize>();
            (&sets[left_out..], metrics)
        })
        .find(|(_, metrics)| *metrics <= limit)
        .unwrap_or((&[], fixed))
}

#[cfg(test)]
mod tests {
    use DimensionSet::{Cluster, Gpu, Instance};

    use super::*;

    #[test]
    fn the_cap_leaves_out_the_finest_sets_first() {
        let metrics = |set| match set {
            Gpu => 96,
            Instance => 12,
            Cluster => 6,
        };
        let all = [Gpu, Instance, Cluster];
        let rows: [(usize, &[DimensionSet], usize); 6] = [
            (115, &[Gpu, Instance, Cluster], 115),
            (114, &[Instance, Cluster], 19),
            (19, &[Instance, Cluster], 19),
            (18, &[Cluster], 7),
            (7, &[Cluster], 7),
            (6, &[], 1),
        ];
        for (limit, sets, count) in rows {
            assert_eq!(
                affordable(&all, 1, metrics, limit),
                (sets, count),
                "at most {limit}"
            );
        }
    }

    #[test]
    fn detail_is_charged_by_the_byte() {
        // 8 GPUs of 6 metrics, 4 samples a minute of 82 bytes.
        let of_nodes = |nodes: u64| monthly_detail_usd(nodes * 8 * 6 * 4 * 82, 60);
        let rows = [
            (0, 0.0),
            (2, 0.69),
            (64, 22.07),
            (512, 176.53),
            (1_000, 344.79),
        ];
        for (nodes, usd) in rows {
            assert_eq!(of_nodes(nodes), usd, "{nodes} nodes");
        }
        assert_eq!(
            monthly_detail_usd(5_000, 300),
            monthly_detail_usd(1_000, 60)
        );
        let cost = Cost {
            metrics_usd: 2.1,
            detail_usd: 0.69,
        };
        assert_eq!(cost.total(), 2.79);
    }

    #[test]
    fn follows_the_tiers() {
        let rows = [
            (0, 0.0),
            (1, 0.30),
            (96, 28.80),
            (10_000, 3_000.0),
            (10_001, 3_000.10),
            (24_576, 4_457.60),
            (250_000, 27_000.0),
            (1_000_000, 64_500.0),
            (1_000_100, 64_502.0),
        ];
        for (metrics, usd) in rows {
            assert_eq!(monthly_usd(metrics), usd, "{metrics} metrics");
        }
    }
}
