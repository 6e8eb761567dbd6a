//! The failures an operator tells apart, and their `errorType`.

use aws_sdk_grafana::error::{ProvideErrorMetadata, SdkError};
use lambda_runtime::Diagnostic;

/// Why a run failed. No variant holds a secret or a whole response body: Lambda's runtime logs the
/// `Debug` form, and CloudFormation shows the `Display` form.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The payload is neither a CloudFormation request nor a manual run.
    #[error(
        "{0}; accepted are a CloudFormation custom resource request, and for a manual run no payload, null, {{}} or {{\"dryRun\":true}}"
    )]
    InvalidEvent(String),

    /// Resource properties or environment variables, all mistakes at once.
    #[error("{0}")]
    InvalidConfiguration(String),

    /// The workspace does not exist (any more).
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

    /// The function's role lacks a permission.
    #[error("the function's role may not call {operation}: {message}")]
    AccessDenied {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// What AMG said.
        message: String,
    },

    /// Something of that name exists, or the workspace is being changed at the moment.
    #[error("{operation} is in conflict with the workspace's present state: {message}")]
    Conflict {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// What AMG said.
        message: String,
    },

    /// The account, the service account or the token named does not exist.
    #[error("{operation}: {message}")]
    NotFound {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// What AMG said.
        message: String,
    },

    /// No room for one more service account or token in the workspace.
    #[error(
        "{operation} is over a quota of the workspace: {message}; delete service account \
         tokens that are no longer used, expired ones count too"
    )]
    QuotaExceeded {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// What AMG said.
        message: String,
    },

    /// AMG asks to slow down, after the SDK's own retries.
    #[error("{operation} is throttled: {message}")]
    Throttled {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// What AMG said.
        message: String,
    },

    /// AMG's API refused the request for another reason.
    #[error("{operation} was rejected: {message}")]
    ManagedGrafanaRejected {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// AMG's error code and message.
        message: String,
    },

    /// AMG's API didn't answer, or failed inside.
    #[error("{operation} failed: {message}")]
    ManagedGrafanaUnavailable {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// The error code, or the chain of causes.
        message: String,
    },

    /// Grafana itself didn't answer, or failed inside.
    #[error(
        "Grafana doesn't answer {request}: {cause}; if the workspace has network access control, let \
         the function in"
    )]
    GrafanaUnavailable {
        /// Method and path.
        request: String,
        /// Status and message, or the chain of causes.
        cause: String,
    },

    /// Grafana refused a request.
    #[error("Grafana rejected {request}: {status} {message}")]
    GrafanaRejected {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Grafana's message.
        message: String,
    },

    /// Grafana's answer is not what its API documents.
    #[error("Grafana's answer to {request} is not understood: {cause}")]
    GrafanaUnintelligible {
        /// Method and path.
        request: String,
        /// What is wrong with it, without the answer itself.
        cause: String,
    },

    /// The workspace's version text has no major version in it.
    #[error(
        "Grafana version {0:?} of the workspace is not understood: expected a number like 12.4"
    )]
    UnknownVersion(String),

    /// People of a list whom Identity Center doesn't know.
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

    /// There is no Identity Center to look people up in.
    #[error(
        "IAM Identity Center is not switched on: in the organisation's management account open \
         https://console.aws.amazon.com/singlesignon, choose Enable, then run this again"
    )]
    IdentityCenterOff,

    /// Identity Center failed, or refused for a reason that no other variant has.
    #[error("{operation} failed: {message}")]
    IdentityCenterFailed {
        /// Service and operation, as IAM writes them.
        operation: &'static str,
        /// The error code and message, or the chain of causes.
        message: String,
    },

    /// AMG refused to change somebody's role.
    #[error("grafana:UpdatePermissions was refused for {0}")]
    RolesRefused(String),

    /// AMG said yes, and nothing changed.
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
        /// What came of installing it.
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

    /// The name or uid wanted belongs to a data source of another kind, or to another source.
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
        /// What else can be set.
        settings: &'static str,
    },

    /// The time reserved for the work is over.
    #[error("out of time (the function has {limit_seconds} s) while {doing}")]
    OutOfTime {
        /// The invocation's time.
        limit_seconds: u64,
        /// What the time was being spent on.
        doing: String,
    },

    /// CloudFormation's presigned URL didn't take the response.
    #[error("the response was not delivered to CloudFormation: {0}")]
    ResponseUndelivered(String),

    /// A panic: a bug of this function.
    #[error("bug: panicked while {doing}: {message}")]
    Panicked {
        /// What was being done.
        doing: String,
        /// The panic's message.
        message: String,
    },
}

