//! `make pictures`: docs/img, drawn anew.

use std::fs;
use std::process::ExitCode;

use anyhow::anyhow;
use pictures::{Browser, Past, Theme};
use testkit::project::repository;

/// The dashboards' three hours, and what rates look back on before them.
const MINUTES: i64 = 180 + 10;

/// File, dashboard, how many minutes of it, and what is chosen in its lists.
const PICTURES: [(&str, &str, i64, &str); 6] = [
    ("cloudwatch", "cloudwatch", 180, ""),
    ("cluster", "gpu-cluster", 180, ""),
    ("health", "gpu-health", 180, ""),
    ("efficiency", "gpu-efficiency", 180, ""),
    ("node", "gpu-node", 20, "&var-node=i-00000000000000002"),
    ("pipeline", "gpu-pipeline", 180, ""),
];

#[tokio::main]
async fn main() -> ExitCode {
    // Whatever runs ends with its handles, on Ctrl-C too.
    let end = tokio::select! {
        drawn = draw() => drawn,
        _ = tokio::signal::ctrl_c() => Err(anyhow!("stopped; nothing is left running")),
    };
    match end {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pictures: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn draw() -> anyhow::Result<()> {
    let browser = Browser::find()?;
    let folder = repository("docs/img");
    fs::create_dir_all(&folder)?;
    eprintln!("Three hours of a simulated cluster, which takes about four minutes");
    let past = Past::live(MINUTES).await?;
    let page = past.page().await?;
    let to = past.span.1;
    for (name, id, minutes, chosen) in PICTURES {
        let from = to - minutes * 60;
        for theme in [Theme::Light, Theme::Dark] {
            let url = page.url();
            let url = format!("{url}?dashboard={id}&theme={theme}&from={from}&to={to}{chosen}");
            let file = folder.join(format!("{name}-{theme}.png"));
            browser.picture(&url, &file).await?;
            eprintln!("drawn: docs/img/{name}-{theme}.png");
        }
    }
    Ok(())
}
