//! A failed call of an AWS API: one shape for every service and operation.

use aws_sdk_grafana::error::{ProvideErrorMetadata, SdkError};

/// A call that failed after the SDK's own retries.
///
/// It holds texts only: an SDK error's `Debug` form would print the response with its body, and
/// the response to CreateWorkspaceServiceAccountToken has a token in it.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct CallError {
    /// Service and operation, as IAM writes them.
    operation: &'static str,
    /// What an operator, or the next attempt, can do about it.
    pub(crate) kind: CallErrorKind,
    /// The service's own words, or the chain of causes.
    pub(crate) message: String,
}

/// Why a call failed. The name is Lambda's `errorType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
pub(crate) enum CallErrorKind {
    /// The function's role lacks a permission.
    AccessDenied,
    /// Something of that name exists, or the workspace is being changed at the moment.
    Conflict,
    /// The account, service account, token, user or group does not exist.
    NotFound,
    /// The workspace has no room for one more service account or token.
    QuotaExceeded,
    /// The service asks to slow down.
    Throttled,
    /// AMG refused the request for another reason.
    ManagedGrafanaRejected,
    /// AMG did not answer, or failed internally.
    ManagedGrafanaUnavailable,
    /// IAM Identity Center failed, or refused the request for another reason.
    IdentityCenterFailed,
}

use CallErrorKind::{
    AccessDenied, Conflict, IdentityCenterFailed, ManagedGrafanaRejected,
    ManagedGrafanaUnavailable, NotFound, QuotaExceeded, Throttled,
};

impl CallError {
    /// Reads an error of the SDK. Error codes and status codes:
    /// <https://docs.aws.amazon.com/grafana/latest/APIReference/CommonErrors.html> and the pages of
    /// the operations.
    pub(crate) fn new<E>(operation: &'static str, error: &SdkError<E>) -> Self
    where
        E: ProvideErrorMetadata + std::error::Error + 'static,
    {
        let Some(failure) = error.as_service_error() else {
            return Self::unavailable(operation, startup::error_chain(error));
        };
        let code = failure.code().unwrap_or("no error code");
        let message = failure.message().unwrap_or("no message").to_owned();
        let kind = match code {
            "AccessDeniedException" => AccessDenied,
            "ConflictException" => Conflict,
            "ResourceNotFoundException" => NotFound,
            "ServiceQuotaExceededException" => QuotaExceeded,
            "ThrottlingException" => Throttled,
            _ => {
                let message = format!("{code}: {message}");
                let response = error.raw_response();
                return if response.is_some_and(|response| response.status().is_server_error()) {
                    Self::unavailable(operation, message)
                } else {
                    Self::rejected(operation, message)
                };
            }
        };
        Self {
            operation,
            kind,
            message,
        }
    }

    /// The service did not answer, or not as its API documents.
    pub(crate) fn unavailable(operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            operation,
            kind: of_service(operation, ManagedGrafanaUnavailable),
            message: message.into(),
        }
    }

    /// The request, or what the service says of the workspace, is not acceptable.
    pub(crate) fn rejected(operation: &'static str, message: impl Into<String>) -> Self {
        Self {
            operation,
            kind: of_service(operation, ManagedGrafanaRejected),
            message: message.into(),
        }
    }

    /// Whether the same call may succeed a moment later.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self.kind, Conflict | Throttled | ManagedGrafanaUnavailable)
    }

    fn text(&self) -> String {
        let Self {
            operation, message, ..
        } = self;
        match self.kind {
            AccessDenied => format!("the function's role may not call {operation}: {message}"),
            Conflict => {
                format!("{operation} is in conflict with the workspace's present state: {message}")
            }
            NotFound => format!("{operation}: {message}"),
            QuotaExceeded => format!(
                "{operation} is over a quota of the workspace: {message}; delete service account \
                 tokens that are no longer used, expired ones count too"
            ),
            Throttled => format!("{operation} is throttled: {message}"),
            ManagedGrafanaRejected => format!("{operation} was rejected: {message}"),
            ManagedGrafanaUnavailable | IdentityCenterFailed => {
                format!("{operation} failed: {message}")
            }
        }
    }
}

/// A failure of Identity Center only keeps people from their roles, so it has a kind of its own.
fn of_service(operation: &str, kind: CallErrorKind) -> CallErrorKind {
    if operation.starts_with("grafana:") {
        kind
    } else {
        IdentityCenterFailed
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_grafana::error::ErrorMetadata;
    use aws_sdk_grafana::operation::describe_workspace::DescribeWorkspaceError;
    use aws_smithy_runtime_api::http::{Response, StatusCode};
    use aws_smithy_types::body::SdkBody;

    use super::*;

    fn refused(operation: &'static str, status: u16, code: &str) -> CallError {
        let metadata = ErrorMetadata::builder().code(code).message("why").build();
        let status = StatusCode::try_from(status).unwrap();
        let response = Response::new(status, SdkBody::from("glsa_secret"));
        let error = DescribeWorkspaceError::generic(metadata);
        CallError::new(operation, &SdkError::service_error(error, response))
    }

    #[test]
    fn the_kind_follows_code_status_and_service() {
        for (operation, status, code, expected, text) in [
            (
                "grafana:X",
                403,
                "AccessDeniedException",
                AccessDenied,
                "the function's role may not call grafana:X: why",
            ),
            (
                "sso:X",
                403,
                "AccessDeniedException",
                AccessDenied,
                "the function's role may not call sso:X: why",
            ),
            (
                "grafana:X",
                429,
                "ThrottlingException",
                Throttled,
                "grafana:X is throttled: why",
            ),
            (
                "grafana:X",
                400,
                "ValidationException",
                ManagedGrafanaRejected,
                "grafana:X was rejected: ValidationException: why",
            ),
            (
                "grafana:X",
                500,
                "InternalServerException",
                ManagedGrafanaUnavailable,
                "grafana:X failed: InternalServerException: why",
            ),
            (
                "sso:X",
                400,
                "ValidationException",
                IdentityCenterFailed,
                "sso:X failed: ValidationException: why",
            ),
            (
                "sso:X",
                500,
                "InternalServerException",
                IdentityCenterFailed,
                "sso:X failed: InternalServerException: why",
            ),
        ] {
            let error = refused(operation, status, code);
            assert_eq!(error.kind, expected, "{operation} {code}");
            assert_eq!(error.to_string(), text);
        }
    }

    #[test]
    fn a_response_is_not_printed() {
        let error = refused("grafana:X", 500, "InternalServerException");
        assert!(!format!("{error:?} {error}").contains("glsa_secret"));
    }
}
