//! What is due: the periods that an event asks for, which of them have all of their samples, and how far
//! earlier runs came. Pure.

pub(crate) mod arrival;
pub(crate) mod audit;
pub(crate) mod period;
pub(crate) mod progress;
pub(crate) mod trigger;
