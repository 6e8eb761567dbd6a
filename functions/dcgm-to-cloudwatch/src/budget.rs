//! How much of a run may be held at once, by the memory that Lambda gives the function. What is
//! over it is taken in parts, before the kernel ends the process for it.

use crate::sample::Reading;

/// How many queries are under way at once, each with its reply held packed.
pub const QUERIES_AT_ONCE: usize = 8;

/// Shares of the memory; what is left of it is for the process itself and for requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Bytes of one reply as it came over the wire.
    pub reply: usize,
    /// Bytes of the one reply that is unpacked. 10,000 nodes are 35 MB a field and minute.
    pub json: usize,
    /// Readings of all fields. 10,000 nodes are 1.9 million a minute.
    pub readings: usize,
}

impl Budget {
    /// What a function of that many megabytes can hold.
    pub const fn of(megabytes: usize) -> Self {
        let bytes = megabytes << 20;
        Self {
            reply: bytes / 4 / QUERIES_AT_ONCE,
            json: bytes / 4,
            readings: bytes / 3 / size_of::<Reading>(),
        }
    }
}
