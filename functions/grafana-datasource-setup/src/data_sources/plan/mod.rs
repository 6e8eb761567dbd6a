//! Which data sources Grafana should have, and what must be written for that. Pure.

pub(crate) mod cloudwatch;
pub mod edition;
mod lookup;
mod mark;
pub mod prometheus;
mod removal;

pub(crate) use mark::Mark;
pub(crate) use removal::is_of_another_stack;
pub use removal::{Removal, removals};

use crate::grafana::DataSource;

/// AMG's "Workspace IAM role": grafana-aws-sdk-react, src/providers.ts. Grafana accepts any other
/// text too, and then fails at query time.
const WORKSPACE_ROLE: &str = "ec2_iam_role";

/// What must be written so that Grafana has the wanted data source.
#[derive(Clone, Debug, PartialEq)]
pub enum Plan {
    /// It does not exist: add this.
    Create(DataSource),
    /// It differs: change it into this.
    Update {
        /// Its present uid.
        uid: String,
        /// What it becomes.
        into: DataSource,
    },
    /// It is as wanted: write nothing.
    Unchanged(DataSource),
}

impl Plan {
    /// The data source that Grafana has once this is carried out.
    pub fn into_source(self) -> DataSource {
        let (Self::Create(source) | Self::Update { into: source, .. } | Self::Unchanged(source)) =
            self;
        source
    }
}
