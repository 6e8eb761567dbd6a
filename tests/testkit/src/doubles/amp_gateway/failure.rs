//! How a workspace fails.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::{Logged, Workspace, answer::Answer};

/// One failure of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// An error answer, with the body AMP or AWS's front door gives with this status.
    Status(u16),
    /// IAM does not allow the call.
    NotAuthorized,
    /// The reply is too long for one of the parts of Cortex to send to another:
    /// <https://github.com/cortexproject/cortex/issues/913>
    MessageTooLarge,
    /// The right answer, this much later.
    Slow(Duration),
    /// The right answer, but the connection ends in the middle of its body.
    CutMidReply,
    /// Status 200 and a web page.
    Garbage,
    /// Status 200 and this body.
    Body(String),
    /// Status 200 and that many MiB of series, packed as gzip or not.
    Mebibytes {
        /// Length unpacked.
        count: usize,
        /// As AMP answers.
        packed: bool,
    },
    /// The request is taken and never answered.
    Hang,
    /// The connection is closed without a word.
    Reset,
}

impl Failure {
    /// The answer in place of the right one.
    pub(super) fn answer(&self, workspace: &Workspace, logged: &Logged) -> Option<Answer> {
        match self {
            Self::Status(status) => Some(error_answer(*status)),
            Self::NotAuthorized => {
                let operation = logged.operation?;
                let resource = workspace.workspace_arn(&workspace.options.workspace_id);
                Some(Answer::not_authorized(operation, &resource))
            }
            Self::MessageTooLarge => {
                let error = "rpc error: code = ResourceExhausted desc = grpc: trying to send message \
                             larger than max (67108916 vs. 67108864)";
                let code = StatusCode::INTERNAL_SERVER_ERROR;
                Some(Answer::prometheus_error(code, "internal", error))
            }
            Self::Garbage => Some(Answer::html(
                StatusCode::OK,
                "<html>We will be back soon</html>",
            )),
            Self::Body(body) => Some(Answer::new(StatusCode::OK, body.clone())),
            Self::Mebibytes { count, packed } => Some(Answer::long(*count, *packed)),
            Self::Slow(_) | Self::CutMidReply | Self::Hang | Self::Reset => None,
        }
    }

    /// Comes back when, and if, an answer is due.
    pub(super) async fn hold_back(&self) {
        match self {
            Self::Slow(delay) => tokio::time::sleep(*delay).await,
            Self::Hang => std::future::pending().await,
            // Ends the task that serves the connection, and the connection with it; unlike
            // `panic!` it leaves no message.
            Self::Reset => std::panic::resume_unwind(Box::new("connection reset on purpose")),
            Self::Status(_)
            | Self::NotAuthorized
            | Self::MessageTooLarge
            | Self::CutMidReply
            | Self::Garbage
            | Self::Body(_)
            | Self::Mebibytes { .. } => (),
        }
    }
}

/// Statuses and error types of Cortex, which AMP is, and of the front door for what never gets to it:
/// <https://github.com/cortexproject/cortex/blob/master/pkg/api/queryapi/util.go>,
/// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-troubleshooting.html>
fn error_answer(status: u16) -> Answer {
    let code = StatusCode::from_u16(status).expect("a test asks for a status that exists");
    let (error_type, error) = match status {
        400 => ("bad_data", "1:7: parse error: unexpected end of input"),
        413 => (
            "bad_data",
            "the query hit the aggregated data size limit (limit: 5368709120 bytes)",
        ),
        422 => (
            "execution",
            "query processing would load too many samples into memory in query execution",
        ),
        403 => {
            let message =
                json!({ "message": "The security token included in the request is expired" });
            return Answer::aws_error(code, "ExpiredTokenException", &message);
        }
        404 => {
            let message = json!({ "message": "Workspace not found" });
            return Answer::aws_error(code, "ResourceNotFoundException", &message);
        }
        429 => {
            let message = json!({ "message": "Rate exceeded" });
            return Answer::aws_error(code, "ThrottlingException", &message);
        }
        503 | 504 => ("timeout", "query timed out in expression evaluation"),
        _ => ("internal", "an internal error occurred"),
    };
    Answer::prometheus_error(code, error_type, error)
}
