//! The Grafana workspace in AMG: waits until its Grafana can answer, and reads its address and version.

use std::time::Duration;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::WorkspaceStatus;
use reqwest::Url;
use startup::Deadline;
use tokio::time::{Instant, sleep};

use crate::aws_call::{CallError, CallErrorKind};
use crate::error::SetupError;
pub use crate::grafana::Version;

const OPERATION: &str = "grafana:DescribeWorkspace";

/// DescribeWorkspace is limited to 5 calls a second for the whole account and region:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/AMG_quotas.html>. Creating a workspace
/// takes minutes, so the pauses grow.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a new permission of the function's role may take to take effect. An update that moves to
/// another workspace changes the role seconds before this run.
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

/// What a workspace's state means for a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Readiness {
    /// Grafana answers.
    Usable,
    /// The state will change by itself.
    Wait,
    /// A change failed, and the Grafana from before it still runs.
    Damaged,
    /// There is no Grafana and there will be none.
    Lost,
}

/// Waits until the workspace's Grafana answers.
///
/// # Errors
/// The workspace does not exist, or is in a failed state.
pub(crate) async fn wait_until_usable(
    client: &Client,
    id: &str,
    deadline: &Deadline,
) -> Result<Workspace, SetupError> {
    deadline.doing(format!("asking for the state of workspace {id}"));
    let began = Instant::now();
    let mut last_status = None;
    let mut pauses = startup::backoff(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match describe(client, id).await {
            Ok((status, workspace)) => match readiness(&status) {
                Readiness::Usable => return found(&status, workspace),
                Readiness::Damaged | Readiness::Lost => return Err(unusable(id, &status)),
                Readiness::Wait => {
                    deadline.doing(format!("workspace {id} is {status}"));
                    if last_status.replace(status.clone()) != Some(status.clone()) {
                        tracing::info!("workspace {id} is {status}, waiting for it");
                    }
                }
            },
            Err(error) if error.is_transient() || is_too_early(&error, began) => {
                deadline.doing(format!("asking for the state of workspace {id} ({error})"));
            }
            Err(error) => return Err(failed(id, error)),
        }
        sleep(pauses.next().unwrap_or(LONGEST_PAUSE)).await;
    }
}

fn is_too_early(error: &CallError, began: Instant) -> bool {
    error.kind == CallErrorKind::AccessDenied && began.elapsed() < NEW_PERMISSION
}

/// The workspace if its Grafana may contain anything of ours; `None` when it is gone or never ran.
///
/// # Errors
/// DescribeWorkspace fails for another reason.
pub(crate) async fn still_there(
    client: &Client,
    id: &str,
    deadline: &Deadline,
) -> Result<Option<Workspace>, SetupError> {
    deadline.doing(format!("asking for the state of workspace {id}"));
    match describe(client, id).await {
        Err(error) if error.kind == CallErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
        // Nothing was ever written there: a run waits until a workspace is created before it writes.
        Ok((WorkspaceStatus::Creating, _)) => Ok(None),
        Ok((status, workspace)) => match readiness(&status) {
            Readiness::Lost => Ok(None),
            Readiness::Usable | Readiness::Damaged => found(&status, workspace).map(Some),
            Readiness::Wait => wait_until_usable(client, id, deadline).await.map(Some),
        },
    }
}

/// Or why the workspace's address or version can't be used.
type Description = Result<Workspace, SetupError>;

async fn describe(client: &Client, id: &str) -> Result<(WorkspaceStatus, Description), CallError> {
    let answer = client.describe_workspace().workspace_id(id).send().await;
    let answer = answer.map_err(|error| CallError::new(OPERATION, &error))?;
    let workspace = answer
        .workspace
        .ok_or_else(|| CallError::unavailable(OPERATION, "the answer has no workspace in it"))?;
    let description = (|| {
        let version = Version::parse(&workspace.grafana_version);
        Ok(Workspace {
            id: id.to_owned(),
            endpoint: endpoint(&workspace.endpoint)?,
            version: version.map_err(|unknown| SetupError::UnknownVersion(unknown.0))?,
        })
    })();
    Ok((workspace.status, description))
}

fn failed(id: &str, error: CallError) -> SetupError {
    if error.kind == CallErrorKind::NotFound {
        SetupError::WorkspaceNotFound(id.to_owned())
    } else {
        error.into()
    }
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
fn readiness(status: &WorkspaceStatus) -> Readiness {
    match status {
        WorkspaceStatus::Active | WorkspaceStatus::Degraded => Readiness::Usable,
        WorkspaceStatus::UpdateFailed
        | WorkspaceStatus::UpgradeFailed
        | WorkspaceStatus::VersionUpdateFailed
        | WorkspaceStatus::LicenseRemovalFailed => Readiness::Damaged,
        WorkspaceStatus::Failed
        | WorkspaceStatus::CreationFailed
        | WorkspaceStatus::Deleting
        | WorkspaceStatus::DeletionFailed => Readiness::Lost,
        // CREATING, UPDATING, UPGRADING, VERSION_UPDATING, in which Grafana restarts, and states that
        // AMG may add.
        _ => Readiness::Wait,
    }
}

/// Grafana's address with its scheme. AMG returns a bare host name. Plain HTTP is accepted for loopback
/// addresses only, because credentials go there.
fn endpoint(text: &str) -> Result<String, CallError> {
    let with_scheme = if text.contains("://") {
        text.to_owned()
    } else {
        format!("https://{text}")
    };
    let url = Url::parse(&with_scheme)
        .ok()
        .filter(startup::may_carry_secrets);
    let url = url.ok_or_else(|| {
        let message =
            format!("endpoint {text:?} of the workspace is neither a host name nor https://");
        CallError::rejected(OPERATION, message)
    })?;
    Ok(url.origin().ascii_serialization())
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
    fn every_state_of_the_model_has_an_readiness() {
        for name in WorkspaceStatus::values() {
            let expected = match *name {
                "ACTIVE" | "DEGRADED" => Readiness::Usable,
                "DELETING" | "FAILED" | "CREATION_FAILED" | "DELETION_FAILED" => Readiness::Lost,
                failed if failed.ends_with("_FAILED") => Readiness::Damaged,
                _ => Readiness::Wait,
            };
            assert_eq!(readiness(&WorkspaceStatus::from(*name)), expected, "{name}");
        }
        assert_eq!(
            readiness(&WorkspaceStatus::from("PAINTING")),
            Readiness::Wait
        );
    }
}
