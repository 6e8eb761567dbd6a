//! MiniStack: AWS on this machine, as far as the stack needs it.

use std::path::{Path, PathBuf};

/// A program of the project's Python environment.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    let environment = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.venv/bin");
    environment.join(name)
}
