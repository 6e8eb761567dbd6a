//! Why a request to Grafana failed.

/// A failed request. The name of the variant, after `Grafana`, is Lambda's `errorType`.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(prefix = "Grafana")]
pub enum GrafanaError {
    /// Grafana did not answer, or failed internally.
    #[error(
        "Grafana doesn't answer {request}: {cause}; if the workspace has network access control, let \
         the function in"
    )]
    Unavailable {
        /// Method and path.
        request: String,
        /// Status and message, or the chain of causes.
        cause: String,
    },

    /// Grafana refused a request.
    #[error("Grafana rejected {request}: {status} {message}")]
    Rejected {
        /// Method and path.
        request: String,
        /// HTTP status.
        status: u16,
        /// Grafana's message.
        message: String,
    },

    /// Grafana's answer differs from what its API documents.
    #[error("Grafana's answer to {request} is not understood: {cause}")]
    Unintelligible {
        /// Method and path.
        request: String,
        /// What is wrong with the answer, without the answer itself.
        cause: String,
    },
}
