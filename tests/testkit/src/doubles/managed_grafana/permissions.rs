//! Who has which role in a workspace: ListPermissions, UpdatePermissions.

use serde_json::{Value, json};

use super::{Exception, credentials::Page};

/// `UpdateInstructionBatch`:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_UpdatePermissions.html>
const MAX_INSTRUCTIONS: usize = 20;

#[derive(Debug, Default)]
pub(crate) struct Permissions {
    entries: Vec<Entry>,
    /// What ListPermissions shows while it lags behind, and how many times more.
    lagging: Option<(Vec<Entry>, usize)>,
    lag: usize,
    /// A new role comes beside the old one.
    are_kept: bool,
    refused: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    id: String,
    user_type: String,
    role: String,
}

impl Permissions {
    /// Id and role of everybody.
    pub(crate) fn all(&self) -> Vec<(String, String)> {
        let entries = self.entries.iter();
        entries
            .map(|entry| (entry.id.clone(), entry.role.clone()))
            .collect()
    }

    pub(crate) fn add(&mut self, id: &str, role: &str) {
        self.entries.push(Entry {
            id: id.to_owned(),
            user_type: "SSO_USER".to_owned(),
            role: role.to_owned(),
        });
    }

    pub(crate) fn set_lag(&mut self, reads: usize) {
        self.lag = reads;
    }

    pub(crate) fn keep_old_roles(&mut self) {
        self.are_kept = true;
    }

    pub(crate) fn refuse(&mut self, id: &str) {
        self.refused = Some(id.to_owned());
    }

    pub(crate) fn list(&mut self, page: &Page) -> Value {
        let shown = match &mut self.lagging {
            Some((before, reads)) if *reads > 0 => {
                *reads -= 1;
                before
            }
            _ => &self.entries,
        };
        let entries = shown.iter().map(
            |entry| json!({"user": {"id": entry.id, "type": entry.user_type}, "role": entry.role}),
        );
        let mut answer = page.of("permissions", entries.collect());
        answer
            .as_object_mut()
            .expect("an object")
            .remove("workspaceId");
        answer
    }

    /// Whatever is not valid refuses the whole request, whatever else goes wrong is in the answer.
    pub(crate) fn update(&mut self, body: &Value) -> Result<Value, Exception> {
        let batch = body["updateInstructionBatch"].as_array();
        let batch = batch.ok_or_else(|| Exception::invalid("no updateInstructionBatch"))?;
        if batch.len() > MAX_INSTRUCTIONS {
            return Err(Exception::invalid("more than 20 instructions"));
        }
        batch.iter().try_for_each(check)?;
        let before = self.entries.clone();
        let mut errors = Vec::new();
        for instruction in batch {
            for user in instruction["users"].as_array().into_iter().flatten() {
                if let Err(message) = self.apply(instruction, user) {
                    let mut cause = instruction.clone();
                    cause["users"] = json!([user]);
                    errors.push(json!({"code": 400, "message": message, "causedBy": cause}));
                }
            }
        }
        self.lagging = Some((before, self.lag));
        Ok(json!({"errors": errors}))
    }

    fn apply(&mut self, instruction: &Value, user: &Value) -> Result<(), &'static str> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let entry = Entry {
            id: text(&user["id"]),
            user_type: text(&user["type"]),
            role: text(&instruction["role"]),
        };
        if self.refused.as_ref() == Some(&entry.id) {
            return Err("Unable to update users in managed application");
        }
        let is_there = self.entries.contains(&entry);
        if instruction["action"] == "REVOKE" {
            self.entries.retain(|other| *other != entry);
            return is_there
                .then_some(())
                .ok_or("the user does not have the role");
        }
        if !self.are_kept {
            self.entries.retain(|other| other.id != entry.id);
        }
        if !self.entries.contains(&entry) {
            self.entries.push(entry);
        }
        Ok(())
    }
}

/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_UpdateInstruction.html>
fn check(instruction: &Value) -> Result<(), Exception> {
    let is_one_of = |value: &Value, known: &[&str]| {
        let text = value.as_str().unwrap_or_default();
        known.contains(&text)
    };
    let users = instruction["users"].as_array();
    let is_valid = is_one_of(&instruction["action"], &["ADD", "REVOKE"])
        && is_one_of(&instruction["role"], &["ADMIN", "EDITOR", "VIEWER"])
        && users.is_some_and(|users| {
            users.iter().all(|user| {
                is_one_of(&user["type"], &["SSO_USER", "SSO_GROUP"])
                    && is_sso_id(user["id"].as_str().unwrap_or_default())
            })
        });
    is_valid
        .then_some(())
        .ok_or_else(|| Exception::invalid(format!("{instruction} is not valid")))
}

/// `([0-9a-fA-F]{10}-|)` and a UUID: API_User, Pattern.
fn is_sso_id(id: &str) -> bool {
    let uuid = if id.find('-') == Some(10) {
        &id[11..]
    } else {
        id
    };
    let parts: Vec<_> = uuid.split('-').map(str::len).collect();
    let is_hex = |byte: u8| byte.is_ascii_hexdigit() || byte == b'-';
    parts == [8, 4, 4, 4, 12] && id.bytes().all(is_hex)
}
