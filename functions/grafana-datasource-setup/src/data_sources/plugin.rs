//! Makes sure that Grafana has the plugin that signs requests to AMP.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::plan::edition::{AMP_PLUGIN, needs_amp_plugin};
use crate::grafana::{Grafana, GrafanaError};

/// How long Grafana may take to load a plugin. It answers requests before, as if there were none.
const LOADING: Duration = Duration::from_secs(10);
/// How long an installation may take: 30 MB are downloaded and unpacked.
const INSTALLING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Installs the plugin where Grafana needs it and lacks it. Returns `None` when the plugin is there,
/// otherwise the reason why it is not.
///
/// # Errors
/// Grafana doesn't answer.
pub(super) async fn ensure(
    grafana: &Grafana<'_>,
    dry_run: bool,
) -> Result<Option<String>, GrafanaError> {
    if grafana.has_plugin(AMP_PLUGIN).await? {
        return Ok(None);
    }
    if !needs_amp_plugin(grafana.version) {
        return Ok(Some("it is not installed".to_owned()));
    }
    if appears(grafana, LOADING).await? {
        return Ok(None);
    }
    if dry_run {
        tracing::info!("plugin {AMP_PLUGIN}: would be installed");
        return Ok(None);
    }
    tracing::info!("plugin {AMP_PLUGIN} is missing, installing it");
    match grafana.install_plugin(AMP_PLUGIN).await {
        Err(GrafanaError::Rejected {
            status, message, ..
        }) => Ok(Some(format!(
            "Grafana does not install it: {status} {message}"
        ))),
        // An installation that takes longer than a request continues.
        Ok(()) | Err(GrafanaError::Unavailable { .. }) => {
            let is_there = appears(grafana, INSTALLING).await?;
            Ok((!is_there).then(|| {
                format!(
                    "not there {} s after its installation",
                    INSTALLING.as_secs()
                )
            }))
        }
        Err(error) => Err(error),
    }
}

/// Whether the plugin appears within `patience`.
async fn appears(grafana: &Grafana<'_>, patience: Duration) -> Result<bool, GrafanaError> {
    let give_up = Instant::now() + patience;
    while Instant::now() < give_up {
        sleep(PAUSE).await;
        if grafana.has_plugin(AMP_PLUGIN).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
