//! Who shall have which role in Grafana, and what is to be changed for it. Pure.

use aws_sdk_grafana::types::{Role, UpdateAction, UserType};

/// Before a group's display name.
const GROUP: &str = "group:";

/// Somebody as a list names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Name {
    /// An e-mail address, or a user name that looks like one.
    Email(String),
    /// A user's id in Identity Center.
    UserId(String),
    /// A group's display name.
    Group(String),
}

/// What the settings say: who shall be what.
pub type Roster = Vec<(Name, Role)>;

/// Somebody whom Identity Center knows, with the role of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// As the list names them, for people to read.
    pub name: String,
    /// As AMG names them.
    pub id: String,
    /// A user or a group.
    pub user_type: UserType,
    /// What they shall be, or shall no longer be.
    pub role: Role,
}

/// Who is managed in a run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Members {
    /// Who shall have their role.
    pub wanted: Vec<Member>,
    /// Who had theirs by an earlier list, and is on none now.
    pub leaving: Vec<Member>,
}

/// A role that somebody has in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holding {
    /// Whose.
    pub id: String,
    /// Which.
    pub role: Role,
}

/// One change of one role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Add or revoke.
    pub action: UpdateAction,
    /// Which role.
    pub role: Role,
    /// Whose.
    pub member: Member,
}

/// What became of somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Had no role.
    Added,
    /// Had another role.
    Changed,
    /// Had this role.
    Unchanged,
    /// Has it no more.
    Removed,
}

/// `([0-9a-fA-F]{10}-|)` before a UUID:
/// <https://docs.aws.amazon.com/grafana/latest/APIReference/API_User.html>
fn is_user_id(text: &str) -> bool {
    let is_hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = match text.split_once('-') {
        Some((store, uuid)) if store.len() == 10 && is_hex(store) => uuid,
        _ => text,
    };
    let lengths = uuid.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && uuid.split('-').all(is_hex)
}

impl Name {
    /// Reads an entry of a list.
    ///
    /// # Errors
    /// It is none of the forms there are.
    pub fn parse(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if let Some(group) = text.strip_prefix(GROUP).map(str::trim)
            && !group.is_empty()
        {
            Ok(Self::Group(group.to_owned()))
        } else if text.contains('@') {
            Ok(Self::Email(text.to_owned()))
        } else if is_user_id(text) {
            Ok(Self::UserId(text.to_owned()))
        } else {
            Err(format!(
                "{text:?} is no e-mail address, no Identity Center user id and no group:<display name>"
            ))
        }
    }

    /// Whether an entry means a group, whatever its name.
    pub fn is_group(text: &str) -> bool {
        text.trim_start().starts_with(GROUP)
    }

    /// As the list has it.
    pub fn text(&self) -> String {
        match self {
            Self::Email(text) | Self::UserId(text) => text.clone(),
            Self::Group(group) => format!("{GROUP}{group}"),
        }
    }
}

impl Members {
    /// Who is on a list now, and who was on `former` ones only. Somebody on several lists has the
    /// first one's role; `wanted` begins with administrators.
    pub fn new(wanted: Vec<Member>, former: Vec<Member>) -> Self {
        let mut members = Self::default();
        for member in wanted {
            if !members.is_wanted(&member.id) {
                members.wanted.push(member);
            }
        }
        let is_gone = |member: &Member| !members.is_wanted(&member.id);
        members.leaving = former.into_iter().filter(is_gone).collect();
        members
    }

    /// Whether there is nobody to care about.
    pub fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.leaving.is_empty()
    }

    fn is_wanted(&self, id: &str) -> bool {
        self.wanted.iter().any(|member| member.id == id)
    }

    /// The next changes, given all roles in the workspace; none when all is as wanted.
    ///
    /// What is to be revoked comes once all that is to be added is seen: a new role may take the old
    /// one's place by itself, and nobody shall be without any in between.
    pub fn changes(&self, held: &[Holding]) -> Vec<Change> {
        let change = |action: UpdateAction, role: &Role, member: &Member| Change {
            action,
            role: role.clone(),
            member: member.clone(),
        };
        let has = |member: &Member| held.contains(&member.holding());
        let missing = self.wanted.iter().filter(|member| !has(member));
        let added: Vec<_> = missing
            .map(|member| change(UpdateAction::Add, &member.role, member))
            .collect();
        if !added.is_empty() {
            return added;
        }
        let other_roles = self.wanted.iter().flat_map(|member| {
            let others = held.iter().filter(|held| held.id == member.id);
            others
                .filter(|held| held.role != member.role)
                .map(|held| change(UpdateAction::Revoke, &held.role, member))
        });
        let leaving = self.leaving.iter().filter(|member| has(member));
        let leaving = leaving.map(|member| change(UpdateAction::Revoke, &member.role, member));
        other_roles.chain(leaving).collect()
    }

    /// What becomes of each, given all roles in the workspace before.
    pub fn fates(&self, held: &[Holding]) -> Vec<(&Member, Fate)> {
        let wanted = self.wanted.iter().map(|member| {
            let mut roles = held.iter().filter(|held| held.id == member.id);
            let fate = match roles.next() {
                None => Fate::Added,
                Some(first) if first.role == member.role && roles.next().is_none() => {
                    Fate::Unchanged
                }
                Some(_) => Fate::Changed,
            };
            (member, fate)
        });
        let leaving = self.leaving.iter();
        let leaving = leaving
            .filter(|member| held.contains(&member.holding()))
            .map(|member| (member, Fate::Removed));
        wanted.chain(leaving).collect()
    }
}

