//! The dashboards that come with the stack, and what is to be written for them. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use serde_json::{Value, json};

use crate::data_source::DataSource;
use crate::reconcile::Action;

/// They can be imported by hand as they are.
const FILES: [&str; 3] = [
    include_str!("../../../infra/dashboards/cluster.json"),
    include_str!("../../../infra/dashboards/node.json"),
    include_str!("../../../infra/dashboards/pipeline.json"),
];

/// Panels query the data source that this variable of a dashboard names.
const VARIABLE: &str = "datasource";
const REFERENCE: &str = "${datasource}";

/// What we say in a dashboard's history, before whose it is and what was saved.
const MESSAGE: &str = "written by grafana-datasource-setup for";

/// A dashboard wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Dashboard {
    /// Grafana's key for it.
    pub uid: String,
    /// What people see.
    pub title: String,
    /// Grafana's dashboard model.
    pub content: Value,
    /// What its history shall say of this content. A later run sees by it who saved last, and what:
    /// anybody else leaves another message. The content itself doesn't tell: Grafana migrates it to
    /// newer models, and its editor drops fields that it doesn't know.
    pub message: String,
}

/// What Grafana has of a dashboard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Counts the saves.
    pub version: u64,
    /// Uid of the folder it is in, empty at the top.
    pub folder: String,
    /// What its history says of this version.
    pub message: String,
}

/// Our dashboards for the resource with uid `owner`, querying `source` unless somebody chooses another.
pub fn all(owner: &str, source: &DataSource) -> Vec<Dashboard> {
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
pub fn uids() -> impl Iterator<Item = String> {
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

/// What to do about a dashboard. `overwrite`: whoever saved it last.
pub fn action(wanted: &Dashboard, saved: Option<&Saved>, overwrite: bool) -> Action {
    match saved {
        None => Action::Created,
        Some(saved) if saved.message == wanted.message => Action::Unchanged,
        Some(saved) if saved.is_ours() || overwrite => Action::Updated,
        Some(_) => Action::Kept,
    }
}

impl Saved {
    /// Whether we saved it last.
    fn is_ours(&self) -> bool {
        self.message.starts_with(MESSAGE)
    }

    /// Whether we saved it last, for the resource with uid `owner`.
    pub fn is_of(&self, owner: &str) -> bool {
        self.message.starts_with(&format!("{MESSAGE} {owner},"))
    }
}

impl Dashboard {
    fn new(owner: &str, content: Value) -> Self {
        // Another Rust may hash differently; then everything is saved once more.
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

/// Has panels name the type of the data source there is.
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

/// Chooses `source` among the data sources of its type.
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

    fn saved(message: &str) -> Saved {
        Saved {
            version: 3,
            folder: String::new(),
            message: message.to_owned(),
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
    fn what_is_written_depends_on_who_saved_last() {
        let dashboard = &all("amp", &source())[0];
        let ours = saved(&dashboard.message);
        let older = saved("written by grafana-datasource-setup for amp, content 0123");
        let persons = saved("");
        assert!(ours.is_of("amp") && older.is_of("amp"));
        assert!(!ours.is_of("am") && !persons.is_of("amp"));
        for (found, overwrite, expected) in [
            (None, false, Action::Created),
            (Some(&ours), false, Action::Unchanged),
            (Some(&ours), true, Action::Unchanged),
            (Some(&older), false, Action::Updated),
            (Some(&persons), false, Action::Kept),
            (Some(&persons), true, Action::Updated),
        ] {
            assert_eq!(
                action(dashboard, found, overwrite),
                expected,
                "{found:?}, overwrite: {overwrite}"
            );
        }
    }
}
