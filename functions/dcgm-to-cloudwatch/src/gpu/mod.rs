//! What is measured: metrics, the GPUs they are about, believable readings, and their distributions.
//! Pure, and without a word of any wire: neither Prometheus's nor CloudWatch's.

pub(crate) mod collect;
pub(crate) mod dropped;
pub(crate) mod identity;
pub mod metric;
pub(crate) mod reading;
pub(crate) mod rollup;
pub(crate) mod unit;