impl Member {
    fn holding(&self) -> Holding {
        Holding {
            id: self.id.clone(),
            role: self.role.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: &str, role: Role) -> Member {
        Member {
            name: format!("{id}@example.com"),
            id: id.to_owned(),
            user_type: UserType::SsoUser,
            role,
        }
    }

    fn holding(id: &str, role: Role) -> Holding {
        member(id, role).holding()
    }

    fn short(changes: &[Change]) -> Vec<String> {
        let short =
            |change: &Change| format!("{} {} {}", change.action, change.role, change.member.id);
        changes.iter().map(short).collect()
    }

    #[test]
    fn entries_are_told_apart_by_their_form() {
        let id = "a1b2c3d4-5678-90ab-cdef-1234567890ab";
        let id_of_store = format!("9067641234-{id}");
        for (text, expected) in [
            (
                " ada@example.com ",
                Some(Name::Email("ada@example.com".into())),
            ),
            (id, Some(Name::UserId(id.into()))),
            (&id_of_store, Some(Name::UserId(id_of_store.clone()))),
            ("group: GPU people", Some(Name::Group("GPU people".into()))),
            ("group:", None),
            ("ada", None),
            ("906764123x-a1b2c3d4-5678-90ab-cdef-1234567890ab", None),
            ("a1b2c3d4-5678-90ab-cdef", None),
            ("", None),
        ] {
            assert_eq!(Name::parse(text).ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn roles_are_added_first_and_revoked_once_that_is_seen() {
        let wanted = vec![member("ada", Role::Admin), member("bob", Role::Viewer)];
        let members = Members::new(wanted, vec![member("eve", Role::Editor)]);
        let others = holding("zoe", Role::Admin);
        let mut held = vec![
            others.clone(),
            holding("bob", Role::Editor),
            holding("eve", Role::Editor),
        ];
        let fates: Vec<_> = members
            .fates(&held)
            .into_iter()
            .map(|(_, fate)| fate)
            .collect();
        assert_eq!(fates, [Fate::Added, Fate::Changed, Fate::Removed]);
        let first = members.changes(&held);
        assert_eq!(short(&first), ["ADD ADMIN ada", "ADD VIEWER bob"]);
        held.extend([holding("ada", Role::Admin), holding("bob", Role::Viewer)]);
        let second = members.changes(&held);
        assert_eq!(short(&second), ["REVOKE EDITOR bob", "REVOKE EDITOR eve"]);
        let now = [
            others,
            holding("ada", Role::Admin),
            holding("bob", Role::Viewer),
        ];
        assert_eq!(members.changes(&now), []);
        let fates: Vec<_> = members
            .fates(&now)
            .into_iter()
            .map(|(_, fate)| fate)
            .collect();
        assert_eq!(fates, [Fate::Unchanged; 2]);
    }

    #[test]
    fn whoever_is_still_on_a_list_is_not_leaving() {
        let wanted = vec![member("ada", Role::Admin), member("ada", Role::Viewer)];
        let former = vec![member("ada", Role::Editor), member("bob", Role::Viewer)];
        let members = Members::new(wanted, former);
        assert_eq!(
            members.wanted,
            [member("ada", Role::Admin)],
            "the first list counts"
        );
        assert_eq!(members.leaving, [member("bob", Role::Viewer)]);
    }

    #[test]
    fn another_role_that_somebody_was_given_since_is_left_to_them() {
        let members = Members::new(vec![], vec![member("bob", Role::Viewer)]);
        let promoted = [holding("bob", Role::Admin)];
        assert_eq!(members.changes(&promoted), []);
        assert_eq!(members.fates(&promoted), []);
    }
}
