//! Brings about everything that the settings ask for: workspace → credential → roles → data sources →
//! dashboards → health → report.

use crate::config::Settings;
use crate::credential::with_credential;
use crate::data_sources::health::{self, Health};
use crate::error::SetupError;
use crate::grafana::{DataSource, Grafana};
use crate::people::apply::tolerate;
use crate::people::plan::Members;
use crate::people::roster::Roster;
use crate::reconcile::Action;
use crate::report::{Outcome, Report};
use crate::run::Run;
use crate::workspace;
use crate::{dashboards, data_sources};

/// Who shall have which role, or why the services that know the people could not say.
pub(crate) type Lookup = Result<Members, SetupError>;

impl Run<'_> {
    /// Looks up everybody on the lists, before anything is written. `former` are those of earlier
    /// lists.
    ///
    /// # Errors
    /// Identity Center is off, or doesn't know somebody on the lists.
    pub(crate) async fn look_up(
        &self,
        wanted: &Roster,
        former: &Roster,
    ) -> Result<Lookup, SetupError> {
        let directory = &self.clients.identity_center;
        let members = directory.members(wanted, former, self.account, self.deadline);
        tolerate(members.await)
    }

    /// Sets everything up, or in a dry run only reports what would be written.
    ///
    /// # Errors
    /// AMP's data source, the CloudWatch data source or the dashboards could not be set up. Roles and
    /// health are no reason to fail.
    pub(crate) async fn set_up(
        &self,
        settings: &Settings,
        members: Lookup,
        dry_run: bool,
    ) -> Result<Report, SetupError> {
        let Self {
            clients, deadline, ..
        } = *self;
        let id = &settings.grafana_workspace;
        let client = &clients.managed_grafana;
        let workspace = &workspace::wait_until_usable(client, id, deadline).await?;
        with_credential(client, workspace, deadline, async |token, end| {
            let people = self.roles(id).set_up(members, dry_run).await?;
            let grafana = &self.grafana(workspace, token);
            let wanted = &settings.wanted;
            let source = data_sources::apply::set_up_prometheus(grafana, wanted, dry_run).await?;
            let cloudwatch = set_up_cloudwatch(grafana, settings, dry_run).await?;
            let folder = set_up_dashboards(grafana, settings, &source.0, dry_run).await?;
            let health = if dry_run && source.1 != Action::Unchanged {
                Health::unknown("not checked, a dry run writes nothing")
            } else {
                health::check(grafana, &source.0, wanted, deadline, end).await
            };
            let outcome = Outcome {
                people,
                source,
                health,
                cloudwatch,
                folder,
            };
            let report = Report::new(workspace, outcome, dry_run);
            report.log();
            Ok(report)
        })
        .await
    }
}

async fn set_up_cloudwatch(
    grafana: &Grafana<'_>,
    settings: &Settings,
    dry_run: bool,
) -> Result<Option<(DataSource, Action)>, SetupError> {
    let Some(wanted) = &settings.cloudwatch else {
        return Ok(None);
    };
    let owner = &settings.wanted.uid;
    let done = data_sources::apply::set_up_cloudwatch(grafana, wanted, owner, dry_run).await?;
    Ok(Some(done))
}

async fn set_up_dashboards(
    grafana: &Grafana<'_>,
    settings: &Settings,
    source: &DataSource,
    dry_run: bool,
) -> Result<Option<dashboards::apply::Outcome>, SetupError> {
    let Some(wanted) = &settings.folder else {
        return Ok(None);
    };
    let owner = &settings.wanted.uid;
    dashboards::apply::set_up(grafana, wanted, owner, source, dry_run).await
}
