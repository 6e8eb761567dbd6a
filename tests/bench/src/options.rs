//! The command line.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::{Parser, value_parser};

/// Measures the built functions: time, CPU, memory and calls of a run.
#[derive(Debug, Parser)]
#[command(
    after_help = "BOOTSTRAP_DIR says where <function>/bootstrap is, target/lambda if it is not set."
)]
pub(crate) struct Options {
    /// Nodes of 8 GPUs x 6 fields x 4 samples a minute. Without a number there is no such table
    #[arg(long, value_delimiter = ',', default_value = "2,64,512,1000,10000")]
    #[arg(num_args = 0..=1, value_parser = value_parser!(u32).range(1..))]
    pub(crate) sizes: Vec<u32>,
    /// The same, for the comparison of ways to publish each GPU
    #[arg(long, value_delimiter = ',', default_value = "64,1000")]
    #[arg(num_args = 0..=1, value_parser = value_parser!(u32).range(1..))]
    pub(crate) detail_sizes: Vec<u32>,
    /// Milliseconds that AMP and CloudWatch take longer for each call
    #[arg(long = "delays", value_delimiter = ',', default_value = "0,15")]
    pub(crate) delays_ms: Vec<u64>,
    /// How often each is run, up to 64 nodes five times that, over 1,000 once; the median is told
    #[arg(long, default_value = "3")]
    pub(crate) runs: NonZeroUsize,
    /// The largest size the Python daemon is run at: it takes 24,000 calls for 10,000 nodes
    #[arg(long, value_name = "NODES", default_value = "1000")]
    pub(crate) daemon_up_to: u32,
    /// The interpreter that has boto3 and requests
    #[arg(long, value_name = "PATH", default_value = "python3")]
    pub(crate) python: String,
    /// Puts the tables into FILE, each between its two comments
    #[arg(long, value_name = "FILE")]
    pub(crate) write: Option<PathBuf>,
    /// Writes the figures, for the plot
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}
