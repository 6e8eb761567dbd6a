//! The request.

use reqwest::Url;
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::physical_id::PhysicalId;
use crate::error::SetupError;

/// A checked request.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub(crate) task: Task,
    /// The template's properties.
    pub properties: Map<String, Value>,
    /// The properties before an update.
    pub(crate) old_properties: Map<String, Value>,
    /// The stack that asks.
    pub(crate) stack_id: String,
    pub(super) response_url: SecretString,
    pub(super) request_id: String,
    pub(super) logical_resource_id: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Task {
    Create,
    Update {
        /// The existing resource.
        id: PhysicalId,
    },
    Delete {
        /// The existing resource.
        id: PhysicalId,
    },
    /// A request type that CloudFormation doesn't have today.
    Unknown {
        /// The existing resource, if any.
        id: PhysicalId,
        /// The request type.
        name: String,
    },
}

/// Whether a payload is a CloudFormation request, right or wrong.
pub(crate) fn is_request(payload: &Value) -> bool {
    payload.get("RequestType").is_some() || payload.get("ResponseURL").is_some()
}

impl Request {
    /// Reads a request. Only the fields that a response needs must be right: the response reports every
    /// other mistake.
    ///
    /// # Errors
    /// A field that the response needs is missing, or the ResponseURL is not acceptable.
    pub fn parse(payload: &Value) -> Result<Self, SetupError> {
        let text = |name: &str| {
            let text = payload
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty());
            text.map(str::to_owned)
                .ok_or_else(|| SetupError::InvalidEvent(format!("{name} is missing")))
        };
        let response_url = text("ResponseURL")?;
        check_response_url(&response_url)?;
        let id = text("PhysicalResourceId").map_or_else(|_| PhysicalId::nothing_made(), PhysicalId);
        let task = match payload
            .get("RequestType")
            .and_then(Value::as_str)
            .unwrap_or_default()
        {
            "Create" => Task::Create,
            "Update" => Task::Update { id },
            "Delete" => Task::Delete { id },
            other => Task::Unknown {
                id,
                name: other.to_owned(),
            },
        };
        let object = |name: &str| payload.get(name).and_then(Value::as_object).cloned();
        Ok(Self {
            task,
            properties: object("ResourceProperties").unwrap_or_default(),
            old_properties: object("OldResourceProperties").unwrap_or_default(),
            response_url: SecretString::from(response_url),
            stack_id: text("StackId")?,
            request_id: text("RequestId")?,
            logical_resource_id: text("LogicalResourceId")?,
        })
    }
}

/// The response may contain what the stack's outputs show, so plain HTTP is accepted for loopback
/// addresses only.
fn check_response_url(text: &str) -> Result<(), SetupError> {
    let url = Url::parse(text).ok();
    url.is_some_and(|url| startup::may_carry_secrets(&url))
        .then_some(())
        .ok_or_else(|| SetupError::InvalidEvent("ResponseURL is not https://".into()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(extra: &Value) -> Result<Request, SetupError> {
        let mut payload = json!({
            "RequestType": "Create",
            "ResponseURL": "https://cloudformation-custom-resource-response-useast2.s3.us-east-2.amazonaws.com/x?X-Amz-Signature=abc",
            "StackId": "arn:aws:cloudformation:us-east-2:111122223333:stack/s/1",
            "RequestId": "r-1",
            "LogicalResourceId": "GrafanaDataSource",
        });
        let fields = payload.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        Request::parse(&payload)
    }

    #[test]
    fn the_response_url_is_not_printed() {
        let request = request(&json!({})).unwrap();
        assert!(!format!("{request:?}").contains("X-Amz-Signature"));
        let error =
            self::request(&json!({"ResponseURL": "ftp://x/?X-Amz-Signature=abc"})).unwrap_err();
        assert!(!format!("{error:?} {error}").contains("abc"), "{error}");
    }

    #[test]
    fn what_the_answer_needs_must_be_there() {
        for name in ["ResponseURL", "StackId", "RequestId", "LogicalResourceId"] {
            let error = request(&json!({name: null})).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
        }
        let task = request(&json!({"RequestType": "Explode"})).unwrap().task;
        assert!(matches!(task, Task::Unknown { name, .. } if name == "Explode"));
    }
}
