//! What the answer to a health check means, in words that name the remedy. Pure.

use serde::Serialize;

use super::plan::edition::AMP_PLUGIN;
use super::plan::prometheus::Wanted;
use crate::grafana::HealthAnswer;

/// Grafana's messages can hold a whole HTML page of a proxy.
const MAX_MESSAGE_LENGTH: usize = 300;

/// The outcome of the data source's health check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Health {
    pub(crate) status: HealthStatus,
    /// Grafana's message, or the cause in words.
    pub(crate) message: String,
}

/// Whether the data source works.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, strum::Display, strum::IntoStaticStr)]
#[serde(rename_all = "UPPERCASE")]
#[strum(serialize_all = "UPPERCASE")]
pub(crate) enum HealthStatus {
    Ok,
    Error,
    /// Nothing was checked.
    Unknown,
}

impl Health {
    /// Nothing was checked.
    pub(crate) fn unknown(reason: &str) -> Self {
        Self {
            status: HealthStatus::Unknown,
            message: reason.to_owned(),
        }
    }

    fn ok(message: &str) -> Self {
        Self {
            status: HealthStatus::Ok,
            message: shortened(message),
        }
    }

    pub(super) fn error(message: String) -> Self {
        Self {
            status: HealthStatus::Error,
            message,
        }
    }

    /// Whether the check succeeded.
    pub(crate) fn is_ok(&self) -> bool {
        self.status == HealthStatus::Ok
    }

    /// `OK`, or what is wrong.
    pub(crate) fn summary(&self) -> &str {
        if self.is_ok() {
            self.status.into()
        } else {
            &self.message
        }
    }
}

/// What an answer means, and whether that is final: the next check would have the same outcome.
pub(super) fn diagnose(answer: &HealthAnswer, wanted: &Wanted) -> (Health, bool) {
    if answer.status == 200 {
        return (Health::ok(&answer.message), true);
    }
    let cause = Cause::of(&answer.message);
    (
        Health::error(cause.in_words(answer, wanted)),
        !cause.may_pass(),
    )
}

/// The usual causes of a failing check.
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
    /// The check is the query `1+1`. Its error contains AMP's status text or the network's error:
    /// pkg/promlib/healthcheck.go.
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

    /// Whether the next check may have another outcome: a new role's permissions take a while.
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
pub(super) fn shortened(text: &str) -> String {
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
