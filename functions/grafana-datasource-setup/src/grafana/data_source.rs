//! A data source, as the HTTP API reads and writes it.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// A data source (pkg/api/dtos/datasource.go, pkg/services/datasources/models.go). Secure fields are
/// never returned, and keep their values when they are not written.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataSource {
    /// Grafana's key for it.
    pub uid: String,
    /// The name, unique in the workspace.
    pub(crate) name: String,
    /// Plugin id.
    #[serde(rename = "type")]
    pub source_type: String,
    /// `proxy`: Grafana's backend sends the queries.
    pub(crate) access: String,
    /// The URL that queries go to.
    pub(crate) url: String,
    pub(crate) user: String,
    pub(crate) database: String,
    pub(crate) basic_auth: bool,
    pub(crate) basic_auth_user: String,
    pub(crate) with_credentials: bool,
    /// New panels use it.
    pub is_default: bool,
    /// The settings that depend on the type. Grafana keeps keys that it doesn't know.
    #[serde(deserialize_with = "empty_when_null")]
    pub(crate) json_data: Map<String, Value>,
    /// Counts writes. Grafana refuses a write with an old number
    /// (pkg/services/datasources/service/store.go).
    pub(crate) version: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) api_version: Option<String>,
    /// Provisioned from a file, or by AWS.
    #[serde(skip_serializing)]
    pub read_only: bool,
}

impl DataSource {
    /// A data source with nothing set.
    pub(crate) fn new(uid: &str, source_type: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            source_type: source_type.to_owned(),
            access: "proxy".to_owned(),
            ..Self::default()
        }
    }

    /// Sets a key of `jsonData`.
    pub(crate) fn set(&mut self, key: &str, value: impl Into<Value>) {
        self.json_data.insert(key.to_owned(), value.into());
    }
}

fn empty_when_null<'de, D>(deserializer: D) -> Result<Map<String, Value>, D::Error>
where
    D: Deserializer<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}
