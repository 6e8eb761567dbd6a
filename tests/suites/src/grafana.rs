//! What Grafana's dashboards ask.

use std::collections::BTreeMap;

use serde_json::Value;

/// A dashboard's panels.
pub fn panels(dashboard: &Value) -> Vec<Value> {
    dashboard["panels"]
        .as_array()
        .expect("a dashboard has panels")
        .clone()
}

/// A panel's queries.
pub fn targets(panel: &Value) -> Vec<Value> {
    panel["targets"].as_array().cloned().unwrap_or_default()
}

/// A query with its variables filled in, and Grafana's own macro.
pub fn filled(target: &Value, values: &BTreeMap<String, String>) -> String {
    let rate_interval = match target["interval"].as_str() {
        Some("1m") => "4m",
        _ => "1m",
    };
    let query = target["expr"].as_str().expect("a target has a query");
    interpolated(&query.replace("$__rate_interval", rate_interval), values)
}

/// A text with its variables filled in.
pub fn interpolated(text: &str, values: &BTreeMap<String, String>) -> String {
    let filled = values.iter().fold(text.to_owned(), |text, (name, value)| {
        text.replace(&format!("${name}"), value)
    });
    assert!(
        !filled.contains('$'),
        "a variable without a value: {filled}"
    );
    filled
}
