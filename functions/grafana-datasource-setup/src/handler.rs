//! One invocation: what is asked → workspace → credential → data source → health → reply.

use std::future::Future;
use std::time::SystemTime;

use aws_sdk_grafana::Client;
use lambda_runtime::LambdaEvent;
use serde_json::{Map, Value, json};

use crate::config::Settings;
use crate::credential::with_credential;
use crate::custom_resource::{self, PhysicalId, Request, Response, Task};
use crate::data_source::{self, AMP_PLUGIN, DataSource, Edition, Plan};
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::grafana::Grafana;
use crate::health::{self, Health};
use crate::report::{Action, Report};
use crate::workspace::{self, Workspace};

/// Reads and plans again after somebody else wrote in between, as often as this.
const MAX_ATTEMPTS: usize = 3;

/// The function, with its clients and its environment.
#[derive(Debug)]
pub struct Setup {
    /// AMG's control plane.
    pub client: Client,
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
        let report = in_time(&deadline, self.set_up(&settings, dry_run, &deadline)).await?;
        Ok(json!(report))
    }

    /// Does what CloudFormation asks; whatever happens, there is an answer for it.
    async fn answer(&self, request: &Request, deadline: &Deadline) -> Response {
        match &request.task {
            Task::Create => self.make(request, None, deadline).await,
            Task::Update { id } => self.make(request, Some(id), deadline).await,
            Task::Delete { id } => match in_time(deadline, self.remove(id, deadline)).await {
                Ok(()) => Response::success(id.clone(), Map::new()),
                Err(error) => Response::failed(id.clone(), &error),
            },
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
        let settings = match Settings::read(Some(&request.properties), self.variables) {
            Ok(settings) => settings,
            Err(error) => {
                let id = present.cloned().unwrap_or_else(PhysicalId::nothing_made);
                return Response::failed(id, &error);
            }
        };
        let id = PhysicalId::of(&settings);
        match in_time(deadline, self.set_up(&settings, false, deadline)).await {
            Ok(report) => Response::success(id, report.attributes()),
            Err(error) => Response::failed(present.cloned().unwrap_or(id), &error),
        }
    }

    async fn set_up(
        &self,
        settings: &Settings,
        dry_run: bool,
        deadline: &Deadline,
    ) -> Result<Report, SetupError> {
        let id = &settings.grafana_workspace;
        let workspace = &workspace::wait_until_usable(&self.client, id, deadline).await?;
        with_credential(&self.client, workspace, deadline, async |token, end| {
            let grafana = Grafana::new(&self.http, &workspace.endpoint, token, deadline);
            let (source, action) = write(&grafana, workspace, settings, dry_run).await?;
            let health = if dry_run && action != Action::Unchanged {
                Health::unknown("not checked, a dry run writes nothing")
            } else {
                health::check(&grafana, &source.uid, &settings.wanted, deadline, end).await
            };
            let report = Report::new(workspace, source, action, health, dry_run);
            report.log();
            Ok(report)
        })
        .await
    }

    async fn remove(&self, id: &PhysicalId, deadline: &Deadline) -> Result<(), SetupError> {
        let Some((workspace, uid)) = id.parts() else {
            tracing::info!("nothing to remove: no data source was ever made for this resource");
            return Ok(());
        };
        let workspace = workspace::still_there(&self.client, workspace, deadline).await?;
        let Some(workspace) = &workspace else {
            tracing::info!("nothing to remove: the workspace is gone");
            return Ok(());
        };
        with_credential(&self.client, workspace, deadline, async |token, _| {
            let grafana = Grafana::new(&self.http, &workspace.endpoint, token, deadline);
            take_away(&grafana, uid).await
        })
        .await
    }
}

/// The work with time left for the answer.
async fn in_time<T>(
    deadline: &Deadline,
    work: impl Future<Output = Result<T, SetupError>>,
) -> Result<T, SetupError> {
    deadline.guard(deadline.take_back(), work).await
}

/// Makes Grafana have the data source wanted; writes only what differs.
async fn write(
    grafana: &Grafana<'_>,
    workspace: &Workspace,
    settings: &Settings,
    dry_run: bool,
) -> Result<(DataSource, Action), SetupError> {
    let has_amp_plugin = grafana.has_plugin(AMP_PLUGIN).await?;
    let edition = Edition {
        version: workspace.version.clone(),
        has_amp_plugin,
    };
    let mut attempt = 1;
    let mut tried_to_create = false;
    loop {
        let plan = plan(grafana, &edition, settings).await?;
        let outcome = match &plan {
            _ if dry_run => Ok(()),
            Plan::Create(source) => {
                tried_to_create = true;
                grafana.create(source).await
            }
            Plan::Update { uid, into } => grafana.update(uid, into).await,
            Plan::Unchanged(_) => Ok(()),
        };
        match outcome {
            Ok(()) => {
                let (source, action) = match plan {
                    Plan::Create(source) => (source, Action::Created),
                    // Our own first attempt, whose answer was lost.
                    Plan::Unchanged(source) if tried_to_create => (source, Action::Created),
                    Plan::Update { into, .. } => (into, Action::Updated),
                    Plan::Unchanged(source) => (source, Action::Unchanged),
                };
                return Ok((source, action));
            }
            // Made, changed or deleted by somebody else since it was read.
            Err(SetupError::GrafanaRejected {
                status: 404 | 409, ..
            }) if attempt < MAX_ATTEMPTS => {
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
}

async fn plan(
    grafana: &Grafana<'_>,
    edition: &Edition,
    settings: &Settings,
) -> Result<Plan, SetupError> {
    let wanted = &settings.wanted;
    let sources = grafana.data_sources().await?;
    let found = match data_source::find(wanted, &sources)? {
        Some(found) => grafana.data_source(&found.uid).await?,
        None => None,
    };
    let default = sources
        .iter()
        .find(|source| source.is_default)
        .map(|source| &*source.uid);
    data_source::plan(wanted, edition, found.as_ref(), default)
}

/// Gives the default back, then deletes what was made, or takes our mark off what was adopted.
async fn take_away(grafana: &Grafana<'_>, uid: &str) -> Result<(), SetupError> {
    let sources = grafana.data_sources().await?;
    let Some(removal) = data_source::removal(uid, &sources) else {
        tracing::info!("nothing to remove: Grafana has no data source of this resource");
        return Ok(());
    };
    if let Some(previous) = &removal.default_again {
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
    }
    if removal.made {
        grafana.delete(&removal.uid).await?;
        tracing::info!("deleted data source {}", removal.uid);
    } else {
        change(grafana, &removal.uid, DataSource::without_mark).await?;
        tracing::info!("left data source {}, which a person had made", removal.uid);
    }
    Ok(())
}

async fn change(
    grafana: &Grafana<'_>,
    uid: &str,
    change: impl Fn(DataSource) -> DataSource,
) -> Result<(), SetupError> {
    match grafana.data_source(uid).await? {
        Some(source) => grafana.update(uid, &change(source)).await,
        None => Ok(()),
    }
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
