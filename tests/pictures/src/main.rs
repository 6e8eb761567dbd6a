//! `make pictures`: docs/img, drawn anew.

use std::fs;

use pictures::{Browser, Past, Theme};
use testkit::project::repository;

/// The dashboards' `time`: three hours.
const MINUTES: i64 = 180;

/// File, dashboard, and what is chosen in its lists.
const PICTURES: [(&str, &str, &str); 6] = [
    ("cloudwatch", "cloudwatch", ""),
    ("cluster", "gpu-cluster", ""),
    ("health", "gpu-health", ""),
    ("efficiency", "gpu-efficiency", ""),
    ("node", "gpu-node", "&var-node=i-00000000000000003"),
    ("pipeline", "gpu-pipeline", ""),
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let browser = Browser::find()?;
    let folder = repository("docs/img");
    fs::create_dir_all(&folder)?;
    let past = Past::live(MINUTES).await?;
    let page = past.page().await?;
    for (name, id, chosen) in PICTURES {
        for theme in [Theme::Light, Theme::Dark] {
            let url = format!(
                "{}?dashboard={id}{chosen}&theme={theme}&to={}",
                page.url(),
                past.span.1
            );
            let file = folder.join(format!("{name}-{theme}.png"));
            browser.picture(&url, &file).await?;
        }
    }
    Ok(())
}
