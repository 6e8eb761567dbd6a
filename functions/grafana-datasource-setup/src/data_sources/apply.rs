//! Brings Grafana's data sources to the plan, and removes them again. Writes only what differs.

use super::plan::cloudwatch::{self, WantedCloudWatch};
use super::plan::edition::Edition;
use super::plan::prometheus::{self, Wanted};
use super::plan::{self, Mark, Plan, removals};
use super::plugin;
use crate::error::SetupError;
use crate::grafana::{DataSource, Grafana, GrafanaError};
use crate::reconcile::{Action, Attempt, reconcile};

/// Makes AMP the default data source.
///
/// # Errors
/// Another data source is in the way, or Grafana fails.
pub(crate) async fn set_up_prometheus(
    grafana: &Grafana<'_>,
    wanted: &Wanted,
    dry_run: bool,
) -> Result<(DataSource, Action), SetupError> {
    let edition = Edition {
        version: grafana.version.clone(),
        lacks_amp_plugin: plugin::ensure(grafana, dry_run).await?,
    };
    let attempt = || async {
        let sources = grafana.data_sources().await?;
        let found = whole(grafana, prometheus::find(wanted, &sources)?).await?;
        let default = sources
            .iter()
            .find(|source| source.is_default)
            .map(|source| &*source.uid);
        let plan = prometheus::plan(wanted, &edition, found.as_ref(), default)?;
        Ok(carry_out(grafana, plan, dry_run).await)
    };
    let (plan, action) = reconcile(attempt).await?;
    Ok((plan.into_source(), action))
}

/// Makes CloudWatch a data source. `owner` is the uid of the resource that asks for it.
///
/// # Errors
/// Another data source is in the way, or Grafana fails.
pub(crate) async fn set_up_cloudwatch(
    grafana: &Grafana<'_>,
    wanted: &WantedCloudWatch,
    owner: &str,
    dry_run: bool,
) -> Result<(DataSource, Action), SetupError> {
    let attempt = || async {
        let sources = grafana.data_sources().await?;
        let found = whole(grafana, cloudwatch::find(wanted, &sources)?).await?;
        let plan = cloudwatch::plan(wanted, owner, found.as_ref());
        Ok(carry_out(grafana, plan, dry_run).await)
    };
    let (plan, action) = reconcile(attempt).await?;
    Ok((plan.into_source(), action))
}

async fn carry_out(grafana: &Grafana<'_>, plan: Plan, dry_run: bool) -> Attempt<Plan> {
    let (action, written) = match &plan {
        Plan::Create(_) if dry_run => (Action::Created, Ok(())),
        Plan::Update { .. } if dry_run => (Action::Updated, Ok(())),
        Plan::Create(source) => (Action::Created, grafana.create_data_source(source).await),
        Plan::Update { uid, into } => {
            (Action::Updated, grafana.update_data_source(uid, into).await)
        }
        Plan::Unchanged(_) => (Action::Unchanged, Ok(())),
    };
    Attempt {
        plan,
        action,
        written,
    }
}

/// Reads the fields that the list leaves out.
async fn whole(
    grafana: &Grafana<'_>,
    listed: Option<&DataSource>,
) -> Result<Option<DataSource>, GrafanaError> {
    match listed {
        Some(listed) => grafana.data_source(&listed.uid).await,
        None => Ok(None),
    }
}

/// Whether a stack other than `stack` wrote the data source of the resource with `uid`.
pub(crate) async fn is_of_another_stack(
    grafana: &Grafana<'_>,
    uid: &str,
    stack: &str,
) -> Result<bool, GrafanaError> {
    let sources = grafana.data_sources().await?;
    Ok(plan::is_of_another_stack(uid, stack, &sources))
}

/// Restores the previous default, then deletes the data source made for the resource with `uid`, or
/// removes our mark from the one adopted. Returns whether another resource has taken over what this
/// one had.
pub(crate) async fn remove(grafana: &Grafana<'_>, uid: &str) -> Result<bool, GrafanaError> {
    let sources = grafana.data_sources().await?;
    let removals = removals(uid, &sources);
    let is_taken_over =
        removals.is_empty() && sources.iter().any(|source| Mark::of(source).is_some());
    if removals.is_empty() {
        tracing::info!("nothing to remove: Grafana has no data source of this resource");
    }
    for removal in removals {
        if let Some(previous) = &removal.default_again {
            give_default_back(grafana, previous).await?;
        }
        if removal.made {
            grafana.delete_data_source(&removal.uid).await?;
            tracing::info!("deleted data source {}", removal.uid);
        } else {
            change(grafana, &removal.uid, Mark::removed_from).await?;
            tracing::info!("left data source {}, which a person had made", removal.uid);
        }
    }
    Ok(is_taken_over)
}

async fn give_default_back(grafana: &Grafana<'_>, previous: &str) -> Result<(), GrafanaError> {
    match change(grafana, previous, as_default).await {
        Ok(()) => tracing::info!("data source {previous} is the default again"),
        // That one is provisioned. It must not keep the stack from being deleted.
        Err(GrafanaError::Rejected {
            status, message, ..
        }) => {
            tracing::warn!(
                "data source {previous} can't become the default again: {status} {message}"
            );
        }
        Err(error) => return Err(error),
    }
    Ok(())
}

async fn change(
    grafana: &Grafana<'_>,
    uid: &str,
    change: impl Fn(DataSource) -> DataSource,
) -> Result<(), GrafanaError> {
    match grafana.data_source(uid).await? {
        Some(source) => grafana.update_data_source(uid, &change(source)).await,
        None => Ok(()),
    }
}

fn as_default(mut source: DataSource) -> DataSource {
    source.is_default = true;
    source
}
