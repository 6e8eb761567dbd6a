//! Whether the data source works, in words that name the remedy.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::config::Wanted;
use crate::data_source::AMP_PLUGIN;
use crate::deadline::Deadline;
use crate::grafana::Grafana;

/// How long a check that fails is repeated. A new role's permissions are seldom seen later:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Kept for what follows the check.
const RESERVE: Duration = Duration::from_millis(500);

/// Grafana's messages can hold a whole HTML page of a proxy.
const MAX_MESSAGE_LENGTH: usize = 300;

/// Outcome of the data source's own health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Health {
    /// `OK`, `ERROR`, or `UNKNOWN` when nothing was checked.
    pub status: &'static str,
    /// Grafana's message, or the cause in words.
    pub message: String,
}

impl Health {
    /// Nothing was checked.
    pub fn unknown(reason: &str) -> Self {
        Self {
            status: "UNKNOWN",
            message: reason.to_owned(),
        }
    }

    fn ok(message: &str) -> Self {
        Self {
            status: "OK",
            message: shortened(message),
        }
    }

    fn error(message: String) -> Self {
        Self {
            status: "ERROR",
            message,
        }
    }

    /// Whether the check succeeded.
    pub fn is_ok(&self) -> bool {
        self.status == "OK"
    }

    /// `OK`, or the reason why not.
    pub fn summary(&self) -> &str {
        if self.is_ok() {
            self.status
        } else {
            &self.message
        }
    }
}

/// Runs the health check until it succeeds, patience ends or `end` comes. A data source that
/// doesn't work yet is worth having, so this never fails.
pub async fn check(
    grafana: &Grafana<'_>,
    uid: &str,
    wanted: &Wanted,
    deadline: &Deadline,
    end: Instant,
) -> Health {
    let give_up = (end - RESERVE).min(Instant::now() + LONGEST_PATIENCE);
    let mut pause = FIRST_PAUSE;
    let mut last = Health::unknown("no time was left for the health check");
    loop {
        deadline.doing(format!("checking the health of data source {uid}"));
        let Ok(answer) = tokio::time::timeout_at(give_up, grafana.health(uid)).await else {
            return last;
        };
        last = match answer {
            Ok(answer) if answer.is_ok() => return Health::ok(&answer.message),
            Ok(answer) => Health::error(in_words(answer.status, &answer.message, wanted)),
            Err(error) => Health::error(shortened(&error.to_string())),
        };
        tracing::debug!("not healthy yet: {}", last.message);
        if Instant::now() + pause >= give_up {
            return last;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What Grafana's health endpoint said.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Grafana's message.
    pub message: String,
}

impl Answer {
    fn is_ok(&self) -> bool {
        self.status == 200
    }
}

/// The usual causes. The check is the query `1+1`, and its error carries AMP's status text:
/// pkg/promlib/healthcheck.go.
fn in_words(status: u16, message: &str, wanted: &Wanted) -> String {
    let said = shortened(message);
    let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
    if has(&["403", "Forbidden", "AccessDenied", "not authorized"]) {
        let workspace = wanted.url.workspace_id();
        format!("the workspace role lacks aps:QueryMetrics on {workspace} (Grafana: {said})")
    } else if has(&["non-allowed auth method"]) {
        format!("this Grafana may not use its workspace role to sign requests (Grafana: {said})")
    } else if has(&[
        "Plugin not found",
        "not registered",
        "plugin.notRegistered",
        "Plugin unavailable",
    ]) {
        format!("this Grafana lacks the plugin of the data source, {AMP_PLUGIN} (Grafana: {said})")
    } else if has(&[
        "no such host",
        "timeout",
        "deadline exceeded",
        "connection refused",
    ]) {
        format!("Grafana can't reach {} (Grafana: {said})", wanted.url)
    } else if has(&["404"]) {
        format!(
            "there is no AMP workspace at {} (Grafana: {said})",
            wanted.url
        )
    } else {
        format!("the health check failed with status {status} (Grafana: {said})")
    }
}

/// One line of bounded length.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.chars().count() <= MAX_MESSAGE_LENGTH {
        return line;
    }
    line.chars()
        .take(MAX_MESSAGE_LENGTH - 1)
        .chain(['…'])
        .collect()
}

#[cfg(test)]
mod tests {
    use amp::WorkspaceUrl;

    use super::*;

    #[test]
    fn usual_causes_are_told_with_their_remedy() {
        let url = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-7";
        let wanted = Wanted {
            uid: "amp".into(),
            name: "AMP".into(),
            url: WorkspaceUrl::parse(url).unwrap(),
            region: "us-east-2".into(),
        };
        for (status, message, expected) in [
            (
                400,
                "403 Forbidden - There was an error returned querying the Prometheus API.",
                "lacks aps:QueryMetrics on ws-7",
            ),
            (
                400,
                "trying to use non-allowed auth method ec2_iam_role",
                "may not use its workspace role",
            ),
            (404, "Plugin not found", "lacks the plugin"),
            (
                400,
                "dial tcp: lookup aps: no such host",
                "can't reach https://aps",
            ),
            (
                400,
                "404 Not Found - There was an error",
                "no AMP workspace at https://aps",
            ),
            (
                500,
                "<html>\n\tsad</html>",
                "failed with status 500 (Grafana: <html> sad</html>)",
            ),
        ] {
            let words = in_words(status, message, &wanted);
            assert!(words.contains(expected), "{message}: {words}");
        }
    }

    #[test]
    fn a_page_of_text_becomes_a_line() {
        assert_eq!(
            shortened(&"ä\n".repeat(1_000)).chars().count(),
            MAX_MESSAGE_LENGTH
        );
    }
}
