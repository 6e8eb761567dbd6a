//! The roles that people have in the workspace: read, changed, and read again until the change shows.
//! AMG answers 200 to changes that it refuses, and has answered so to changes without effect
//! (<https://github.com/hashicorp/terraform-provider-aws/issues/24166>).

use std::time::Duration;

use aws_sdk_grafana::Client;
use aws_sdk_grafana::types::{UpdateError, UpdateInstruction, User};
use tokio::time::{Instant, sleep};

use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::people::{Change, Fate, Holding, Member, Members};

/// `UpdateInstructionBatch`:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_UpdatePermissions.html>
const MAX_INSTRUCTIONS: usize = 20;

/// How long a change may take to show.
const PATIENCE: Duration = Duration::from_secs(30);

const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// One workspace's roles.
#[derive(Clone, Copy, Debug)]
pub struct Roles<'a> {
    /// AMG's control plane.
    pub client: &'a Client,
    /// `g-…`.
    pub workspace: &'a str,
    /// Notes what is being done.
    pub deadline: &'a Deadline,
}

impl Roles<'_> {
    /// Brings the members' roles to what is wanted; tells what became of each, or in a dry run would.
    ///
    /// # Errors
    /// AMG refuses a change, or it never shows.
    pub async fn set_up(
        &self,
        members: &Members,
        dry_run: bool,
    ) -> Result<Vec<(Member, Fate)>, SetupError> {
        if members.is_empty() {
            return Ok(Vec::new());
        }
        let mut held = self.list().await?;
        let fates = members.fates(&held).into_iter();
        let fates = fates.map(|(member, fate)| (member.clone(), fate)).collect();
        if dry_run {
            return Ok(fates);
        }
        let give_up = Instant::now() + PATIENCE;
        let mut pause = FIRST_PAUSE;
        let mut asked: Vec<Change> = Vec::new();
        loop {
            let changes = members.changes(&held);
            if changes.is_empty() {
                return Ok(fates);
            }
            let new = changes.iter().filter(|change| !asked.contains(change));
            let new: Vec<Change> = new.cloned().collect();
            if new.is_empty() {
                if Instant::now() + pause >= give_up {
                    return Err(SetupError::RolesWithoutEffect(names(&changes)));
                }
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            } else {
                self.update(&new).await?;
                asked.extend(new);
            }
            held = self.list().await?;
        }
    }

    async fn list(&self) -> Result<Vec<Holding>, SetupError> {
        const OPERATION: &str = "grafana:ListPermissions";
        self.deadline.doing("reading the roles of the workspace");
        let request = self.client.list_permissions().workspace_id(self.workspace);
        let mut entries = request.into_paginator().items().send();
        let mut held = Vec::new();
        while let Some(entry) = entries.next().await {
            let entry = entry.map_err(|error| SetupError::of_call(OPERATION, &error))?;
            // An entry without a user is nobody's.
            if let Some(user) = entry.user {
                let (id, role) = (user.id, entry.role);
                held.push(Holding { id, role });
            }
        }
        Ok(held)
    }

    async fn update(&self, changes: &[Change]) -> Result<(), SetupError> {
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
            let answer = answer.map_err(|error| SetupError::of_call(OPERATION, &error))?;
            refused.extend(answer.errors.iter().map(|error| told(error, batch)));
        }
        if refused.is_empty() {
            Ok(())
        } else {
            Err(SetupError::RolesRefused(refused.join("; ")))
        }
    }
}

/// One user each, so that a refusal names one.
fn instruction(change: &Change) -> UpdateInstruction {
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

fn told(error: &UpdateError, batch: &[Change]) -> String {
    let users = error.caused_by().map(UpdateInstruction::users);
    let ids = users.unwrap_or_default().iter().map(User::id);
    let is_of = |change: &&Change, id: &str| change.member.id == id;
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

fn names(changes: &[Change]) -> String {
    let names: Vec<_> = changes.iter().map(|change| &*change.member.name).collect();
    names.join(", ")
}
