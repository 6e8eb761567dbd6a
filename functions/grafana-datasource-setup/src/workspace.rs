//! AMG's control plane as far as workspaces go: wait until Grafana can answer, where it is, and
//! which version it runs.

use std::fmt;
use std::time::Duration;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::WorkspaceStatus;
use reqwest::Url;
use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::SetupError;

/// DescribeWorkspace is limited to 5 calls a second for the whole account and region:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/AMG_quotas.html>. Creating a workspace
/// takes minutes, so the pause grows.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a new permission of the function's role may take to be known: an update that moves to
/// another workspace changes the role seconds before.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const NEW_PERMISSION: Duration = Duration::from_secs(15);

/// A workspace whose Grafana answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workspace {
    /// `g-…`.
    pub id: String,
    /// Grafana's address with its scheme, without trailing slash.
    pub endpoint: String,
    /// Grafana's version.
    pub version: Version,
}

/// Grafana's version as AMG names it, `12.4`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    text: String,
    major: u32,
}

/// What can be expected of a workspace in some state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outlook {
    /// Grafana answers.
    Usable,
    /// It will change by itself.
    Wait,
    /// A change failed that leaves the Grafana of before running.
    Damaged,
    /// There is no Grafana, and there won't be.
    Lost,
}

/// Waits until the workspace's Grafana answers.
///
/// # Errors
/// The workspace does not exist, or is in a failed state.
pub async fn wait_until_usable(
    client: &Client,
    id: &str,
    deadline: &Deadline,
) -> Result<Workspace, SetupError> {
    deadline.doing(format!("asking for the state of workspace {id}"));
    let began = Instant::now();
    let mut pause = FIRST_PAUSE;
    let mut last_status = None;
    loop {
        match describe(client, id).await {
            Ok((status, workspace)) => match outlook(&status) {
                Outlook::Usable => return found(&status, workspace),
                Outlook::Damaged | Outlook::Lost => return Err(unusable(id, &status)),
                Outlook::Wait => {
                    deadline.doing(format!("workspace {id} is {status}"));
                    if last_status.replace(status.clone()) != Some(status.clone()) {
                        tracing::info!("workspace {id} is {status}, waiting for it");
                    }
                }
            },
            Err(error) if error.is_transient() || is_too_early(&error, began) => {
                deadline.doing(format!("asking for the state of workspace {id} ({error})"));
            }
            Err(error) => return Err(error),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn is_too_early(error: &SetupError, began: Instant) -> bool {
    matches!(error, SetupError::AccessDenied { .. }) && began.elapsed() < NEW_PERMISSION
}

/// The workspace if its Grafana may hold anything of ours; `None` when it is gone or never ran.
///
/// # Errors
/// DescribeWorkspace fails for another reason.
pub async fn still_there(
    client: &Client,
    id: &str,
    deadline: &Deadline,
) -> Result<Option<Workspace>, SetupError> {
    deadline.doing(format!("asking for the state of workspace {id}"));
    match describe(client, id).await {
        Err(SetupError::WorkspaceNotFound(_)) => Ok(None),
        Err(error) => Err(error),
        // Nothing was ever written: a run waits for the creation's end before it writes.
        Ok((WorkspaceStatus::Creating, _)) => Ok(None),
        Ok((status, workspace)) => match outlook(&status) {
            Outlook::Lost => Ok(None),
            Outlook::Usable | Outlook::Damaged => found(&status, workspace).map(Some),
            Outlook::Wait => wait_until_usable(client, id, deadline).await.map(Some),
        },
    }
}

type Description = Result<Workspace, SetupError>;

async fn describe(client: &Client, id: &str) -> Result<(WorkspaceStatus, Description), SetupError> {
    let answer = client.describe_workspace().workspace_id(id).send().await;
    let answer =
        answer.map_err(
            |error| match SetupError::of_call("grafana:DescribeWorkspace", &error) {
                SetupError::NotFound { .. } => SetupError::WorkspaceNotFound(id.to_owned()),
                other => other,
            },
        )?;
    let workspace = answer
        .workspace
        .ok_or(SetupError::ManagedGrafanaUnavailable {
            operation: "grafana:DescribeWorkspace",
            message: "the answer has no workspace in it".into(),
        })?;
    let description = (|| {
        Ok(Workspace {
            id: id.to_owned(),
            endpoint: endpoint(&workspace.endpoint)?,
            version: Version::parse(&workspace.grafana_version)?,
        })
    })();
    Ok((workspace.status, description))
}

fn found(status: &WorkspaceStatus, workspace: Description) -> Result<Workspace, SetupError> {
    let workspace = workspace?;
    tracing::info!(
        "workspace {} is {status}, Grafana {}",
        workspace.id,
        workspace.version
    );
    Ok(workspace)
}

fn unusable(id: &str, status: &WorkspaceStatus) -> SetupError {
    SetupError::WorkspaceUnusable {
        workspace: id.to_owned(),
        status: status.to_string(),
    }
}

/// All states: <https://docs.aws.amazon.com/grafana/latest/APIReference/API_WorkspaceDescription.html>
fn outlook(status: &WorkspaceStatus) -> Outlook {
    match status {
        WorkspaceStatus::Active | WorkspaceStatus::Degraded => Outlook::Usable,
        WorkspaceStatus::UpdateFailed
        | WorkspaceStatus::UpgradeFailed
        | WorkspaceStatus::VersionUpdateFailed
        | WorkspaceStatus::LicenseRemovalFailed => Outlook::Damaged,
        WorkspaceStatus::Failed
        | WorkspaceStatus::CreationFailed
        | WorkspaceStatus::Deleting
        | WorkspaceStatus::DeletionFailed => Outlook::Lost,
        // CREATING, UPDATING, UPGRADING, VERSION_UPDATING and what AMG may add: Grafana restarts
        // in them.
        _ => Outlook::Wait,
    }
}

/// AMG gives a bare host name; the scheme is ours to add. Credentials go over plain HTTP to this
/// machine only.
fn endpoint(text: &str) -> Result<String, SetupError> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&with_scheme)
        .ok()
        .filter(|url| match url.scheme() {
            "https" => url.host_str().is_some(),
            "http" => startup::is_loopback(url),
            _ => false,
        });
    let url = url.ok_or_else(|| SetupError::ManagedGrafanaRejected {
        operation: "grafana:DescribeWorkspace",
        message: format!("endpoint {text:?} of the workspace is neither a host name nor https://"),
    })?;
    Ok(url.origin().ascii_serialization())
}

impl Version {
    /// Reads a version as AMG names it.
    ///
    /// # Errors
    /// It doesn't begin with a number.
    pub fn parse(text: &str) -> Result<Self, SetupError> {
        let major = text.split('.').next().and_then(|major| major.parse().ok());
        let major = major.ok_or_else(|| SetupError::UnknownVersion(text.to_owned()))?;
        Ok(Self {
            text: text.to_owned(),
            major,
        })
    }

    /// `12` of `12.4`.
    pub fn major(&self) -> u32 {
        self.major
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_gets_https_unless_it_is_on_this_machine() {
        for (given, expected) in [
            (
                "g-1.grafana-workspace.us-east-2.amazonaws.com",
                Some("https://g-1.grafana-workspace.us-east-2.amazonaws.com"),
            ),
            ("https://g-1.example.com/", Some("https://g-1.example.com")),
            ("http://127.0.0.1:3000", Some("http://127.0.0.1:3000")),
            ("http://[::1]:3000/", Some("http://[::1]:3000")),
            ("http://g-1.example.com", None),
            ("ftp://g-1.example.com", None),
            ("", None),
        ] {
            assert_eq!(endpoint(given).ok().as_deref(), expected, "{given:?}");
        }
    }

    #[test]
    fn every_state_of_the_model_has_an_outlook() {
        for name in WorkspaceStatus::values() {
            let expected = match *name {
                "ACTIVE" | "DEGRADED" => Outlook::Usable,
                "DELETING" | "FAILED" | "CREATION_FAILED" | "DELETION_FAILED" => Outlook::Lost,
                failed if failed.ends_with("_FAILED") => Outlook::Damaged,
                _ => Outlook::Wait,
            };
            assert_eq!(outlook(&WorkspaceStatus::from(*name)), expected, "{name}");
        }
        assert_eq!(outlook(&WorkspaceStatus::from("PAINTING")), Outlook::Wait);
    }

    #[test]
    fn versions_are_read_by_their_major_number() {
        assert_eq!(Version::parse("12.4").unwrap().major(), 12);
        assert_eq!(Version::parse("9").unwrap().major(), 9);
        assert!(matches!(
            Version::parse("latest"),
            Err(SetupError::UnknownVersion(_))
        ));
    }
}
