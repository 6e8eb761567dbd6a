//! Real parts and strict doubles that the tests, the demo and the benchmark run the functions
//! against. Everything listens on a free loopback port and stops when its handle is dropped.

#![allow(
    clippy::disallowed_methods,
    reason = "the harness is the edge: it reads the clock and the environment for the functions"
)]

pub mod account;
pub mod amp_gateway;
mod clock;
pub mod cloudwatch;
pub mod dcgm_exporter;
pub mod grafana;
pub mod head_node;
pub mod identity_center;
pub mod lambda;
pub mod managed_grafana;
pub mod microburst;
pub mod ministack;
pub mod node_exporter;
pub mod oracle;
pub mod parameter_store;
pub mod pipeline;
pub mod process;
pub mod project;
pub mod prometheus;
pub mod remote_write;
pub mod response_url;
pub mod sigv4;
