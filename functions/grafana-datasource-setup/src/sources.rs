//! Brings Grafana's data sources to what is wanted, and takes them away again. Only what differs is
//! written.

use crate::cloudwatch_source;
use crate::config::{Settings, Wanted};
use crate::data_source::{self, DataSource, Edition, Plan};
use crate::error::SetupError;
use crate::grafana::Grafana;
use crate::plugin;
use crate::reconcile::{Action, Attempt, reconcile};

/// Makes AMP the default data source.
///
/// # Errors
/// Another data source is in the way, or Grafana fails.
pub async fn set_up_prometheus(
    grafana: &Grafana<'_>,
    wanted: &Wanted,
    dry_run: bool,
) -> Result<(DataSource, Action), SetupError> {
    let edition = Edition {
        version: grafana.version().clone(),
        lacks_amp_plugin: plugin::ensure(grafana, dry_run).await?,
    };
    let attempt = || async {
        let sources = grafana.data_sources().await?;
        let found = whole(grafana, data_source::find(wanted, &sources)?).await?;
        let default = sources
            .iter()
            .find(|source| source.is_default)
            .map(|source| &*source.uid);
        let plan = data_source::plan(wanted, &edition, found.as_ref(), default)?;
        Ok(carry_out(grafana, plan, dry_run).await)
    };
    let (plan, action) = reconcile(attempt).await?;
    Ok((plan.into_source(), action))
}

/// Makes CloudWatch a data source, if asked for.
///
/// # Errors
/// Another data source is in the way, or Grafana fails.
pub async fn set_up_cloudwatch(
    grafana: &Grafana<'_>,
    settings: &Settings,
    dry_run: bool,
) -> Result<Option<(DataSource, Action)>, SetupError> {
    let Some(wanted) = &settings.cloudwatch else {
        return Ok(None);
    };
    let owner = &settings.wanted.uid;
    let attempt = || async {
        let sources = grafana.data_sources().await?;
        let found = whole(grafana, cloudwatch_source::find(wanted, &sources)?).await?;
        let plan = cloudwatch_source::plan(wanted, owner, found.as_ref());
        Ok(carry_out(grafana, plan, dry_run).await)
    };
    let (plan, action) = reconcile(attempt).await?;
    Ok(Some((plan.into_source(), action)))
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

/// A data source of the list, with what the list leaves out.
async fn whole(
    grafana: &Grafana<'_>,
    listed: Option<&DataSource>,
) -> Result<Option<DataSource>, SetupError> {
    match listed {
        Some(listed) => grafana.data_source(&listed.uid).await,
        None => Ok(None),
    }
}

/// Whether the resource with `uid` is another stack's than `stack`.
///
/// # Errors
/// Grafana doesn't answer.
pub async fn is_of_another_stack(
    grafana: &Grafana<'_>,
    uid: &str,
    stack: &str,
) -> Result<bool, SetupError> {
    let sources = grafana.data_sources().await?;
    Ok(data_source::is_of_another_stack(uid, stack, &sources))
}

/// Gives the default back, then deletes what was made for the resource with `uid`, or takes our mark
/// off what was adopted. Tells whether another resource has taken over what this one had.
///
/// # Errors
/// Grafana doesn't answer, or refuses.
pub async fn take_away(grafana: &Grafana<'_>, uid: &str) -> Result<bool, SetupError> {
    let sources = grafana.data_sources().await?;
    let removals = data_source::removals(uid, &sources);
    let is_taken_over = removals.is_empty() && sources.iter().any(DataSource::is_marked);
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
            change(grafana, &removal.uid, DataSource::without_mark).await?;
            tracing::info!("left data source {}, which a person had made", removal.uid);
        }
    }
    Ok(is_taken_over)
}

async fn give_default_back(grafana: &Grafana<'_>, previous: &str) -> Result<(), SetupError> {
    match change(grafana, previous, DataSource::as_default).await {
        Ok(()) => tracing::info!("data source {previous} is the default again"),
        // A provisioned source; the stack must not hang on it.
        Err(SetupError::GrafanaRejected {
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
) -> Result<(), SetupError> {
    match grafana.data_source(uid).await? {
        Some(source) => grafana.update_data_source(uid, &change(source)).await,
        None => Ok(()),
    }
}
