//! Metrics, the GPUs they are about, their readings, and distributions of these. Pure, and independent of
//! every wire format: neither Prometheus's nor CloudWatch's is known here.

pub(crate) mod collect;
pub(crate) mod counter;
pub(crate) mod detail;
pub(crate) mod dropped;
pub(crate) mod gauge;
pub(crate) mod generation;
pub(crate) mod identity;
pub mod metric;
pub(crate) mod reading;
pub(crate) mod readings;
pub(crate) mod rollup;
pub(crate) mod unit;
pub mod verdict;
