//! One invocation: what is asked → people → workspace → credential → Grafana → health → reply.

use std::future::Future;
use std::time::SystemTime;

use aws_sdk_grafana::Client;
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};

use crate::config::{Settings, roster_of};
use crate::credential::with_credential;
use crate::custom_resource::{self, PhysicalId, Request, Response, Task};
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::grafana::Grafana;
use crate::health::{self, Health};
use crate::identity_center::IdentityCenter;
use crate::people::{Members, Roster};
use crate::reconcile::Action;
use crate::report::{Outcome, Report};
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
        let deadline = Deadline::new(now, event.context.deadline());
        if custom_resource::is_request(&event.payload) {
            let request = Request::parse(&event.payload)?;
            let response = self.answer(&request, &deadline).await;
            request.respond(&self.http, &response, &deadline).await?;
            return Ok(json!({"status": response.status(), "reason": response.reason()}));
        }
        let dry_run = is_dry_run(&event.payload)?;
        let settings = Settings::read(None, self.variables)?;
        let run = async {
            let members = self.members(&settings, &Roster::new(), &deadline).await?;
            self.set_up(&settings, &members, dry_run, &deadline).await
        };
        Ok(json!(in_time(&deadline, run).await?))
    }

    /// Does what CloudFormation asks; whatever happens, there is an answer for it.
    async fn answer(&self, request: &Request, deadline: &Deadline) -> Response {
        match &request.task {
            Task::Create => self.make(request, None, deadline).await,
            Task::Update { id } => self.make(request, Some(id), deadline).await,
            Task::Delete { id } => {
                match in_time(deadline, self.remove(request, id, deadline)).await {
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
    async fn make(
        &self,
        request: &Request,
        present: Option<&PhysicalId>,
        deadline: &Deadline,
    ) -> Response {
        let (settings, members) = match in_time(deadline, self.prepare(request, deadline)).await {
            Ok(prepared) => prepared,
            // With any other id the roll-back would take roles away that this run never gave.
            Err(error) => {
                let id = present.cloned().unwrap_or_else(PhysicalId::nothing_made);
                return Response::failed(id, &error);
            }
        };
        let id = PhysicalId::of(&settings);
        let run = self.set_up(&settings, &members, false, deadline);
        match in_time(deadline, run).await {
            Ok(report) => Response::success(id, report.attributes()),
            Err(error) => Response::failed(present.cloned().unwrap_or(id), &error),
        }
    }

    /// All that can be found wrong before anything is written.
    async fn prepare(
        &self,
        request: &Request,
        deadline: &Deadline,
    ) -> Result<(Settings, Members), SetupError> {
        let settings = Settings::read(Some(&request.properties), self.variables)?;
        let former = roster_of(&request.old_properties, &settings.grafana_workspace);
        let members = self.members(&settings, &former, deadline).await?;
        Ok((settings, members))
    }

    async fn members(
        &self,
        settings: &Settings,
        former: &Roster,
        deadline: &Deadline,
    ) -> Result<Members, SetupError> {
        let wanted = self.identity_center.all(&settings.people, deadline).await?;
        let former = self.identity_center.known(former, deadline).await?;
        Ok(Members::new(wanted, former))
    }

    async fn set_up(
        &self,
        settings: &Settings,
        members: &Members,
        dry_run: bool,
        deadline: &Deadline,
    ) -> Result<Report, SetupError> {
        let id = &settings.grafana_workspace;
        let workspace = &workspace::wait_until_usable(&self.client, id, deadline).await?;
        let people = self.roles(id, deadline).set_up(members, dry_run).await?;
        with_credential(&self.client, workspace, deadline, async |token, end| {
            let grafana = &Grafana::new(&self.http, workspace, token, deadline);
            let source = sources::set_up_prometheus(grafana, &settings.wanted, dry_run).await?;
            let cloudwatch = sources::set_up_cloudwatch(grafana, settings, dry_run).await?;
            let folder = folder::set_up(grafana, settings, &source.0, dry_run).await?;
            let health = if dry_run && source.1 != Action::Unchanged {
                Health::unknown("not checked, a dry run writes nothing")
            } else {
                health::check(grafana, &source.0.uid, &settings.wanted, deadline, end).await
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

    async fn remove(
        &self,
        request: &Request,
        id: &PhysicalId,
        deadline: &Deadline,
    ) -> Result<(), SetupError> {
        let Some((workspace, uid)) = id.parts() else {
            tracing::info!("nothing to remove: no data source was ever made for this resource");
            return Ok(());
        };
        let former = roster_of(&request.properties, workspace);
        let workspace = workspace::still_there(&self.client, workspace, deadline).await?;
        let Some(workspace) = &workspace else {
            tracing::info!("nothing to remove: the workspace is gone");
            return Ok(());
        };
        let is_taken_over = with_credential(&self.client, workspace, deadline, async |token, _| {
            let grafana = &Grafana::new(&self.http, workspace, token, deadline);
            folder::take_away(grafana, uid).await?;
            sources::take_away(grafana, uid).await
        })
        .await?;
        // What CloudFormation cleans up after a replacement is the new resource's to manage.
        if is_taken_over {
            return Ok(());
        }
        let former = self.identity_center.known(&former, deadline).await?;
        let members = Members::new(Vec::new(), former);
        let removed = self
            .roles(&workspace.id, deadline)
            .set_up(&members, false)
            .await?;
        for (member, _) in removed {
            tracing::info!("{}, {}: removed", member.name, member.role);
        }
        Ok(())
    }

    fn roles<'a>(&'a self, workspace: &'a str, deadline: &'a Deadline) -> Roles<'a> {
        Roles {
            client: &self.client,
            workspace,
            deadline,
        }
    }
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
