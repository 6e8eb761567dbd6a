//! The payload of a manual run.

use serde_json::Value;

use crate::error::SetupError;

/// Whether a manual run only reports what it would do.
///
/// # Errors
/// The payload is none of the accepted forms.
pub(crate) fn is_dry_run(payload: &Value) -> Result<bool, SetupError> {
    let fields = match payload {
        Value::Null => return Ok(false),
        Value::Object(fields) => fields,
        other => {
            return Err(SetupError::InvalidEvent(format!(
                "the payload is {}",
                kind(other)
            )));
        }
    };
    if let Some(name) = fields.keys().find(|name| *name != "dryRun") {
        return Err(SetupError::InvalidEvent(format!(
            "field {name:?} is not known"
        )));
    }
    match fields.get("dryRun") {
        None => Ok(false),
        Some(Value::Bool(dry_run)) => Ok(*dry_run),
        Some(other) => Err(SetupError::InvalidEvent(format!(
            "dryRun is {}, not true or false",
            kind(other)
        ))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_manual_run_takes_no_payload_or_a_dry_run_flag() {
        for (payload, expected) in [
            (json!(null), Some(false)),
            (json!({}), Some(false)),
            (json!({"dryRun": true}), Some(true)),
            (json!({"dryRun": false}), Some(false)),
            (json!({"dryRun": "true"}), None),
            (json!({"dryrun": true}), None),
            (json!([]), None),
            (json!("go"), None),
            (
                json!({"source": "aws.events", "detail-type": "Scheduled Event"}),
                None,
            ),
        ] {
            assert_eq!(is_dry_run(&payload).ok(), expected, "{payload}");
        }
    }
}
