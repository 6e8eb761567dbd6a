//! The dashboards that come with the stack, and what must be written for them. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::grafana::{DataSource, SavedDashboard};
use crate::reconcile::Action;

/// The same files can be imported into Grafana by hand.
const FILES: [&str; 5] = [
    include_str!("../../../../infra/dashboards/cluster.json"),
    include_str!("../../../../infra/dashboards/health.json"),
    include_str!("../../../../infra/dashboards/efficiency.json"),
    include_str!("../../../../infra/dashboards/node.json"),
    include_str!("../../../../infra/dashboards/pipeline.json"),
];

/// The dashboard variable that names the data source of the panels.
const VARIABLE: &str = "datasource";
const REFERENCE: &str = "${datasource}";

/// How our messages in a dashboard's version history begin. The owner and a hash follow.
const MESSAGE: &str = "written by grafana-datasource-setup for";

/// The wanted folder of dashboards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WantedFolder {
    /// The title people see.
    pub(crate) title: String,
    /// Whether dashboards that a person has changed are overwritten.
    pub(crate) overwrite: bool,
}

/// A wanted dashboard.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Dashboard {
    /// Grafana's key for it.
    pub(crate) uid: String,
    /// The title people see.
    pub(crate) title: String,
    /// Grafana's dashboard model.
    pub(crate) content: Value,
    /// The message for the version history. It tells a later run who saved last, and what: anybody
    /// else leaves another message. The content itself can't tell, because Grafana migrates it to
    /// newer models and its editor drops fields that it doesn't know.
    pub(crate) message: String,
}

/// Our dashboards for the resource with uid `owner`. They query `source` unless somebody chooses
/// another in Grafana.
pub(crate) fn all(owner: &str, source: &DataSource) -> Vec<Dashboard> {
    let contents = contents().map(|mut content| {
        refer(&mut content, source);
        choose(&mut content, source);
        content
    });
    contents
        .map(|content| Dashboard::new(owner, content))
        .collect()
}

/// The uids of [`all`].
pub(crate) fn uids() -> impl Iterator<Item = String> {
    contents().map(|content| text(&content, "uid"))
}

fn contents() -> impl Iterator<Item = Value> {
    FILES
        .iter()
        .map(|file| serde_json::from_str(file).expect("BUG: a test reads every file"))
}

fn text(content: &Value, name: &str) -> String {
    let text = content[name].as_str();
    text.expect("BUG: a test reads every file").to_owned()
}

/// What to do about a dashboard. With `overwrite` it is saved whoever saved it last.
pub(crate) fn action(
    wanted: &Dashboard,
    saved: Option<&SavedDashboard>,
    overwrite: bool,
) -> Action {
    let Some(saved) = saved else {
        return Action::Created;
    };
    match &saved.message {
        Some(message) if *message == wanted.message => Action::Unchanged,
        Some(message) if message.starts_with(MESSAGE) => Action::Updated,
        // Saved once more, so that the history names us from now on.
        None if same(&saved.content, &wanted.content) => Action::Updated,
        _ if overwrite => Action::Updated,
        Some(_) => Action::Kept,
        None => Action::Unknown,
    }
}

/// Whether a dashboard is deleted with the resource of uid `owner`; the error says why it stays. With
/// `overwrite` it is also deleted where the history doesn't tell who saved it last.
pub(crate) fn removal(
    uid: &str,
    saved: &SavedDashboard,
    owner: &str,
    overwrite: bool,
) -> Result<(), &'static str> {
    match &saved.message {
        Some(message) if message.starts_with(&format!("{MESSAGE} {owner},")) => Ok(()),
        Some(_) => Err("somebody else saved it last"),
        None if overwrite || is_untouched(uid, &saved.content) => Ok(()),
        None => Err(
            "Grafana has no history that tells whether a person has changed it: delete it in Grafana, \
             or set DashboardOverwrite to true before the stack is deleted",
        ),
    }
}

/// Whether a dashboard is equal to our file, whatever data source it queries.
fn is_untouched(uid: &str, content: &Value) -> bool {
    contents().any(|file| text(&file, "uid") == uid && same(content, &file))
}

/// Whether two dashboards are equal, whatever data source they query. Compares all fields except those
/// that Grafana itself writes and those that [`all`] fills in.
fn same(one: &Value, other: &Value) -> bool {
    let bare = |content: &Value| {
        let mut content = content.clone();
        let neutral = DataSource::default();
        refer(&mut content, &neutral);
        choose(&mut content, &neutral);
        if let Some(fields) = content.as_object_mut() {
            for field in ["id", "version", "schemaVersion"] {
                fields.remove(field);
            }
        }
        content
    };
    bare(one) == bare(other)
}

