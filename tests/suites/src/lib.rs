//! What more than one suite uses.

pub mod dashboard;
pub mod guides;
pub mod sdk;
