//! Publishes the DCGM series of an AMP workspace as CloudWatch metrics.
//!
//! A run goes one way: the event says what is asked and what time is "now" ([`trigger`]), that
//! says which periods are due ([`period`]), for a range of them every field is asked for once
//! ([`prometheus`], [`matrix`]), what is believable of it ([`sample`], [`fleet`]) becomes
//! distributions ([`rollup`]), those become requests ([`cloudwatch`]), the watermark moves
//! ([`watermark`]), and the reply tells what was done ([`report`]). Time, environment and clients
//! come in from `main`.

pub mod arrival;
pub mod audit;
pub mod budget;
pub mod catalog;
pub mod cloudwatch;
pub mod config;
pub mod cost;
pub mod error;
pub mod fleet;
pub mod gzip;
pub mod handler;
pub mod matrix;
pub mod period;
pub mod prometheus;
pub mod report;
pub mod rollup;
pub mod sample;
pub mod trigger;
pub mod watermark;
