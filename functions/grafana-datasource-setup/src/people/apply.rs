//! Brings the roles in the workspace to the plan: reads, changes, and reads again until the change is
//! visible. AMG answers 200 to changes that it refuses, and has answered 200 to changes without effect
//! (<https://github.com/hashicorp/terraform-provider-aws/issues/24166>).

use std::time::Duration;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::{UpdateError, UpdateInstruction, User};
use startup::Deadline;
use tokio::time::{Instant, sleep};

use super::plan::{Holding, Instruction, Member, Members, RoleChange};
use crate::aws_call::CallError;
use crate::error::SetupError;

/// `UpdateInstructionBatch`:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_UpdatePermissions.html>
const MAX_INSTRUCTIONS: usize = 20;

/// How long a change may take to become visible.
const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// What a run did for each person on the lists, or which service kept it from doing so.
pub(crate) type Outcome = Result<Vec<(Member, RoleChange)>, SetupError>;

/// The roles of one workspace.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Roles<'a> {
    pub(crate) client: &'a Client,
    /// `g-…`.
    pub(crate) workspace: &'a str,
    pub(crate) deadline: &'a Deadline,
}

/// Makes a failure of Amazon Managed Grafana or IAM Identity Center part of the outcome: the run goes
/// on without the roles, and a stack's removal does not wait for services that refuse.
///
/// # Errors
/// Every other failure.
pub(crate) fn tolerate<T>(
    outcome: Result<T, SetupError>,
) -> Result<Result<T, SetupError>, SetupError> {
    match outcome {
        Err(error) if !error.is_of_people_services() => Err(error),
        outcome => Ok(outcome),
    }
}

impl Roles<'_> {
    /// Gives and revokes the roles of `members`, or in a dry run only says what would happen. If the
    /// members could not be looked up, that failure is the outcome.
    ///
    /// # Errors
    /// Those of [`tolerate`].
    pub(crate) async fn set_up(
        &self,
        members: Result<Members, SetupError>,
        dry_run: bool,
    ) -> Result<Outcome, SetupError> {
        tolerate(match members {
            Ok(members) => self.give(&members, dry_run).await,
            Err(error) => Err(error),
        })
    }

    async fn give(&self, members: &Members, dry_run: bool) -> Outcome {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let held = self.list().await?;
        let changes = members.role_changes(&held).into_iter();
        let changes = changes.map(|(member, change)| (member.clone(), change));
        let changes = changes.collect();
        if !dry_run {
            self.change(members, held).await?;
        }
        Ok(changes)
    }

    /// Sends each instruction once, and waits until all are visible.
    async fn change(&self, members: &Members, mut held: Vec<Holding>) -> Result<(), SetupError> {
        let give_up = Instant::now() + PATIENCE;
        let mut pauses = startup::backoff(FIRST_PAUSE, LONGEST_PAUSE);
        let mut sent: Vec<Instruction> = Vec::new();
        loop {
            let instructions = members.instructions(&held);
            if instructions.is_empty() {
                return Ok(());
            }
            let new = instructions.iter().filter(|next| !sent.contains(next));
            let new: Vec<Instruction> = new.cloned().collect();
            if new.is_empty() {
                let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                if Instant::now() + pause >= give_up {
                    return Err(SetupError::RolesWithoutEffect(names(&instructions)));
                }
                sleep(pause).await;
            } else {
                self.update(&new).await?;
                sent.extend(new);
            }
            held = self.list().await?;
        }
    }

    async fn list(&self) -> Result<Vec<Holding>, CallError> {
        const OPERATION: &str = "grafana:ListPermissions";
        self.deadline.doing("reading the roles of the workspace");
        let request = self.client.list_permissions().workspace_id(self.workspace);
        let mut entries = request.into_paginator().items().send();
        let mut held = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| CallError::new(OPERATION, &error))?;
            // An entry without a user gives nobody a role.
            if let Some(user) = entry.user {
                let (id, role) = (user.id, entry.role);
                held.push(Holding { id, role });
            }
        }
        Ok(held)
    }

    async fn update(&self, changes: &[Instruction]) -> Result<(), SetupError> {
        const OPERATION: &str = "grafana:UpdatePermissions";
        let mut refused = Vec::new();
        for batch in changes.chunks(MAX_INSTRUCTIONS) {
            self.deadline
                .doing(format!("changing the roles of {}", names(batch)));
            let request = self
                .client
                .update_permissions()
                .workspace_id(self.workspace);
            let instructions = batch.iter().map(instruction).collect();
            let request = request.set_update_instruction_batch(Some(instructions));
            let answer = request.send().await;
            let answer = answer.map_err(|error| CallError::new(OPERATION, &error))?;
            refused.extend(answer.errors.iter().map(|error| refusal(error, batch)));
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(SetupError::RolesRefused(refused.join("; ")))
        }
    }
}

/// One user per instruction, so that a refusal names exactly one.
fn instruction(change: &Instruction) -> UpdateInstruction {
    let user = User::builder()
        .id(&change.member.id)
        .r#type(change.member.user_type.clone())
        .build()
        .expect("BUG: both fields are set");
    UpdateInstruction::builder()
        .action(change.action.clone())
        .role(change.role.clone())
        .users(user)
        .build()
        .expect("BUG: all fields are set")
}

fn refusal(error: &UpdateError, batch: &[Instruction]) -> String {
    let users = error.caused_by().map(UpdateInstruction::users);
    let ids = users.unwrap_or_default().iter().map(User::id);
    let is_of = |change: &&Instruction, id: &str| change.member.id == id;
    let who: Vec<_> = ids
        .map(|id| {
            batch
                .iter()
                .find(|change| is_of(change, id))
                .map_or(id, |change| &change.member.name)
        })
        .collect();
    format!("{} ({} {})", who.join(", "), error.code(), error.message())
}

fn names(changes: &[Instruction]) -> String {
    let names: Vec<_> = changes.iter().map(|change| &*change.member.name).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_for_people_may_fail() {
        let text = String::new;
        let unknown = SetupError::UnknownPeople {
            people: text(),
            asked: text(),
        };
        for (error, expected) in [
            (CallError::unavailable("sso:ListInstances", "").into(), true),
            (CallError::rejected("grafana:X", "").into(), true),
            (SetupError::RolesRefused(text()), true),
            (SetupError::RolesWithoutEffect(text()), true),
            (SetupError::IdentityCenterOff, false),
            (unknown, false),
            (SetupError::InvalidConfiguration(text()), false),
        ] {
            let message = error.to_string();
            assert_eq!(tolerate::<()>(Err(error)).is_ok(), expected, "{message}");
        }
    }
}
