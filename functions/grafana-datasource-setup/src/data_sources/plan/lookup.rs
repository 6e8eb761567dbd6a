//! Finds the data source to set up among those that Grafana has.

use crate::error::SetupError;
use crate::grafana::DataSource;

/// What identifies the data source.
pub(super) struct Lookup<'a> {
    pub(super) uid: &'a str,
    pub(super) name: &'a str,
    pub(super) types: &'a [&'a str],
    /// The settings to change if another data source is in the way.
    pub(super) settings: &'static str,
}

impl Lookup<'_> {
    /// The data source with this uid, otherwise the one with this name.
    ///
    /// # Errors
    /// It has another type, or name and uid belong to two different data sources.
    pub(super) fn find<'s>(
        &self,
        sources: &'s [DataSource],
    ) -> Result<Option<&'s DataSource>, SetupError> {
        let by_name = sources.iter().find(|source| source.name == self.name);
        let by_uid = sources.iter().find(|source| source.uid == self.uid);
        let Some(found) = by_uid.or(by_name) else {
            return Ok(None);
        };
        if let Some(namesake) = by_name.filter(|namesake| namesake.uid != found.uid) {
            return Err(self.name_taken(namesake));
        }
        if !self.types.contains(&found.source_type.as_str()) {
            return Err(self.name_taken(found));
        }
        Ok(Some(found))
    }

    fn name_taken(&self, source: &DataSource) -> SetupError {
        SetupError::NameTaken {
            name: source.name.clone(),
            uid: source.uid.clone(),
            source_type: source.source_type.clone(),
            settings: self.settings,
        }
    }
}
