//! What was accepted: datums in order of arrival, and the metrics they belong to.

use std::collections::BTreeMap;

use super::api::StatisticSet;

/// One accepted datum, as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Datum {
    /// The metric's namespace.
    pub namespace: String,
    /// The metric's name.
    pub name: String,
    /// The metric's dimensions; none is a metric of its own.
    pub dimensions: BTreeMap<String, String>,
    /// Milliseconds since 1970; the time of arrival where none was sent.
    pub timestamp_ms: i64,
    /// Every value, and how often it occurred.
    pub values: Vec<(f64, f64)>,
    /// Sent instead of values.
    pub statistics: Option<StatisticSet>,
    /// One of CloudWatch's units; `None` where none was sent.
    pub unit: String,
    /// 1 or 60 seconds.
    pub storage_resolution: i64,
}

impl Datum {
    /// The time it is stored under, by its resolution.
    pub(super) fn stored_ms(&self) -> i64 {
        let resolution_ms = self.storage_resolution * 1000;
        self.timestamp_ms.div_euclid(resolution_ms) * resolution_ms
    }
}

/// What makes a metric this metric and no other.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct MetricKey {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) dimensions: BTreeMap<String, String>,
}

#[derive(Default)]
pub(super) struct Store {
    datums: Vec<Datum>,
    /// For each metric the places of its datums.
    metrics: BTreeMap<MetricKey, Vec<usize>>,
    /// How many datums have their place there.
    indexed: usize,
}

impl Store {
    pub(super) fn extend(&mut self, datums: Vec<Datum>) {
        self.datums.extend(datums);
    }

    /// Makes all datums readable. Not done as they come: who publishes would wait for it.
    pub(super) fn index(&mut self) {
        for (place, datum) in self.datums.iter().enumerate().skip(self.indexed) {
            let key = MetricKey {
                namespace: datum.namespace.clone(),
                name: datum.name.clone(),
                dimensions: datum.dimensions.clone(),
            };
            self.metrics.entry(key).or_default().push(place);
        }
        self.indexed = self.datums.len();
    }

    pub(super) fn datums(&self) -> &[Datum] {
        &self.datums
    }

    /// Every metric, in a fixed order.
    pub(super) fn metrics(&self) -> impl Iterator<Item = &MetricKey> {
        self.metrics.keys()
    }

    /// The datums of exactly this metric.
    pub(super) fn of(&self, metric: &MetricKey) -> impl Iterator<Item = &Datum> {
        let places = self.metrics.get(metric).into_iter().flatten();
        places.map(|&place| &self.datums[place])
    }
}
