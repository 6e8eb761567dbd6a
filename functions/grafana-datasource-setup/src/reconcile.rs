//! Plans, writes, and plans again where somebody else wrote in between.

use std::future::Future;

use serde::Serialize;

use crate::error::SetupError;
use crate::grafana::GrafanaError;

/// Attempts in all.
const MAX_ATTEMPTS: usize = 3;

/// What was written, or in a dry run would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Action {
    /// It did not exist.
    Created,
    /// It differed from what is wanted.
    Updated,
    /// Nothing was written: it was as wanted.
    Unchanged,
    /// Nothing was written: a person has changed it.
    Kept,
    /// Nothing was written: whether a person has changed it is unknown.
    Unknown,
}

/// One attempt: the plan, and the outcome of writing it.
pub(crate) struct Attempt<P> {
    pub(crate) plan: P,
    pub(crate) action: Action,
    pub(crate) written: Result<(), GrafanaError>,
}

/// Replans on concurrent edits, up to [`MAX_ATTEMPTS`]. Returns the last plan and what was done.
///
/// # Errors
/// Those of planning and writing.
pub(crate) async fn reconcile<P, F>(attempt: impl Fn() -> F) -> Result<(P, Action), SetupError>
where
    F: Future<Output = Result<Attempt<P>, SetupError>>,
{
    let mut attempts = 1;
    let mut tried = None;
    loop {
        let Attempt {
            plan,
            action,
            written,
        } = attempt().await?;
        match (written, tried) {
            // An earlier attempt was carried out although Grafana answered with an error.
            (Ok(()), Some(tried)) if action == Action::Unchanged => return Ok((plan, tried)),
            (Ok(()), _) => return Ok((plan, action)),
            // Somebody else has created, changed or deleted it since it was read.
            (
                Err(GrafanaError::Rejected {
                    status: 404 | 409 | 412,
                    ..
                }),
                _,
            ) if attempts < MAX_ATTEMPTS => {
                attempts += 1;
                tried = Some(action);
            }
            (Err(error), _) => return Err(error.into()),
        }
    }
}