impl Dashboard {
    fn new(owner: &str, content: Value) -> Self {
        // Another version of Rust may hash differently. Then everything is saved once more.
        let mut hasher = DefaultHasher::new();
        content.to_string().hash(&mut hasher);
        let message = format!("{MESSAGE} {owner}, content {:016x}", hasher.finish());
        Self {
            uid: text(&content, "uid"),
            title: text(&content, "title"),
            content,
            message,
        }
    }
}

/// Writes the type of the data source into the panels' references.
fn refer(value: &mut Value, source: &DataSource) {
    match value {
        Value::Object(fields) => {
            if fields.get("uid").is_some_and(|uid| uid == REFERENCE) {
                fields.insert("type".into(), json!(source.source_type));
            }
            fields.values_mut().for_each(|value| refer(value, source));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, source)),
        _ => {}
    }
}

/// Selects `source` in the dashboard variable.
fn choose(content: &mut Value, source: &DataSource) {
    let variables = content["templating"]["list"].as_array_mut();
    let variables = variables.into_iter().flatten();
    for variable in variables.filter(|variable| variable["name"] == VARIABLE) {
        variable["query"] = json!(source.source_type);
        variable["current"] = json!({"text": source.name, "value": source.uid});
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> DataSource {
        let mut source = DataSource::new("P12", "grafana-amazonprometheus-datasource");
        source.name = "AMP".into();
        source
    }

    fn saved(message: Option<&str>, content: &Value) -> SavedDashboard {
        let mut content = content.clone();
        content["id"] = json!(7);
        content["version"] = json!(3);
        SavedDashboard {
            version: 3,
            folder: String::new(),
            message: message.map(str::to_owned),
            content,
        }
    }

    #[test]
    fn every_file_becomes_a_dashboard_of_the_data_source_there_is() {
        let dashboards = all("amp", &source());
        let found = dashboards.iter().map(|dashboard| dashboard.uid.clone());
        assert!(found.eq(uids()));
        for Dashboard { uid, content, .. } in dashboards {
            let text = content.to_string();
            assert!(!text.contains(r#""prometheus""#), "{uid}");
            let reference =
                r#"{"type":"grafana-amazonprometheus-datasource","uid":"${datasource}"}"#;
            assert!(text.contains(reference), "{uid}");
            let chosen = json!({"text": "AMP", "value": "P12"});
            assert_eq!(content["templating"]["list"][0]["current"], chosen, "{uid}");
        }
    }

    #[test]
    fn another_data_source_is_another_content() {
        let one = all("amp", &source());
        assert_eq!(one, all("amp", &source()));
        let other = DataSource::new("P12", "prometheus");
        for (one, other) in one.iter().zip(all("amp", &other)) {
            assert_ne!(one.message, other.message);
        }
    }

    #[test]
    fn what_is_written_and_removed_depends_on_who_saved_last() {
        let wanted = &all("amp", &source())[0];
        // The same dashboard as saved before an upgrade, with the data source of that time.
        let former = &all("amp", &DataSource::new("P12", "prometheus"))[0].content;
        let mut changed = wanted.content.clone();
        changed["title"] = json!("Our cluster");
        let older = Some("written by grafana-datasource-setup for amp, content 0123");
        let ours = Some(&*wanted.message);
        use Action::{Kept, Unchanged, Unknown, Updated};
        for (message, content, expected, overwritten, is_removed) in [
            (ours, &wanted.content, Unchanged, Unchanged, true),
            (older, &changed, Updated, Updated, true),
            (Some(""), &changed, Kept, Updated, false),
            (None, &wanted.content, Updated, Updated, true),
            (None, former, Updated, Updated, true),
            (None, &changed, Unknown, Updated, false),
        ] {
            let saved = saved(message, content);
            let action = |overwrite| action(wanted, Some(&saved), overwrite);
            assert_eq!(action(false), expected, "{message:?}");
            assert_eq!(action(true), overwritten, "{message:?}, overwrite");
            let removal = |owner, overwrite| removal(&wanted.uid, &saved, owner, overwrite);
            assert_eq!(removal("amp", false).is_ok(), is_removed, "{message:?}");
            assert_eq!(
                removal("am", false).is_ok(),
                is_removed && message.is_none()
            );
            assert_eq!(
                removal("amp", true).is_ok(),
                is_removed || message.is_none()
            );
        }
        assert_eq!(action(wanted, None, false), Action::Created);
    }
}
