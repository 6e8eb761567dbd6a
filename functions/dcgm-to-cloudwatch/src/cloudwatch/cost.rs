//! The monthly price of CloudWatch metrics, and the dimension sets that a cap on metrics allows.

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
