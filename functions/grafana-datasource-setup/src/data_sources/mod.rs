//! Grafana's data sources: what they should be (`plan`, pure), how they get there (`apply`), and
//! whether the one for AMP works (`health`).

pub(crate) mod apply;
mod diagnosis;
pub(crate) mod health;
pub mod plan;
mod plugin;
