//! Chromium without a window, by its command line.

use std::path::Path;
use std::{env, fmt};

use anyhow::Context as _;
use testkit::real::process;
use tokio::process::Command;

/// The width of every picture.
const WIDTH: u32 = 1400;

/// Debian's smallest, Debian's whole, Google's own.
const PROGRAMS: [&str; 3] = ["chromium-headless-shell", "chromium", "google-chrome"];

/// Light or dark.
#[derive(Clone, Copy, Debug)]
pub enum Theme {
    /// On white.
    Light,
    /// On black.
    Dark,
}

impl fmt::Display for Theme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Light => "light",
            Self::Dark => "dark",
        })
    }
}

/// A Chromium that is on this machine.
#[derive(Clone, Copy, Debug)]
pub struct Browser(&'static str);

impl Browser {
    /// Finds it.
    ///
    /// # Errors
    /// None is installed.
    pub fn find() -> anyhow::Result<Self> {
        let folders = env::var_os("PATH").unwrap_or_default();
        let is_there =
            |program: &&str| env::split_paths(&folders).any(|path| path.join(program).exists());
        let found = PROGRAMS.into_iter().find(is_there);
        let found = found
            .with_context(|| format!("none of {PROGRAMS:?} is installed: `make tools` does it"))?;
        Ok(Self(found))
    }

    /// A page's elements, once its scripts have nothing left to do.
    ///
    /// # Errors
    /// In Chromium's words.
    pub async fn dom(self, url: &str) -> anyhow::Result<String> {
        process::printed(self.command(1000)?.args(["--dump-dom", url])).await
    }

    /// Writes a picture of a whole page.
    ///
    /// # Errors
    /// In Chromium's words, or the page does not get ready.
    pub async fn picture(self, url: &str, file: &Path) -> anyhow::Result<()> {
        let dom = self.dom(url).await?;
        let height = dom
            .split("data-height=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let height = height
            .with_context(|| format!("{url} does not get ready: {dom}"))?
            .parse()?;
        let screenshot = format!("--screenshot={}", file.display());
        process::printed(self.command(height)?.args([&screenshot, url])).await?;
        Ok(())
    }

    fn command(self, height: u32) -> anyhow::Result<Command> {
        let mut command = Command::new(self.0);
        command
            .arg("--headless")
            // Its sandbox refuses root, and it sees nothing but this project's own page.
            .arg("--no-sandbox")
            .arg("--disable-gpu")
            .arg("--hide-scrollbars")
            .arg("--force-color-profile=srgb")
            .arg("--font-render-hinting=none")
            // Timers run ahead, but no faster than the answers that the page waits for.
            .arg("--virtual-time-budget=5000")
            .arg(format!("--window-size={WIDTH},{height}"));
        Ok(command)
    }
}
