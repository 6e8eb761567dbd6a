//! The folder of dashboards: which they are and what must be written (`plan`, pure), and how they
//! get into Grafana and out of it (`apply`).

pub(crate) mod apply;
pub(crate) mod plan;
