//! Where things of this project lie.

use std::path::{Path, PathBuf};

/// A file of the repository.
#[must_use]
pub fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// A program that `make tools` has installed.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    repository(".venv/bin").join(name)
}
