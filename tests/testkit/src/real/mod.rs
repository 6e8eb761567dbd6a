//! Real programs, started for a test and ended with it: Prometheus, MiniStack, microburst.

pub mod alertmanager;
pub mod head_node;
pub mod microburst;
pub mod ministack;
pub mod process;
pub mod prometheus;
pub mod remote_write;
