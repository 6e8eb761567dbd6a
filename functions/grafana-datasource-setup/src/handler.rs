//! One invocation: what is asked → people → workspace → credential → roles → Grafana → health → reply.

use std::future::Future;
use std::time::SystemTime;

use aws_sdk_grafana::Client;
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};

use crate::config::{Settings, overwrites_dashboards, resource_of, roster_of};
use crate::credential::with_credential;
use crate::custom_resource::{self, PhysicalId, Request, Response, Task};
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::grafana::Grafana;
use crate::health::{self, Health};
use crate::identity_center::IdentityCenter;
use crate::people::{Members, Roster};
use crate::reconcile::Action;
use crate::report::{Outcome, People, Report};
use crate::roles::Roles;
use crate::workspace;
use crate::{folder, sources};

/// The function, with its clients and its environment.
#[derive(Debug)]
pub struct Setup {
    /// AMG's control plane.
    pub client: Client,
    /// Who people are.
    pub identity_center: IdentityCenter,
    /// For Grafana and for CloudFormation's ResponseURL.
    pub http: reqwest::Client,
    /// Looks an environment variable up.
    pub variables: fn(&str) -> Option<String>,
}

impl Setup {
    /// Handles one event. `now` is the wall clock.
    ///
    /// # Errors
    /// A manual run failed, or CloudFormation could not be answered.
    pub async fn handle(
        &self,
        event: LambdaEvent<Value>,
        now: SystemTime,
    ) -> Result<Value, SetupError> {
        let run = Run {
            setup: self,
            deadline: &Deadline::new(now, event.context.deadline()),
            account: account_of(&event.context.invoked_function_arn),
        };
        if custom_resource::is_request(&event.payload) {
            let request = Request::parse(&event.payload)?;
            let response = run.answer(&request).await;
            request.respond(&self.http, &response, run.deadline).await?;
            return Ok(json!({"status": response.status(), "reason": response.reason()}));
        }
        let dry_run = is_dry_run(&event.payload)?;
        let settings = Settings::read(None, self.variables)?;
        let work = async {
            let members = run.members(&settings, &Roster::new()).await?;
            run.set_up(&settings, members, dry_run).await
        };
        Ok(json!(in_time(run.deadline, work).await?))
    }
}

/// One invocation.
#[derive(Clone, Copy)]
struct Run<'a> {
    setup: &'a Setup,
    deadline: &'a Deadline,
    /// The function's own account.
    account: &'a str,
}

/// Who shall have which role, or why the services that know could not say.
type Lookup = Result<Members, SetupError>;

