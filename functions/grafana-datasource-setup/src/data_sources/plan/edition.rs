//! Which type of data source can sign requests to AMP in this Grafana. Pure.

use crate::error::SetupError;
use crate::grafana::{DataSource, Version};

/// Grafana's built-in type. It signs requests to AMP up to Grafana 11.
pub const PROMETHEUS: &str = "prometheus";

/// The plugin that signs requests to AMP from Grafana 12 on, where the built-in type no longer can:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/amazon-prometheus-data-source.html>
pub const AMP_PLUGIN: &str = "grafana-amazonprometheus-datasource";

/// The first Grafana whose built-in type cannot sign:
/// <https://docs.aws.amazon.com/grafana/latest/userguide/prometheus-manually-adding.html>
const FIRST_WITHOUT_CORE_SIGV4: u32 = 12;

/// What this Grafana can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The workspace's Grafana version.
    pub version: Version,
    /// Why [`AMP_PLUGIN`] is not installed; `None` where it is.
    pub lacks_amp_plugin: Option<String>,
}

impl Edition {
    /// The plugin where it is installed or already in use (a data source that Grafana 13 migrated stays
    /// migrated), otherwise the built-in type. Grafana would accept any type on a write.
    ///
    /// # Errors
    /// No type of this Grafana can sign.
    pub(super) fn source_type(
        &self,
        found: Option<&DataSource>,
    ) -> Result<&'static str, SetupError> {
        let is_migrated = found.is_some_and(|source| source.source_type == AMP_PLUGIN);
        match &self.lacks_amp_plugin {
            None => Ok(AMP_PLUGIN),
            Some(_) if is_migrated => Ok(AMP_PLUGIN),
            Some(_) if !needs_amp_plugin(&self.version) => Ok(PROMETHEUS),
            Some(why) => Err(SetupError::PluginMissing {
                version: self.version.to_string(),
                plugin: AMP_PLUGIN,
                why: why.clone(),
            }),
        }
    }
}

/// Whether Grafana's built-in type can't sign requests to AMP in this version.
pub(crate) fn needs_amp_plugin(version: &Version) -> bool {
    version.major() >= FIRST_WITHOUT_CORE_SIGV4
}
