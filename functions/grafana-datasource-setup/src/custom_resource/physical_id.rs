//! The id by which CloudFormation knows the resource.

use std::fmt;

use serde::Serialize;

use crate::config::{Settings, value};

/// `amg/<workspace id>/<data source uid>`: a change of either replaces the resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PhysicalId(pub(super) String);

impl PhysicalId {
    /// The resource that `settings` describe.
    pub fn of(settings: &Settings) -> Self {
        let (workspace, uid) = (&settings.grafana_workspace, &settings.wanted.uid);
        Self::described((workspace.clone(), uid.clone()))
    }

    /// The resource with that workspace and data source uid.
    pub(crate) fn described((workspace, uid): (String, String)) -> Self {
        Self(format!("amg/{workspace}/{uid}"))
    }

    /// The id that a Create answers with if it failed before it made anything.
    pub(crate) fn nothing_made() -> Self {
        Self("amg/nothing-made".to_owned())
    }

    /// Whether this function never answered with this id. CloudFormation makes an id up for a resource
    /// whose Create was never answered.
    pub(crate) fn is_made_up(&self) -> bool {
        self.parts().is_none() && *self != Self::nothing_made()
    }

    /// Workspace id and data source uid; `None` for an id that names nothing this function made.
    pub fn parts(&self) -> Option<(&str, &str)> {
        let (workspace, uid) = self.0.strip_prefix("amg/")?.split_once('/')?;
        (value::workspace_id(workspace).is_ok() && value::uid(uid).is_ok())
            .then_some((workspace, uid))
    }
}

impl fmt::Display for PhysicalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_this_function_stand_for_something_made() {
        for (id, expected) in [
            ("amg/g-0123456789/amp", Some(("g-0123456789", "amp"))),
            ("amg/nothing-made", None),
            ("amg/g-0123456789/../x", None),
            ("2024/05/06/[$LATEST]0123", None),
        ] {
            let id = PhysicalId(id.to_owned());
            assert_eq!(id.parts(), expected, "{id}");
            let is_ours = expected.is_some() || id == PhysicalId::nothing_made();
            assert_eq!(id.is_made_up(), !is_ours, "{id}");
        }
    }
}
