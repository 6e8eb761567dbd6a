//! Stand-ins for what cannot be had on this machine: AWS services, Grafana, GPUs and their exporters.
//! Each refuses what the original refuses.

pub mod amp_gateway;
mod clock;
pub mod cloudwatch;
pub mod dcgm_exporter;
pub mod faults;
pub mod grafana;
pub mod identity_center;
pub mod managed_grafana;
pub mod node_exporter;
pub mod parameter_store;
pub mod response_url;
pub mod server;
pub mod sigv4;
