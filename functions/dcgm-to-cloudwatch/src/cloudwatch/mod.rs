//! The way to CloudWatch: distributions into datums, datums into requests within every limit, requests
//! sent.
//!
//! PutMetricData takes a request whole or not at all. So everything that is known to be refused is left
//! out before, and a request that is refused all the same is halved until the bad datum stands alone.

mod cbor;
pub(crate) mod client;
pub(crate) mod cost;
pub(crate) mod datum;
pub(crate) mod gzip;
pub(crate) mod limits;
pub(crate) mod publish;
pub(crate) mod request;
