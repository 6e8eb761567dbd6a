//! What this function stores in a data source itself, for the day the stack is deleted.

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::grafana::DataSource;

/// The `jsonData` key of the mark.
const KEY: &str = "grafanaDatasourceSetup";

/// Shows that this function wrote a data source, and how to undo that.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Mark {
    /// Created by this function; otherwise created by a person and adopted.
    pub(super) made: bool,
    /// The uid in the settings: which stack's resource this is.
    pub(super) uid: String,
    /// The default data source before this one became it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) previous_default: Option<String>,
    /// Id of the stack that last wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) stack: Option<String>,
}

impl Mark {
    /// The mark of a new data source, created for the resource with `uid`.
    pub(super) fn made_for(uid: &str) -> Self {
        Self {
            made: true,
            uid: uid.to_owned(),
            previous_default: None,
            stack: None,
        }
    }

    /// The mark in a data source; `None` if this function never wrote it.
    pub(crate) fn of(source: &DataSource) -> Option<Self> {
        serde_json::from_value(source.json_data.get(KEY)?.clone()).ok()
    }

    pub(super) fn write_to(&self, source: &mut DataSource) {
        source.set(KEY, json!(self));
    }

    /// The same data source without its mark.
    pub(crate) fn removed_from(mut source: DataSource) -> DataSource {
        source.json_data.remove(KEY);
        source
    }
}
