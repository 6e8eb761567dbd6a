//! The project's rules as an AMP workspace evaluates them, only so many times as fast.

use anyhow::Result;
use regex::{Captures, Regex};
use tokio::process::Command;

use crate::project::{repository, tool};
use crate::real::{process, prometheus};

/// How many times as short every duration of rules and Alert Manager is.
pub const SPEED: u32 = 10;

/// A workspace evaluates its rules each minute, and a new one a minute in the past.
const INTERVAL: &str = "6s";

/// What a Prometheus starts with that evaluates all rules of a cluster.
///
/// # Errors
/// In the words of `rules.py`.
pub async fn options(cluster: &str) -> Result<prometheus::Options> {
    Ok(with(rendered(cluster, hurried).await?))
}

/// What a Prometheus starts with that knows all rules of a cluster, and leaves evaluating them to others.
///
/// # Errors
/// In the words of `rules.py`.
pub async fn resting(cluster: &str) -> Result<prometheus::Options> {
    let rested = |rules: &str| Ok(rules.replace("interval: 1m", "interval: 365d"));
    Ok(with(rendered(cluster, rested).await?))
}

fn with(rules: Vec<(String, String)>) -> prometheus::Options {
    let alerts = prometheus::ALERTMANAGERS;
    prometheus::Options {
        config: format!(
            "global: {{evaluation_interval: {INTERVAL}, rule_query_offset: {INTERVAL}}}\n\
             rule_files: ['*.rules.yml']\n\
             alerting: {{alertmanagers: [{{file_sd_configs: [{{files: [{alerts}]}}]}}]}}\n"
        ),
        rules,
        remote_write_receiver: true,
        ..Default::default()
    }
}

/// Alert Manager's definition, for a workspace of one's own.
///
/// # Errors
/// In the words of `rules.py`.
pub async fn definition(people: &str, programs: &str) -> Result<String> {
    let people = format!("AlarmTopicArn={people}");
    let programs = format!("GpuEventsTopicArn={programs}");
    script(&["alertmanager", "--set", &people, "--set", &programs]).await
}

/// The files by their names, each changed.
async fn rendered(
    cluster: &str,
    change: impl Fn(&str) -> Result<String>,
) -> Result<Vec<(String, String)>> {
    let cluster = format!("ClusterName={cluster}");
    let mut rules = Vec::new();
    for package in ["health", "efficiency"] {
        let file = script(&["render", package, "--set", &cluster]).await?;
        rules.push((format!("{package}.rules.yml"), change(&file)?));
    }
    Ok(rules)
}

async fn script(words: &[&str]) -> Result<String> {
    let mut script = Command::new(tool("python3"));
    script.arg(repository("infra/rules.py")).args(words);
    process::printed(&mut script).await
}

fn hurried(rules: &str) -> Result<String> {
    let duration = Regex::new(r"\b([0-9]+)([smhd])\b")?;
    let rules = duration.replace_all(rules, |found: &Captures<'_>| {
        let number: u32 = found[1].parse().unwrap_or_default();
        let seconds = match &found[2] {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => 86_400,
        };
        format!("{}ms", number * seconds * (1_000 / SPEED))
    });
    let seconds = Regex::new(r"time\(\) - ([0-9]+)")?;
    let rules = seconds.replace_all(&rules, |found: &Captures<'_>| {
        let number: u32 = found[1].parse().unwrap_or_default();
        format!("time() - {}", number / SPEED)
    });
    Ok(rules.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_is_a_tenth() {
        let rules = "for: 3m\nexpr: rate(x[30s]) and time() - 600 > y5m and last_over_time(z[1d])";
        let hurried = hurried(rules).unwrap();
        let expected = "for: 18000ms\nexpr: rate(x[3000ms]) and time() - 60 > y5m and last_over_time(z[8640000ms])";
        assert_eq!(hurried, expected);
    }
}
