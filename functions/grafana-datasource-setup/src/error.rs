//! The failures an operator tells apart, and their `errorType`.

use lambda_runtime::Diagnostic;
use startup::Interrupted;

use crate::aws_call::CallError;
use crate::grafana::GrafanaError;

/// Why a run failed. No variant holds a secret or a whole response body: Lambda's runtime logs the
/// `Debug` form, and CloudFormation shows the `Display` form.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum SetupError {
    /// The payload is neither a CloudFormation request nor a manual run.
    #[error(
        "{0}; accepted are a CloudFormation custom resource request, and for a manual run no payload, null, {{}} or {{\"dryRun\":true}}"
    )]
    InvalidEvent(String),

    /// Resource properties or environment variables, all mistakes at once.
    #[error("{0}")]
    InvalidConfiguration(String),

    /// The workspace does not exist, or no longer.
    #[error("Grafana workspace {0} does not exist in this region and account")]
    WorkspaceNotFound(String),

    /// The workspace is in a state that it doesn't leave by itself.
    #[error(
        "Grafana workspace {workspace} is {status}: repair or replace the workspace, then run this \
         again"
    )]
    WorkspaceUnusable {
        /// `g-…`.
        workspace: String,
        /// AMG's name of the state.
        status: String,
    },

    /// The workspace's version text has no major version in it.
    #[error(
        "Grafana version {0:?} of the workspace is not understood: expected a number like 12.4"
    )]
    UnknownVersion(String),

    /// A call of an AWS API failed.
    #[error(transparent)]
    Call(#[from] CallError),

    /// A request to Grafana failed.
    #[error(transparent)]
    Grafana(#[from] GrafanaError),

    /// People on a list whom Identity Center doesn't know.
    #[error(
        "IAM Identity Center doesn't know {people} (asked: {asked}): correct the list, or add them in \
         the IAM Identity Center console under Users or Groups, then run this again"
    )]
    UnknownPeople {
        /// As the lists name them.
        people: String,
        /// The directories that were asked.
        asked: String,
    },

    /// The account sees no instance of Identity Center.
    #[error(
        "IAM Identity Center is not switched on: in the organisation's management account open \
         https://console.aws.amazon.com/singlesignon, choose Enable, then run this again"
    )]
    IdentityCenterOff,

    /// AMG refused to change somebody's role.
    #[error("grafana:UpdatePermissions was refused for {0}")]
    RolesRefused(String),

    /// AMG accepted a change of roles, and nothing changed.
    #[error(
        "grafana:UpdatePermissions was accepted without effect for {0}: are they assigned to the \
         workspace in IAM Identity Center?"
    )]
    RolesWithoutEffect(String),

    /// No data source type of this Grafana can sign requests to AMP.
    #[error(
        "Grafana {version} reads AMP through plugin {plugin}, which is not installed ({why}): install \
         it in Grafana (Administration, Plugins; the workspace's plugin management must be on), then \
         run this again"
    )]
    PluginMissing {
        /// The workspace's Grafana version.
        version: String,
        /// Plugin id.
        plugin: &'static str,
        /// Why installing it failed.
        why: String,
    },

    /// The data source found was provisioned from a file.
    #[error(
        "data source {name:?} (uid {uid}) is read-only: remove it where it was provisioned, or choose \
         another DATASOURCE_NAME and DATASOURCE_UID"
    )]
    ReadOnly {
        /// The source's name.
        name: String,
        /// The source's uid.
        uid: String,
    },

    /// The wanted name or uid belongs to a data source of another type, or to two different ones.
    #[error(
        "data source {name:?} (uid {uid}, type {source_type}) is in the way: rename or remove it, or \
         choose another {settings}"
    )]
    NameTaken {
        /// The source's name.
        name: String,
        /// The source's uid.
        uid: String,
        /// The source's type.
        source_type: String,
        /// The settings that avoid the conflict.
        settings: &'static str,
    },

    /// The time reserved for the work is over.
    #[error(transparent)]
    OutOfTime(Interrupted),

    /// A panic: a bug of this function.
    #[error(transparent)]
    Panicked(Interrupted),

    /// CloudFormation's presigned URL did not accept the response.
    #[error("the response was not delivered to CloudFormation: {0}")]
    ResponseUndelivered(String),
}

impl SetupError {
    /// The stable name that alarms and callers tell failures apart by.
    pub(crate) fn error_type(&self) -> &'static str {
        match self {
            Self::Call(error) => error.kind.into(),
            Self::Grafana(error) => error.into(),
            error => error.into(),
        }
    }

    /// Whether Amazon Managed Grafana or IAM Identity Center fails to give people their roles. Then
    /// everything else is set up, and the next run tries again. A wrong list and the end of the time
    /// are not such failures.
    pub(crate) fn is_of_people_services(&self) -> bool {
        matches!(
            self,
            Self::Call(_) | Self::RolesRefused(_) | Self::RolesWithoutEffect(_)
        )
    }
}

impl From<Interrupted> for SetupError {
    fn from(interrupted: Interrupted) -> Self {
        match interrupted {
            Interrupted::OutOfTime { .. } => Self::OutOfTime(interrupted),
            Interrupted::Panicked { .. } => Self::Panicked(interrupted),
        }
    }
}

impl From<SetupError> for Diagnostic {
    fn from(error: SetupError) -> Self {
        Self {
            error_type: error.error_type().into(),
            error_message: startup::error_chain(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_names_the_failure_and_not_the_room_it_comes_from() {
        let request = "GET /api/health".to_owned();
        let cause = "connection refused".to_owned();
        let activity = "counting".to_owned();
        let (uid, name) = ("amp".to_owned(), "AMP".to_owned());
        for (error, expected) in [
            (SetupError::IdentityCenterOff, "IdentityCenterOff"),
            (SetupError::ReadOnly { name, uid }, "ReadOnly"),
            (
                CallError::unavailable("grafana:X", "").into(),
                "ManagedGrafanaUnavailable",
            ),
            (
                CallError::rejected("grafana:X", "").into(),
                "ManagedGrafanaRejected",
            ),
            (
                CallError::unavailable("sso:X", "").into(),
                "IdentityCenterFailed",
            ),
            (
                GrafanaError::Unavailable { request, cause }.into(),
                "GrafanaUnavailable",
            ),
            (
                Interrupted::OutOfTime {
                    limit_seconds: 9,
                    activity,
                }
                .into(),
                "OutOfTime",
            ),
        ] {
            assert_eq!(error.error_type(), expected, "{error}");
        }
    }
}
