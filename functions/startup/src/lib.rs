//! What every function needs from its start to its reply: the checked environment, a log without secrets,
//! the HTTP client, the runtime loop, the report of a failed start, and the time limit of an invocation.

mod backoff;
mod deadline;
mod environment;
mod http;
mod init;
mod log;
mod sdk_http;

pub use backoff::backoff;
pub use deadline::{Deadline, Interrupted};
pub use environment::{Environment, InvalidEnvironment, process_variable};
pub use http::{body_within, http_client, may_carry_secrets};
pub use init::{report_init_error, serve};
pub use log::log;
pub use sdk_http::sdk_http;

use std::error::Error;

/// An error and all its causes in one line, `outermost: …: root cause`.
pub fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
