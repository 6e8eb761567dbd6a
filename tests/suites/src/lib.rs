//! What more than one suite uses.

pub mod dashboard;
pub mod grafana;
pub mod guides;
pub mod sdk;
