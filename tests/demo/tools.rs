//! The programs the demo needs, and how to get those that are missing.

use std::path::{Path, PathBuf};

use anyhow::bail;
use harness::lambda;

/// Where they lie.
#[derive(Debug)]
pub(crate) struct Tools {
    pub(crate) bootstrap: PathBuf,
    pub(crate) aws: PathBuf,
}

impl Tools {
    /// All of them, or all that is missing at once.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let mut missing = Vec::new();
        for program in ["prometheus", "promtool"] {
            if on_path(Path::new(program)).is_none() {
                missing.push(format!(
                    "no {program} on the PATH: install it by `apt-get install prometheus`"
                ));
            }
        }
        let aws = aws_cli();
        if aws.is_none() {
            missing.push("no AWS CLI in .venv or on the PATH: get it by `make tools`".to_owned());
        }
        let bootstrap = lambda::bootstrap("dcgm-to-cloudwatch");
        match (bootstrap, aws) {
            (Ok(bootstrap), Some(aws)) if missing.is_empty() => Ok(Self { bootstrap, aws }),
            (bootstrap, _) => {
                missing.extend(bootstrap.err().map(|error| error.to_string()));
                bail!("{}", missing.join("\n      "))
            }
        }
    }
}

/// The one named by `AWS_CLI`, else the project's own, else the one on the PATH.
fn aws_cli() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("AWS_CLI").filter(|named| !named.is_empty()) {
        return on_path(Path::new(&named));
    }
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin/aws");
    on_path(&own).or_else(|| on_path(Path::new("aws")))
}

/// An absolute path stands for itself.
fn on_path(program: &Path) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}
