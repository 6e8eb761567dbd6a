//! The failures an operator tells apart.

use std::error::Error;
use std::fmt;

use lambda_runtime::Diagnostic;

/// Why a run failed. The name of the variant is Lambda's `errorType`.
#[derive(thiserror::Error, strum::IntoStaticStr)]
pub enum RunError {
    /// The payload is none of the accepted forms.
    #[error("invalid event")]
    InvalidEvent(#[source] Cause),
    /// AMP did not answer, or not in a way that can be read, for as long as there was time to ask.
    #[error("Amazon Managed Prometheus is unavailable")]
    AmpUnavailable(#[source] Cause),
    /// AMP refused the query itself.
    #[error("Amazon Managed Prometheus rejected the query")]
    AmpRejected(#[source] Cause),
    /// The function's role lacks a permission.
    #[error("access denied")]
    AccessDenied(#[source] Cause),
    /// A service kept asking to slow down.
    #[error("throttled")]
    Throttled(#[source] Cause),
    /// CloudWatch did not take the metrics, or the watermark could not be moved.
    #[error("publishing failed")]
    PublishFailed(#[source] Cause),
    /// Lambda's time-out was near before any period was published.
    #[error("out of time")]
    OutOfTime(#[source] Cause),
}

/// What lies behind a failure.
pub type Cause = Box<dyn Error + Send + Sync>;

/// The runtime logs a handler's error by `Debug`. A derived one would print the SDK's errors with
/// the raw response they hold, headers and body.
impl fmt::Debug for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error_type: &str = self.into();
        write!(f, "{error_type}: {}", startup::error_chain(self))
    }
}

impl From<RunError> for Diagnostic {
    fn from(error: RunError) -> Self {
        Self {
            error_type: <&str>::from(&error).into(),
            error_message: startup::error_chain(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lambda_is_told_the_type_and_every_cause() {
        let root = std::io::Error::other("connection reset");
        let error = RunError::AmpUnavailable(Box::new(root));
        assert_eq!(
            format!("{error:?}"),
            "AmpUnavailable: Amazon Managed Prometheus is unavailable: connection reset"
        );
        let diagnostic = Diagnostic::from(error);
        assert_eq!(diagnostic.error_type, "AmpUnavailable");
        assert_eq!(
            diagnostic.error_message,
            "Amazon Managed Prometheus is unavailable: connection reset"
        );
    }
}
