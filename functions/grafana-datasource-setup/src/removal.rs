//! Removes everything that a resource has set up: dashboards → data source → roles.

use serde_json::{Map, Value};

use crate::aws_call::CallErrorKind;
use crate::config::former::{overwrites_dashboards, roster_of};
use crate::credential::with_credential;
use crate::error::SetupError;
use crate::people::roster::Roster;
use crate::run::Run;
use crate::workspace;
use crate::{dashboards, data_sources};

/// What to remove.
pub(crate) struct Removal<'a> {
    workspace: &'a str,
    uid: &'a str,
    /// Those who lose the role of their list.
    pub(crate) former: Roster,
    /// Whether dashboards are deleted where nobody can tell who saved them last.
    overwrite: bool,
    /// If set, nothing is removed that another stack has written since.
    pub(crate) only_of_stack: Option<&'a str>,
}

impl<'a> Removal<'a> {
    /// Everything that a resource with these properties has set up.
    pub(crate) fn new(workspace: &'a str, uid: &'a str, properties: &Map<String, Value>) -> Self {
        Self {
            workspace,
            uid,
            former: roster_of(properties, workspace),
            overwrite: overwrites_dashboards(properties),
            only_of_stack: None,
        }
    }
}

impl Run<'_> {
    /// Removes it. What is already gone, or out of reach for good, is no error.
    ///
    /// # Errors
    /// AMG or Grafana fails.
    pub(crate) async fn remove(&self, removal: Removal<'_>) -> Result<(), SetupError> {
        let Removal {
            workspace,
            uid,
            former,
            overwrite,
            only_of_stack,
        } = removal;
        let client = &self.clients.managed_grafana;
        let found = match workspace::still_there(client, workspace, self.deadline).await {
            // The role no longer has rights there, and no later run would do better.
            Err(SetupError::Call(error)) if error.kind == CallErrorKind::AccessDenied => {
                let message = error.message;
                tracing::warn!(
                    "left in workspace {workspace}, which the function's role may not reach ({message}): \
                     data source {uid}, its dashboards, and the roles of those on the lists"
                );
                return Ok(());
            }
            other => other?,
        };
        let Some(workspace) = &found else {
            tracing::info!("nothing to remove: the workspace is gone");
            return Ok(());
        };
        with_credential(client, workspace, self.deadline, async |token, _| {
            let grafana = &self.grafana(workspace, token);
            if let Some(stack) = only_of_stack
                && data_sources::apply::is_of_another_stack(grafana, uid, stack).await?
            {
                tracing::info!("nothing to remove: data source {uid} is another stack's");
                return Ok(());
            }
            dashboards::apply::remove(grafana, uid, overwrite).await?;
            let is_taken_over = data_sources::apply::remove(grafana, uid).await?;
            // After a replacement the new resource manages the roles.
            if !is_taken_over {
                self.revoke_roles(&workspace.id, &former).await?;
            }
            Ok(())
        })
        .await
    }

    /// Revokes the roles that the lists gave, as far as the services for people allow it.
    async fn revoke_roles(&self, workspace: &str, former: &Roster) -> Result<(), SetupError> {
        let members = self.look_up(&Roster::new(), former).await?;
        match self.roles(workspace).set_up(members, false).await? {
            Ok(removed) => {
                for (member, _) in removed {
                    tracing::info!("{}, {}: removed", member.name, member.role);
                }
            }
            Err(error) => {
                let error = startup::error_chain(&error);
                tracing::warn!("the roles of those on the lists are left: {error}");
            }
        }
        Ok(())
    }
}