impl Run<'_> {
    /// Does what CloudFormation asks; whatever happens, there is an answer for it.
    async fn answer(&self, request: &Request) -> Response {
        match &request.task {
            Task::Create => self.make(request, None).await,
            Task::Update { id } => self.make(request, Some(id)).await,
            Task::Delete { id } => {
                let removed = in_time(self.deadline, self.delete(request, id)).await;
                match removed {
                    Ok(()) => Response::success(id.clone(), Map::new()),
                    Err(error) => Response::failed(id.clone(), &error),
                }
            }
            Task::Unknown { id, name } => {
                let reason = format!("RequestType={name:?} is not Create, Update or Delete");
                Response::failed(id.clone(), &SetupError::InvalidEvent(reason))
            }
        }
    }

    /// Creates or updates. A failed update answers with the id `present`: any other would have
    /// CloudFormation delete what is there.
    async fn make(&self, request: &Request, present: Option<&PhysicalId>) -> Response {
        let (settings, members) = match in_time(self.deadline, self.prepare(request)).await {
            Ok(prepared) => prepared,
            // With any other id the roll-back would take roles away that this run never gave.
            Err(error) => {
                let id = present.cloned().unwrap_or_else(PhysicalId::nothing_made);
                return Response::failed(id, &error);
            }
        };
        let id = PhysicalId::of(&settings);
        let work = async {
            let report = self.set_up(&settings, members, false).await?;
            self.remove_abandoned(request, present, &id).await;
            Ok(report)
        };
        match in_time(self.deadline, work).await {
            Ok(report) => Response::success(id, report.attributes()),
            Err(error) => Response::failed(present.cloned().unwrap_or(id), &error),
        }
    }

    /// All that can be found wrong before anything is written.
    async fn prepare(&self, request: &Request) -> Result<(Settings, Lookup), SetupError> {
        let variables = self.setup.variables;
        let mut settings = Settings::read(Some(&request.properties), variables)?;
        settings.wanted.stack = Some(request.stack_id.clone());
        let former = roster_of(&request.old_properties, &settings.grafana_workspace);
        let members = self.members(&settings, &former).await?;
        Ok((settings, members))
    }

    /// Looks up everybody of the lists.
    ///
    /// # Errors
    /// The lists are wrong, or time is over. That Identity Center fails is no error of the run.
    async fn members(&self, settings: &Settings, former: &Roster) -> Result<Lookup, SetupError> {
        let Self {
            setup,
            deadline,
            account,
        } = *self;
        let directory = &setup.identity_center;
        let members = async {
            let wanted = directory.all(&settings.people, account, deadline).await?;
            let former = directory.known(former, account, deadline).await?;
            Ok::<_, SetupError>(Members::new(wanted, former))
        };
        match members.await {
            Err(error) if !error.is_of_people_services() => Err(error),
            lookup => Ok(lookup),
        }
    }

    async fn set_up(
        &self,
        settings: &Settings,
        members: Lookup,
        dry_run: bool,
    ) -> Result<Report, SetupError> {
        let Self {
            setup, deadline, ..
        } = *self;
        let id = &settings.grafana_workspace;
        let workspace = &workspace::wait_until_usable(&setup.client, id, deadline).await?;
        with_credential(&setup.client, workspace, deadline, async |token, end| {
            let people = self.give_roles(id, members, dry_run).await?;
            let grafana = &Grafana::new(&setup.http, workspace, token, deadline);
            let source = sources::set_up_prometheus(grafana, &settings.wanted, dry_run).await?;
            let cloudwatch = sources::set_up_cloudwatch(grafana, settings, dry_run).await?;
            let folder = folder::set_up(grafana, settings, &source.0, dry_run).await?;
            let health = if dry_run && source.1 != Action::Unchanged {
                Health::unknown("not checked, a dry run writes nothing")
            } else {
                health::check(grafana, &source.0, &settings.wanted, deadline, end).await
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

    /// Gives people their roles, as far as Amazon Managed Grafana and Identity Center do their part.
    async fn give_roles(
        &self,
        workspace: &str,
        members: Lookup,
        dry_run: bool,
    ) -> Result<People, SetupError> {
        let roles = Roles {
            client: &self.setup.client,
            workspace,
            deadline: self.deadline,
        };
        let given = match members {
            Ok(members) => roles.set_up(&members, dry_run).await,
            Err(error) => Err(error),
        };
        match given {
            Ok(fates) => Ok(People::Done(fates)),
            Err(error) if error.is_of_people_services() => Ok(People::Failed(error)),
            Err(error) => Err(error),
        }
    }

    /// An update whose former properties describe a resource that CloudFormation has no id of: a
    /// roll-back of an update to another workspace or uid that failed half-way, or whose answer was
    /// lost. Nobody else would remove what that one made.
    async fn remove_abandoned(
        &self,
        request: &Request,
        present: Option<&PhysicalId>,
        id: &PhysicalId,
    ) {
        let described = resource_of(&request.old_properties, self.setup.variables);
        let (Some(present), Some(described)) = (present, described) else {
            return;
        };
        let abandoned = PhysicalId::described(described.clone());
        if request.old_properties.is_empty() || [present, id].contains(&&abandoned) {
            return;
        }
        let (workspace, uid) = described;
        tracing::info!("removing what an update that failed may have left: {abandoned}");
        let mut removal = Removal::new(&workspace, &uid, &request.old_properties);
        removal.only_of_stack = Some(&request.stack_id);
        // Where the workspace is still the same, this run has seen to everybody's role.
        if id.parts().is_some_and(|(present, _)| present == workspace) {
            removal.former.clear();
        }
        if let Err(error) = self.remove(removal).await {
            tracing::warn!(
                "{abandoned} is not removed: {}",
                startup::error_chain(&error)
            );
        }
    }

    async fn delete(&self, request: &Request, id: &PhysicalId) -> Result<(), SetupError> {
        if id.is_made_up() {
            return self.delete_unanswered(request).await;
        }
        let Some((workspace, uid)) = id.parts() else {
            tracing::info!("nothing to remove: no data source was ever made for this resource");
            return Ok(());
        };
        self.remove(Removal::new(workspace, uid, &request.properties))
            .await
    }

    /// Deletes a resource whose Create was never answered. What that has made, or is still making, its
    /// properties tell.
    async fn delete_unanswered(&self, request: &Request) -> Result<(), SetupError> {
        let Some((workspace, uid)) = resource_of(&request.properties, self.setup.variables) else {
            tracing::info!("nothing to remove: the properties describe no data source");
            return Ok(());
        };
        let mut removal = Removal::new(&workspace, &uid, &request.properties);
        removal.only_of_stack = Some(&request.stack_id);
        self.remove(removal).await
    }

    async fn remove(&self, removal: Removal<'_>) -> Result<(), SetupError> {
        let Self {
            setup, deadline, ..
        } = *self;
        let Removal {
            workspace,
            uid,
            former,
            overwrite,
            only_of_stack,
        } = removal;
        let found = match workspace::still_there(&setup.client, workspace, deadline).await {
            // The role has no rights there any more, and no run of this function could do better.
            Err(SetupError::AccessDenied { message, .. }) => {
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
        with_credential(&setup.client, workspace, deadline, async |token, _| {
            let grafana = &Grafana::new(&setup.http, workspace, token, deadline);
            if let Some(stack) = only_of_stack
                && sources::is_of_another_stack(grafana, uid, stack).await?
            {
                tracing::info!("nothing to remove: data source {uid} is another stack's");
                return Ok(());
            }
            folder::take_away(grafana, uid, overwrite).await?;
            let is_taken_over = sources::take_away(grafana, uid).await?;
            // What CloudFormation cleans up after a replacement is the new resource's to manage.
            if !is_taken_over {
                self.take_roles(&workspace.id, &former).await?;
            }
            Ok(())
        })
        .await
    }

    /// Takes the roles that the lists gave. A stack shall not hang on services that refuse.
    async fn take_roles(&self, workspace: &str, former: &Roster) -> Result<(), SetupError> {
        let Self {
            setup,
            deadline,
            account,
        } = *self;
        let former = setup.identity_center.known(former, account, deadline).await;
        let members = match former {
            Ok(former) => Ok(Members::new(Vec::new(), former)),
            Err(error) if error.is_of_people_services() => Err(error),
            Err(error) => return Err(error),
        };
        match self.give_roles(workspace, members, false).await? {
            People::Done(removed) => {
                for (member, _) in removed {
                    tracing::info!("{}, {}: removed", member.name, member.role);
                }
            }
            People::Failed(error) => {
                let error = startup::error_chain(&error);
                tracing::warn!("the roles of those on the lists are left: {error}");
            }
        }
        Ok(())
    }
}

/// What to remove.
struct Removal<'a> {
    workspace: &'a str,
    uid: &'a str,
    /// Who loses the role of their list.
    former: Roster,
    /// Dashboards go even where nobody can tell who saved them last.
    overwrite: bool,
    /// Nothing is removed if another stack than this one has written it since.
    only_of_stack: Option<&'a str>,
}

impl<'a> Removal<'a> {
    /// All that a resource with these properties has set up.
    fn new(workspace: &'a str, uid: &'a str, properties: &Map<String, Value>) -> Self {
        Self {
            workspace,
            uid,
            former: roster_of(properties, workspace),
            overwrite: overwrites_dashboards(properties),
            only_of_stack: None,
        }
    }
}

/// The account in the ARN of a function.
fn account_of(function_arn: &str) -> &str {
    function_arn.split(':').nth(4).unwrap_or_default()
}

/// The work with time left for the answer.
async fn in_time<T>(
    deadline: &Deadline,
    work: impl Future<Output = Result<T, SetupError>>,
) -> Result<T, SetupError> {
    deadline.guard(deadline.take_back(), work).await
}

/// Whether a manual run shall only tell what it would do.
fn is_dry_run(payload: &Value) -> Result<bool, SetupError> {
    let fields = match payload {
        Value::Null => return Ok(false),
        Value::Object(fields) => fields,
        other => {
            return Err(SetupError::InvalidEvent(format!(
                "the payload is {}",
                kind(other)
            )));
        }
    };
    if let Some(name) = fields.keys().find(|name| *name != "dryRun") {
        return Err(SetupError::InvalidEvent(format!(
            "field {name:?} is not known"
        )));
    }
    match fields.get("dryRun") {
        None => Ok(false),
        Some(Value::Bool(dry_run)) => Ok(*dry_run),
        Some(other) => Err(SetupError::InvalidEvent(format!(
            "dryRun is {}, not true or false",
            kind(other)
        ))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_run_takes_no_payload_or_a_dry_run_flag() {
        for (payload, expected) in [
            (json!(null), Some(false)),
            (json!({}), Some(false)),
            (json!({"dryRun": true}), Some(true)),
            (json!({"dryRun": false}), Some(false)),
            (json!({"dryRun": "true"}), None),
            (json!({"dryrun": true}), None),
            (json!([]), None),
            (json!("go"), None),
            (
                json!({"source": "aws.events", "detail-type": "Scheduled Event"}),
                None,
            ),
        ] {
            assert_eq!(is_dry_run(&payload).ok(), expected, "{payload}");
        }
    }
}
