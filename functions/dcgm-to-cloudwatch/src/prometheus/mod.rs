//! Reads from Amazon Managed Prometheus: the PromQL queries, the signed requests and their retries, the
//! replies series by series, and how much to ask for at once.

mod body;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod matrix;
pub(crate) mod pace;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod selector;
pub(crate) mod source;
pub(crate) mod stream;
