//! Publishes the DCGM series of an AMP workspace as CloudWatch metrics.
//!
//! A run goes one way. The event says what is asked and what time is "now", and that says which periods
//! are due (`due`). For a range of them AMP is asked for every metric (`prometheus`). The believable
//! readings of known GPUs become distributions (`gpu`), and those become requests to CloudWatch
//! (`cloudwatch`); if asked for, the readings of each GPU go there as they are before that (`otlp`). Then
//! the watermark moves (`watermark`), and the reply tells what was done (`report`). `run` is that way as a list of
//! verbs; time, environment and clients come in from `main`.

pub(crate) mod cloudwatch;
pub mod config;
pub mod connect;
pub(crate) mod due;
pub mod error;
pub mod function;
pub mod gpu;
pub(crate) mod handler;
pub(crate) mod otlp;
pub(crate) mod prometheus;
pub mod report;
pub(crate) mod run;
pub(crate) mod signature;
pub(crate) mod watermark;
