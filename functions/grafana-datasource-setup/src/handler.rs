//! One invocation: what is asked → people → set up, or remove → answer.

use std::future::Future;
use std::time::SystemTime;

use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};
use startup::Deadline;

use crate::config::Settings;
use crate::config::former::{resource_of, roster_of};
use crate::custom_resource::{PhysicalId, Request, Response, Task, is_request};
use crate::error::SetupError;
use crate::manual_run::is_dry_run;
use crate::people::roster::Roster;
use crate::removal::Removal;
use crate::run::{Clients, Run};
use crate::schedule::return_end;
use crate::set_up::Lookup;

/// The function, with its clients and its environment.
#[derive(Debug)]
pub struct Setup {
    pub(crate) clients: Clients,
    /// Looks an environment variable up.
    pub(crate) variables: fn(&str) -> Option<String>,
}

impl Setup {
    /// Handles one event. `now` is the wall clock.
    ///
    /// # Errors
    /// A manual run failed, or the response could not be delivered to CloudFormation.
    pub async fn handle(
        &self,
        event: LambdaEvent<Value>,
        now: SystemTime,
    ) -> Result<Value, SetupError> {
        let invocation = Invocation {
            run: Run {
                clients: &self.clients,
                deadline: &Deadline::new(now, event.context.deadline()),
                account: account_of(&event.context.invoked_function_arn),
            },
            variables: self.variables,
        };
        if is_request(&event.payload) {
            invocation.answer(&Request::parse(&event.payload)?).await
        } else {
            invocation.run_manually(&event.payload).await
        }
    }
}

struct Invocation<'a> {
    run: Run<'a>,
    variables: fn(&str) -> Option<String>,
}

impl Invocation<'_> {
    async fn run_manually(&self, payload: &Value) -> Result<Value, SetupError> {
        let dry_run = is_dry_run(payload)?;
        let settings = Settings::read(None, self.variables)?;
        let work = async {
            let members = self.run.look_up(&settings.people, &Roster::new()).await?;
            self.run.set_up(&settings, members, dry_run).await
        };
        Ok(json!(self.in_time(work).await?))
    }

    /// Does what CloudFormation asks and delivers the response, whatever happens.
    async fn answer(&self, request: &Request) -> Result<Value, SetupError> {
        let response = match &request.task {
            Task::Create => self.make(request, None).await,
            Task::Update { id } => self.make(request, Some(id)).await,
            Task::Delete { id } => match self.in_time(self.delete(request, id)).await {
                Ok(()) => Response::success(id.clone(), Map::new()),
                Err(error) => Response::failed(id.clone(), &error),
            },
            Task::Unknown { id, name } => {
                let reason = format!("RequestType={name:?} is not Create, Update or Delete");
                Response::failed(id.clone(), &SetupError::InvalidEvent(reason))
            }
        };
        let Run {
            clients, deadline, ..
        } = self.run;
        response.deliver(request, &clients.http, deadline).await?;
        Ok(json!({"status": response.status(), "reason": response.reason()}))
    }

    /// Creates or updates. A failed update answers with the id `present`, because CloudFormation would
    /// take any other for a replacement and delete what exists.
    async fn make(&self, request: &Request, present: Option<&PhysicalId>) -> Response {
        let (settings, members) = match self.in_time(self.prepare(request)).await {
            Ok(prepared) => prepared,
            // With any other id the roll-back would revoke roles that this run never gave.
            Err(error) => {
                let id = present.cloned().unwrap_or_else(PhysicalId::nothing_made);
                return Response::failed(id, &error);
            }
        };
        let id = PhysicalId::of(&settings);
        let work = async {
            let report = self.run.set_up(&settings, members, false).await?;
            self.remove_abandoned(request, present, &id).await;
            Ok(report)
        };
        match self.in_time(work).await {
            Ok(report) => Response::success(id, report.attributes()),
            Err(error) => Response::failed(present.cloned().unwrap_or(id), &error),
        }
    }

    /// Finds every mistake that can be found before anything is written.
    async fn prepare(&self, request: &Request) -> Result<(Settings, Lookup), SetupError> {
        let mut settings = Settings::read(Some(&request.properties), self.variables)?;
        settings.wanted.stack = Some(request.stack_id.clone());
        let former = roster_of(&request.old_properties, &settings.grafana_workspace);
        let members = self.run.look_up(&settings.people, &former).await?;
        Ok((settings, members))
    }

    /// Removes a resource that CloudFormation has no id of, though the former properties of an update
    /// describe it. That happens in the roll-back of an update to another workspace or uid that failed
    /// half-way, or whose response was lost. No later request would remove it.
    async fn remove_abandoned(
        &self,
        request: &Request,
        present: Option<&PhysicalId>,
        id: &PhysicalId,
    ) {
        let described = resource_of(&request.old_properties, self.variables);
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
        // In the same workspace this run has already set everybody's role.
        if id.parts().is_some_and(|(present, _)| present == workspace) {
            removal.former.clear();
        }
        if let Err(error) = self.run.remove(removal).await {
            let error = startup::error_chain(&error);
            tracing::warn!("{abandoned} is not removed: {error}");
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
        let removal = Removal::new(workspace, uid, &request.properties);
        self.run.remove(removal).await
    }

    /// Deletes a resource whose Create was never answered. Its properties tell what that Create made, or
    /// is still making.
    async fn delete_unanswered(&self, request: &Request) -> Result<(), SetupError> {
        let Some((workspace, uid)) = resource_of(&request.properties, self.variables) else {
            tracing::info!("nothing to remove: the properties describe no data source");
            return Ok(());
        };
        let mut removal = Removal::new(&workspace, &uid, &request.properties);
        removal.only_of_stack = Some(&request.stack_id);
        self.run.remove(removal).await
    }

    /// Ends the work while there is still time for the answer.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, SetupError>>,
    ) -> Result<T, SetupError> {
        let deadline = self.run.deadline;
        deadline.guard(return_end(deadline), work).await?
    }
}

/// The account in the ARN of a function.
fn account_of(function_arn: &str) -> &str {
    function_arn.split(':').nth(4).unwrap_or_default()
}
