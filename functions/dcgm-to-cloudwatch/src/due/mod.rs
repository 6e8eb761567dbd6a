//! What is due: which periods an event asks for, which of them have all of their samples by now, and
//! how far the function has come. Pure.

pub(crate) mod arrival;
pub(crate) mod audit;
pub(crate) mod period;
pub(crate) mod progress;
pub(crate) mod trigger;
