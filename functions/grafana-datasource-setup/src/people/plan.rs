//! Which roles must change so that people have those of their lists. Pure.

use aws_sdk_grafana::types::{Role, UpdateAction, UserType};

/// Somebody whom Identity Center knows, with the role of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As the list names them.
    pub(crate) name: String,
    /// Id in Identity Center, which AMG uses too.
    pub(crate) id: String,
    /// A user or a group.
    pub(crate) user_type: UserType,
    /// The role to give, or for those who left the lists to revoke.
    pub(crate) role: Role,
}

/// Everybody whose role a run manages. Nobody else's is touched.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    /// Those on the lists.
    pub(crate) wanted: Vec<Member>,
    /// Those who were on an earlier list and are on none now.
    pub(crate) leaving: Vec<Member>,
}

/// A role that somebody has in the workspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) id: String,
    pub(crate) role: Role,
}

/// One change of one role, as UpdatePermissions takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) action: UpdateAction,
    pub(crate) role: Role,
    pub(crate) member: Member,
}

/// What happened to somebody's role, as the reply names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum RoleChange {
    /// There was no role before.
    Added,
    /// There was another role before.
    Changed,
    /// The role was there.
    Unchanged,
    /// The role is gone.
    Removed,
}

impl Members {
    /// Separates who is on a list now from who was on `former` lists only. Somebody on several lists
    /// gets the role of the first one; `wanted` begins with administrators.
    pub(crate) fn new(wanted: Vec<Member>, former: Vec<Member>) -> Self {
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

    /// Whether no role is managed.
    pub(crate) fn is_empty(&self) -> bool {
        self.wanted.is_empty() && self.leaving.is_empty()
    }

    fn is_wanted(&self, id: &str) -> bool {
        self.wanted.iter().any(|member| member.id == id)
    }

    /// The next instructions, given all roles in the workspace; empty when everything is as wanted.
    ///
    /// Roles are revoked only once all additions are visible. A new role may replace the old one by
    /// itself, and nobody is left without a role in between.
    pub(crate) fn instructions(&self, held: &[Holding]) -> Vec<Instruction> {
        let change = |action: UpdateAction, role: &Role, member: &Member| Instruction {
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

    /// What happens to each role, given all roles in the workspace before the run.
    pub(crate) fn role_changes(&self, held: &[Holding]) -> Vec<(&Member, RoleChange)> {
        let wanted = self.wanted.iter().map(|member| {
            let mut roles = held.iter().filter(|held| held.id == member.id);
            let change = match roles.next() {
                None => RoleChange::Added,
                Some(first) if first.role == member.role && roles.next().is_none() => {
                    RoleChange::Unchanged
                }
                Some(_) => RoleChange::Changed,
            };
            (member, change)
        });
        let leaving = self.leaving.iter();
        let leaving = leaving
            .filter(|member| held.contains(&member.holding()))
            .map(|member| (member, RoleChange::Removed));
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

    fn short(changes: &[Instruction]) -> Vec<String> {
        let short = |change: &Instruction| {
            format!("{} {} {}", change.action, change.role, change.member.id)
        };
        changes.iter().map(short).collect()
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
        let role_changes: Vec<_> = members
            .role_changes(&held)
            .into_iter()
            .map(|(_, change)| change)
            .collect();
        assert_eq!(
            role_changes,
            [RoleChange::Added, RoleChange::Changed, RoleChange::Removed]
        );
        let first = members.instructions(&held);
        assert_eq!(short(&first), ["ADD ADMIN ada", "ADD VIEWER bob"]);
        held.extend([holding("ada", Role::Admin), holding("bob", Role::Viewer)]);
        let second = members.instructions(&held);
        assert_eq!(short(&second), ["REVOKE EDITOR bob", "REVOKE EDITOR eve"]);
        let now = [
            others,
            holding("ada", Role::Admin),
            holding("bob", Role::Viewer),
        ];
        assert_eq!(members.instructions(&now), []);
        let role_changes: Vec<_> = members
            .role_changes(&now)
            .into_iter()
            .map(|(_, change)| change)
            .collect();
        assert_eq!(role_changes, [RoleChange::Unchanged; 2]);
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
        assert_eq!(members.instructions(&promoted), []);
        assert_eq!(members.role_changes(&promoted), []);
    }
}
