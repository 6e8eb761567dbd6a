//! What a CloudWatch dashboard's body shows.

use serde_json::Value;

/// One row of a metric widget, written out.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Namespace, metric and dimensions; for an expression that alone.
    pub fields: Vec<String>,
    /// For a metric.
    pub statistic: String,
}

/// The rows of every metric widget.
pub fn rows(dashboard: &Value) -> Vec<Row> {
    let mut rows = Vec::new();
    for widget in dashboard["widgets"]
        .as_array()
        .expect("a dashboard has widgets")
    {
        let mut above = Row::default();
        for row in widget["properties"]["metrics"]
            .as_array()
            .into_iter()
            .flatten()
        {
            above = written_out(row.as_array().expect("a row is a list"), &above);
            rows.push(above.clone());
        }
    }
    rows
}

/// `.` repeats one field of the row above, `...` all that are left.
fn written_out(row: &[Value], above: &Row) -> Row {
    let mut written = Row::default();
    for field in row {
        let at = written.fields.len();
        match field {
            Value::String(field) if field == "..." => {
                written.fields.extend_from_slice(&above.fields[at..]);
            }
            Value::String(field) if field == "." => written.fields.push(above.fields[at].clone()),
            Value::String(field) => written.fields.push(field.clone()),
            options => {
                written
                    .fields
                    .extend(options["expression"].as_str().map(String::from));
                written.statistic = options["stat"].as_str().unwrap_or_default().to_owned();
            }
        }
    }
    written
}
