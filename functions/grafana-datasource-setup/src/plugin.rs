//! Sees to it that Grafana has the plugin that signs requests to AMP.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::data_source::{AMP_PLUGIN, needs_amp_plugin};
use crate::error::SetupError;
use crate::grafana::Grafana;

/// Grafana loads its plugins while it already answers, and says of a plugin that is on its way that
/// there is none.
const LOADING: Duration = Duration::from_secs(10);
/// A plugin of 30 MB is downloaded and unpacked.
const INSTALLING: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(1);

/// Installs the plugin where Grafana needs it and lacks it; none when it is there, else why it isn't.
///
/// # Errors
/// Grafana doesn't answer.
pub async fn ensure(grafana: &Grafana<'_>, dry_run: bool) -> Result<Option<String>, SetupError> {
    if grafana.has_plugin(AMP_PLUGIN).await? {
        return Ok(None);
    }
    if !needs_amp_plugin(grafana.version()) {
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
        Err(SetupError::GrafanaRejected {
            status, message, ..
        }) => Ok(Some(format!(
            "Grafana does not install it: {status} {message}"
        ))),
        // An installation that takes longer than a request goes on.
        Ok(()) | Err(SetupError::GrafanaUnavailable { .. }) => {
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

/// Whether the plugin is there before patience ends.
async fn appears(grafana: &Grafana<'_>, patience: Duration) -> Result<bool, SetupError> {
    let give_up = Instant::now() + patience;
    while Instant::now() < give_up {
        sleep(PAUSE).await;
        if grafana.has_plugin(AMP_PLUGIN).await? {
            return Ok(true);
        }
    }
    Ok(false)
}
