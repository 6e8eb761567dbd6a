//! The command line.

use std::path::PathBuf;

use anyhow::{Context as _, bail};

pub(crate) const HELP: &str = "\
Measures the built functions: time, CPU, memory and calls of a run.

usage: bench [--sizes 2,64,512,1000,10000] [--delays 0,15] [--runs 3]
             [--daemon-up-to NODES] [--python PATH] [--write FILE] [--json FILE]

  --sizes         nodes of 8 GPUs x 6 fields x 4 samples a minute
  --delays        milliseconds that AMP and CloudWatch take longer for each call
  --runs          how often each is run (3), up to 64 nodes five times that, over 1,000
                  once; the median is told
  --daemon-up-to  the largest size the Python daemon is run at (1000): it takes
                  24,000 calls for 10,000 nodes
  --python        the interpreter that has boto3 and requests (python3)
  --write         puts the tables into FILE, between its two `bench` comments
  --json          the figures, for the plot

BOOTSTRAP_DIR says where <function>/bootstrap is, target/lambda if it is not set.";

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) sizes: Vec<u32>,
    pub(crate) delays_ms: Vec<u64>,
    pub(crate) runs: usize,
    pub(crate) daemon_up_to: u32,
    pub(crate) python: String,
    pub(crate) write: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn parse(words: &[&str]) -> anyhow::Result<Self> {
        let mut options = Self {
            sizes: vec![2, 64, 512, 1_000, 10_000],
            delays_ms: vec![0, 15],
            runs: 3,
            daemon_up_to: 1_000,
            python: "python3".to_owned(),
            write: None,
            json: None,
        };
        for pair in words.chunks(2) {
            let [name, value] = pair else {
                bail!("{} needs a value; see --help", pair[0]);
            };
            let expected = || format!("{name}={value:?}: expected a number above 0, or a list");
            match *name {
                "--sizes" => options.sizes = numbers(value).with_context(expected)?,
                "--delays" => options.delays_ms = numbers(value).with_context(expected)?,
                "--runs" => options.runs = value.parse().with_context(expected)?,
                "--daemon-up-to" => options.daemon_up_to = value.parse().with_context(expected)?,
                "--python" => options.python = (*value).to_owned(),
                "--write" => options.write = Some(value.into()),
                "--json" => options.json = Some(value.into()),
                _ => bail!("no option {name}; see --help"),
            }
        }
        if options.runs == 0 || options.sizes.contains(&0) {
            bail!("--runs and --sizes begin at 1");
        }
        Ok(options)
    }
}

fn numbers<N: std::str::FromStr>(list: &str) -> Result<Vec<N>, N::Err> {
    list.split(',').map(str::parse).collect()
}
