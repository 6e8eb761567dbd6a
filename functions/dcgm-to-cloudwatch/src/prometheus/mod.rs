//! Amazon Managed Prometheus: what is asked, in PromQL; the signed request, sent with patience; the reply,
//! read series by series; and how much is asked for at once.

mod body;
pub(crate) mod client;
pub(crate) mod error;
pub(crate) mod matrix;
pub(crate) mod pace;
pub(crate) mod query;
pub(crate) mod reply;
pub(crate) mod selector;
pub(crate) mod source;
