//! Metrics, the GPUs they are about, their readings, and distributions of these. Pure, and independent of
//! every wire format: neither Prometheus's nor CloudWatch's is known here.

pub(crate) mod collect;
pub(crate) mod dropped;
pub(crate) mod identity;
pub mod metric;
pub(crate) mod reading;
pub(crate) mod rollup;
pub(crate) mod unit;
