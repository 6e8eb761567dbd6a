//! Real programs, started for a test and ended with it, and the project's own files for them.

pub mod alertmanager;
pub mod events;
pub mod head_node;
pub mod microburst;
pub mod ministack;
pub mod process;
pub mod prometheus;
pub mod remote_write;
pub mod rules;
