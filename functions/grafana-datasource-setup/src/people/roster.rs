//! The lists of people: who shall have which role, as the settings name them. Pure.

use aws_sdk_grafana::types::Role;

/// The prefix of a group's display name.
const GROUP: &str = "group:";

/// Somebody as a list names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    /// An e-mail address, or a user name that looks like one.
    Email(String),
    /// A user's id in Identity Center.
    UserId(String),
    /// A group's display name.
    Group(String),
}

/// What the settings say: who shall have which role.
pub(crate) type Roster = Vec<(Name, Role)>;

impl Name {
    /// Reads an entry of a list.
    ///
    /// # Errors
    /// It has none of the accepted forms.
    fn parse(text: &str) -> Result<Self, String> {
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

    /// Whether an entry names a group.
    fn is_group(text: &str) -> bool {
        text.trim_start().starts_with(GROUP)
    }

    /// As the list names them.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Email(text) | Self::UserId(text) => text.clone(),
            Self::Group(group) => format!("{GROUP}{group}"),
        }
    }
}

/// The names in a list: a comma list, or a JSON list of such lists. A list in a template reaches the
/// function as JSON.
///
/// # Errors
/// All entries that have none of the accepted forms.
pub(crate) fn names(text: &str) -> Result<Vec<Name>, String> {
    let (names, mistakes): (Vec<_>, Vec<_>) = entries(text)
        .iter()
        .map(|entry| Name::parse(entry))
        .partition(Result::is_ok);
    if mistakes.is_empty() {
        return Ok(names.into_iter().flatten().collect());
    }
    let mistakes: Vec<_> = mistakes.into_iter().filter_map(Result::err).collect();
    Err(mistakes.join(", "))
}

/// The names in a list, without the entries that are none.
pub(crate) fn readable_names(text: &str) -> Vec<Name> {
    let entries = entries(text);
    entries
        .iter()
        .flat_map(|entry| Name::parse(entry))
        .collect()
}

/// A group's name may have commas in a JSON list, so such an entry stays whole.
fn entries(text: &str) -> Vec<String> {
    let items: Vec<String> = serde_json::from_str(text).unwrap_or_else(|_| split(text));
    let entries = items.into_iter().flat_map(|item| {
        if Name::is_group(&item) {
            vec![item]
        } else {
            split(&item)
        }
    });
    entries.filter(|entry| !entry.trim().is_empty()).collect()
}

fn split(text: &str) -> Vec<String> {
    text.split([',', '\n']).map(str::to_owned).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn an_unreadable_entry_is_an_error_or_left_out() {
        let text = "ada,bob@example.com,group:";
        let error = names(text).unwrap_err();
        assert!(error.contains("\"ada\" is no") && error.contains("\"group:\" is no"));
        assert_eq!(
            readable_names(text),
            [Name::Email("bob@example.com".into())]
        );
    }
}
