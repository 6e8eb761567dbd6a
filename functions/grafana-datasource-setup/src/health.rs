//! Whether the data source works, in words that name the remedy.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::config::Wanted;
use crate::data_source::{AMP_PLUGIN, DataSource};
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::grafana::{Grafana, HealthAnswer};

/// How long a check that fails is repeated. A new role's permissions are seldom seen later:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const LONGEST_PATIENCE: Duration = Duration::from_secs(60);

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Kept for what follows the check.
const RESERVE: Duration = Duration::from_millis(500);

/// The first Grafana whose health check queries Prometheus (pkg/promlib/healthcheck.go). The check of
/// earlier ones succeeds whatever AMP would answer.
const FIRST_WITH_REAL_CHECK: u32 = 10;

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
    source: &DataSource,
    wanted: &Wanted,
    deadline: &Deadline,
    end: Instant,
) -> Health {
    let uid = &source.uid;
    let give_up = (end - RESERVE).min(Instant::now() + LONGEST_PATIENCE);
    let mut pause = FIRST_PAUSE;
    let mut last = Health::unknown("no time was left for the health check");
    loop {
        deadline.doing(format!("checking the health of data source {uid}"));
        let Ok(proof) = tokio::time::timeout_at(give_up, prove(grafana, source)).await else {
            return last;
        };
        let (health, is_final) = match proof {
            Ok(Proof::Answer(answer)) => verdict(&answer, wanted),
            Ok(Proof::None) => {
                let version = grafana.version();
                let reason =
                    format!("Grafana {version} checks without a query, and none can be sent to it");
                (Health::unknown(&reason), true)
            }
            Err(error) => (Health::error(shortened(&error.to_string())), false),
        };
        if is_final {
            return health;
        }
        last = health;
        tracing::debug!("not healthy yet: {}", last.message);
        if Instant::now() + pause >= give_up {
            return last;
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// What shows whether the data source works.
enum Proof {
    /// An answer that AMP had a part in.
    Answer(HealthAnswer),
    /// There is none to be had.
    None,
}

/// The health check, and where that is no proof a query.
async fn prove(grafana: &Grafana<'_>, source: &DataSource) -> Result<Proof, SetupError> {
    let health = grafana.health(&source.uid).await?;
    if health.status != 200 || grafana.version().major() >= FIRST_WITH_REAL_CHECK {
        return Ok(Proof::Answer(health));
    }
    Ok(match grafana.query(source).await? {
        Some(query) if (200..300).contains(&query.status) => Proof::Answer(health),
        Some(query) => Proof::Answer(query),
        None => Proof::None,
    })
}

/// What an answer means, and whether the next check would only repeat it.
fn verdict(answer: &HealthAnswer, wanted: &Wanted) -> (Health, bool) {
    if answer.status == 200 {
        return (Health::ok(&answer.message), true);
    }
    let cause = Cause::of(&answer.message);
    (
        Health::error(cause.in_words(answer, wanted)),
        !cause.may_pass(),
    )
}

/// The usual causes of a check that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    NoPermission,
    NoAuthMethod,
    NoPlugin,
    NoWorkspace,
    OutOfReach,
    Other,
}

impl Cause {
    /// The check is the query `1+1`, and its error carries AMP's status text, or that of the
    /// network: pkg/promlib/healthcheck.go.
    fn of(message: &str) -> Self {
        let has = |words: &[&str]| words.iter().any(|word| message.contains(word));
        if has(&["Forbidden", "AccessDenied", "not authorized", "error: 403"]) {
            Self::NoPermission
        } else if has(&["non-allowed auth method"]) {
            Self::NoAuthMethod
        } else if has(&["Plugin not found", "not registered", "Plugin unavailable"]) {
            Self::NoPlugin
        } else if has(&["404 Not Found", "error: 404"]) {
            Self::NoWorkspace
        } else if has(&[
            "no such host",
            "timeout",
            "deadline exceeded",
            "connection refused",
        ]) {
            Self::OutOfReach
        } else {
            Self::Other
        }
    }

    /// Whether the next check may have another outcome: a new role's permissions take their time.
    fn may_pass(self) -> bool {
        matches!(self, Self::NoPermission | Self::OutOfReach | Self::Other)
    }

    fn in_words(self, answer: &HealthAnswer, wanted: &Wanted) -> String {
        let (workspace, url) = (wanted.url.workspace_id(), &wanted.url);
        let cause = match self {
            Self::NoPermission => {
                format!("the workspace role lacks aps:QueryMetrics on {workspace}")
            }
            Self::NoAuthMethod => {
                "this Grafana may not sign requests with its workspace role".to_owned()
            }
            Self::NoPlugin => format!("this Grafana lacks the plugin {AMP_PLUGIN}"),
            Self::NoWorkspace => format!("there is no AMP workspace at {url}"),
            Self::OutOfReach => format!("Grafana can't reach {url}"),
            Self::Other => format!("the health check failed with status {}", answer.status),
        };
        format!("{cause} (Grafana: {})", shortened(&answer.message))
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
            stack: None,
        };
        let refused = "403 Forbidden - There was an error returned querying the Prometheus API.";
        for (status, message, may_pass, expected) in [
            (400, refused, true, "lacks aps:QueryMetrics on ws-7"),
            (
                400,
                "trying to use non-allowed auth method ec2_iam_role",
                false,
                "may not sign",
            ),
            (
                400,
                "client_error: client error: 403",
                true,
                "lacks aps:QueryMetrics on ws-7",
            ),
            (404, "Plugin not found", false, "lacks the plugin"),
            (
                400,
                "404 Not Found - There was an error",
                false,
                "no AMP workspace at https://aps",
            ),
            (
                400,
                "Post \"https://aps/workspaces/ws-403404/\": dial tcp: no such host",
                true,
                "can't reach https://aps",
            ),
            (
                500,
                "<html>\n\tsad</html>",
                true,
                "with status 500 (Grafana: <html> sad</html>)",
            ),
        ] {
            let answer = HealthAnswer {
                status,
                message: message.to_owned(),
            };
            let cause = Cause::of(message);
            let words = cause.in_words(&answer, &wanted);
            assert!(words.contains(expected), "{message}: {words}");
            assert_eq!(cause.may_pass(), may_pass, "{message}");
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