impl SetupError {
    /// The stable name that alarms and callers tell failures apart by.
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidEvent(_) => "InvalidEvent",
            Self::InvalidConfiguration(_) => "InvalidConfiguration",
            Self::WorkspaceNotFound(_) => "WorkspaceNotFound",
            Self::WorkspaceUnusable { .. } => "WorkspaceUnusable",
            Self::AccessDenied { .. } => "AccessDenied",
            Self::Conflict { .. } => "Conflict",
            Self::NotFound { .. } => "NotFound",
            Self::QuotaExceeded { .. } => "QuotaExceeded",
            Self::Throttled { .. } => "Throttled",
            Self::ManagedGrafanaRejected { .. } => "ManagedGrafanaRejected",
            Self::ManagedGrafanaUnavailable { .. } => "ManagedGrafanaUnavailable",
            Self::GrafanaUnavailable { .. } => "GrafanaUnavailable",
            Self::GrafanaRejected { .. } => "GrafanaRejected",
            Self::GrafanaUnintelligible { .. } => "GrafanaUnintelligible",
            Self::UnknownVersion(_) => "UnknownVersion",
            Self::UnknownPeople { .. } => "UnknownPeople",
            Self::IdentityCenterOff => "IdentityCenterOff",
            Self::IdentityCenterFailed { .. } => "IdentityCenterFailed",
            Self::RolesRefused(_) => "RolesRefused",
            Self::RolesWithoutEffect(_) => "RolesWithoutEffect",
            Self::PluginMissing { .. } => "PluginMissing",
            Self::ReadOnly { .. } => "ReadOnly",
            Self::NameTaken { .. } => "NameTaken",
            Self::OutOfTime { .. } => "OutOfTime",
            Self::ResponseUndelivered(_) => "ResponseUndelivered",
            Self::Panicked { .. } => "Panicked",
        }
    }

    /// A call of an AWS API that failed, after the SDK's own retries. Names and status codes:
    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/CommonErrors.html> and the
    /// operations' pages.
    pub fn of_call<E>(operation: &'static str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(failure) = error.as_service_error() else {
            let message = startup::error_chain(error);
            return Self::ManagedGrafanaUnavailable { operation, message };
        };
        let code = failure.code().unwrap_or("no error code").to_owned();
        let message = failure.message().unwrap_or("no message").to_owned();
        match code.as_str() {
            "AccessDeniedException" => Self::AccessDenied { operation, message },
            "ConflictException" => Self::Conflict { operation, message },
            "ResourceNotFoundException" => Self::NotFound { operation, message },
            "ServiceQuotaExceededException" => Self::QuotaExceeded { operation, message },
            "ThrottlingException" => Self::Throttled { operation, message },
            _ => {
                let status = error
                    .raw_response()
                    .map_or(0, |response| response.status().as_u16());
                let message = format!("{code}: {message}");
                if status >= 500 {
                    Self::ManagedGrafanaUnavailable { operation, message }
                } else {
                    Self::ManagedGrafanaRejected { operation, message }
                }
            }
        }
    }

    /// Whether it is Amazon Managed Grafana or IAM Identity Center that fails to give people their
    /// roles. Then all else is set up, and the next run tries again. Lists that are wrong, and a run
    /// that ends, are no such failures.
    pub fn is_of_people_services(&self) -> bool {
        matches!(
            self,
            Self::AccessDenied { .. }
                | Self::Conflict { .. }
                | Self::NotFound { .. }
                | Self::QuotaExceeded { .. }
                | Self::Throttled { .. }
                | Self::ManagedGrafanaRejected { .. }
                | Self::ManagedGrafanaUnavailable { .. }
                | Self::IdentityCenterFailed { .. }
                | Self::RolesRefused(_)
                | Self::RolesWithoutEffect(_)
        )
    }

    /// Whether the same call may succeed a moment later.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Conflict { .. } | Self::Throttled { .. } | Self::ManagedGrafanaUnavailable { .. }
        )
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
