//! What the properties of a request say of a resource that an earlier run set up.

use serde_json::{Map, Value};

use super::value::{flag, uid, workspace_id};
use super::{DEFAULT_UID, GRAFANA_WORKSPACE, LISTS, OVERWRITE, Setting, UID, property};
use crate::people::roster::{Roster, readable_names};

/// Workspace id and data source uid of the resource that `properties` describe; `None` if they describe
/// none.
pub(crate) fn resource_of(
    properties: &Map<String, Value>,
    variables: impl Fn(&str) -> Option<String>,
) -> Option<(String, String)> {
    let value = |setting: &Setting| {
        let value = property(Some(properties), setting.property);
        value.or_else(|| variables(setting.variable))
    };
    let workspace = workspace_id(value(&GRAFANA_WORKSPACE)?.trim()).ok()?;
    let uid_text = value(&UID).unwrap_or_else(|| DEFAULT_UID.to_owned());
    Some((workspace, uid(uid_text.trim()).ok()?))
}

/// Whether `properties` ask to overwrite dashboards that a person has changed.
pub(crate) fn overwrites_dashboards(properties: &Map<String, Value>) -> bool {
    let value = property(Some(properties), OVERWRITE.property);
    value.is_some_and(|value| flag(value.trim()) == Ok(true))
}

/// Who had a role in `workspace` by the lists of `properties`. Entries that were unreadable then gave
/// nobody a role.
pub(crate) fn roster_of(properties: &Map<String, Value>, workspace: &str) -> Roster {
    if property(Some(properties), GRAFANA_WORKSPACE.property).as_deref() != Some(workspace) {
        return Roster::new();
    }
    let lists = LISTS.iter().flat_map(|(list, role)| {
        let text = property(Some(properties), list.property).unwrap_or_default();
        let names = readable_names(&text).into_iter();
        names.map(move |name| (name, role.clone()))
    });
    lists.collect()
}

#[cfg(test)]
mod tests {
    use aws_sdk_grafana::types::Role;
    use serde_json::json;

    use super::*;
    use crate::people::roster::Name;

    #[test]
    fn properties_describe_a_resource_if_they_name_a_workspace() {
        let resource = |properties: Value| {
            let properties = properties.as_object().unwrap();
            resource_of(properties, |_| None)
        };
        let workspace = "g-0123456789";
        let described = |uid: &str| Some((workspace.to_owned(), uid.to_owned()));
        let both = json!({"GrafanaWorkspaceId": workspace, "DataSourceUid": "amp"});
        assert_eq!(resource(both), described("amp"));
        let one = json!({"GrafanaWorkspaceId": workspace});
        assert_eq!(resource(one), described(DEFAULT_UID));
        assert_eq!(resource(json!({"DataSourceUid": "amp"})), None);
        let wrong = json!({"GrafanaWorkspaceId": workspace, "DataSourceUid": "a b"});
        assert_eq!(resource(wrong), None);
    }

    #[test]
    fn earlier_lists_count_in_their_own_workspace_alone() {
        let old = json!({
            "GrafanaWorkspaceId": "g-0123456789", "GrafanaAdmins": "ada@example.com,?",
            "GrafanaViewers": "",
        });
        let old = old.as_object().unwrap();
        let expected = [(Name::Email("ada@example.com".into()), Role::Admin)];
        assert_eq!(roster_of(old, "g-0123456789"), expected);
        assert_eq!(roster_of(old, "g-ffffffffff"), []);
    }
}
