//! A short-lived administrator's credential for Grafana, which is always returned.

mod lend;
mod service_account;

pub use lend::with_credential;
