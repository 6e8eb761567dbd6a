//! What the suites, the demo, the chaos trials and the benchmark run the functions against.
//!
//! `real` holds parts that can be had on this machine, `doubles` strict stand-ins for those that
//! cannot, `lambda` runs the built functions. `world` and `pipeline` put them together; `oracle`
//! computes what CloudWatch must hold. Everything listens on a free loopback port and stops when its
//! handle is dropped.

#![allow(
    clippy::disallowed_methods,
    reason = "the kit is the edge: it reads the clock and the environment for the functions"
)]

pub mod account;
pub mod doubles;
pub mod lambda;
pub mod oracle;
pub mod pipeline;
pub mod project;
pub mod real;
pub mod world;
