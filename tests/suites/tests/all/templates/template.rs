//! A CloudFormation template as JSON, its short functions written long: `!Ref X` is `{"Ref": "X"}`.

use std::fs;

use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value, json};
use testkit::project::repository;

/// The parts of `monitoring.yaml`: the nested stack, and its template.
pub(crate) const PARTS: [(&str, &str); 7] = [
    ("Topic", "topic.yaml"),
    ("Prometheus", "prometheus.yaml"),
    ("Grafana", "grafana.yaml"),
    ("Metrics", "metrics.yaml"),
    ("Alarms", "alarms.yaml"),
    ("Health", "health.yaml"),
    ("Efficiency", "efficiency.yaml"),
];

/// The templates that people deploy by hand: the two that are whole, and the four that a further cluster
/// takes.
pub(crate) const ENTRIES: [&str; 6] = [
    "parallelcluster-infrastructure.yaml",
    "monitoring.yaml",
    "metrics.yaml",
    "alarms.yaml",
    "health.yaml",
    "efficiency.yaml",
];

/// The templates of `infra/`: the entries, and those that are only parts of others.
pub(crate) const TEMPLATES: [&str; 10] = [
    ENTRIES[0],
    ENTRIES[1],
    ENTRIES[2],
    ENTRIES[3],
    ENTRIES[4],
    ENTRIES[5],
    "topic.yaml",
    "prometheus.yaml",
    "grafana.yaml",
    "network.yaml",
];

/// A template of `infra/`.
pub(crate) struct Template(Value);

impl Template {
    pub(crate) fn load(name: &str) -> Self {
        let text = fs::read_to_string(repository("infra").join(name)).unwrap();
        let documents = Yaml::load_from_str(&text).unwrap();
        Self(to_json(&documents[0]))
    }

    /// `monitoring.yaml` with the resources of all its parts in place of the nested stacks.
    pub(crate) fn monitoring() -> Self {
        let Self(mut template) = Self::load("monitoring.yaml");
        let resources = PARTS.iter().flat_map(|(_, part)| {
            let Self(part) = Self::load(part);
            part["Resources"].as_object().unwrap().clone()
        });
        template["Resources"] = Value::Object(resources.collect());
        Self(template)
    }

    pub(crate) fn section(&self, name: &str) -> &Map<String, Value> {
        self.0[name].as_object().unwrap()
    }

    pub(crate) fn resource(&self, id: &str) -> &Value {
        &self.section("Resources")[id]
    }

    /// Logical id and properties of every resource of that type.
    pub(crate) fn of_type<'a>(
        &'a self,
        r#type: &'a str,
    ) -> impl Iterator<Item = (&'a String, &'a Value)> {
        self.section("Resources")
            .iter()
            .filter(move |(_, resource)| resource["Type"] == r#type)
            .map(|(id, resource)| (id, &resource["Properties"]))
    }
}

fn to_json(yaml: &Yaml<'_>) -> Value {
    match yaml {
        Yaml::Value(scalar) => scalar_to_json(scalar),
        Yaml::Sequence(items) => items.iter().map(to_json).collect(),
        Yaml::Mapping(entries) => entries
            .iter()
            .map(|(key, value)| (key.as_str().unwrap().to_owned(), to_json(value)))
            .collect::<Map<_, _>>()
            .into(),
        Yaml::Tagged(tag, node) => function(&tag.suffix, &to_json(node)),
        other => panic!("{other:?} has no place in a template"),
    }
}

fn scalar_to_json(scalar: &Scalar<'_>) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Boolean(value) => json!(value),
        Scalar::Integer(value) => json!(value),
        Scalar::FloatingPoint(value) => json!(value.into_inner()),
        Scalar::String(value) => json!(value),
    }
}

fn function(tag: &str, argument: &Value) -> Value {
    match (tag, argument) {
        ("Ref" | "Condition", _) => json!({ tag: argument }),
        ("GetAtt", Value::String(path)) => {
            let (resource, attribute) = path.split_once('.').unwrap();
            json!({"Fn::GetAtt": [resource, attribute]})
        }
        _ => json!({ format!("Fn::{tag}"): argument }),
    }
}
