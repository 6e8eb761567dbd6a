//! CloudFormation's custom resource protocol: read the request, deliver exactly one response.
//! <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref.html>

use std::fmt;
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::header::CONTENT_TYPE;
use reqwest::{StatusCode, Url};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::config::Settings;
use crate::deadline::Deadline;
use crate::error::SetupError;
use crate::secret::Secret;
use crate::value;

/// A response body may have 4,096 bytes:
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html>.
/// Ids take up to 2 KB of them.
const MAX_BODY_BYTES: usize = 4096;

/// One attempt must leave time for others in the shortest of deadlines.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

/// A checked request.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub task: Task,
    /// The template's properties, all of them texts.
    pub properties: Map<String, Value>,
    /// Those of before an update.
    pub old_properties: Map<String, Value>,
    /// The stack that asks.
    pub stack_id: String,
    response_url: Secret,
    request_id: String,
    logical_resource_id: String,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Task {
    /// Make it.
    Create,
    /// Make it as the new properties say.
    Update {
        /// The resource there is.
        id: PhysicalId,
    },
    /// Take it away.
    Delete {
        /// The resource there is.
        id: PhysicalId,
    },
    /// A request type that CloudFormation doesn't have today.
    Unknown {
        /// The resource there is, if any.
        id: PhysicalId,
        /// The request type.
        name: String,
    },
}

/// `amg/<workspace id>/<data source uid>`: a change of either is a replacement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct PhysicalId(String);

/// The one answer to a request.
#[derive(Clone, Debug)]
pub struct Response {
    id: PhysicalId,
    outcome: Result<Map<String, Value>, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Body<'a> {
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    physical_resource_id: &'a PhysicalId,
    stack_id: &'a str,
    request_id: &'a str,
    logical_resource_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Map<String, Value>>,
}

/// Whether a payload is meant as a CloudFormation request.
pub fn is_request(payload: &Value) -> bool {
    payload.get("RequestType").is_some() || payload.get("ResponseURL").is_some()
}

impl Request {
    /// Reads a request. Only what the answer needs must be right: every other mistake is for the
    /// answer to tell.
    ///
    /// # Errors
    /// There is no address or no id to answer to.
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
            response_url: Secret::new(response_url),
            stack_id: text("StackId")?,
            request_id: text("RequestId")?,
            logical_resource_id: text("LogicalResourceId")?,
        })
    }

    /// Delivers the response.
    ///
    /// # Errors
    /// The URL refused it, or didn't take it in time.
    pub async fn respond(
        &self,
        http: &reqwest::Client,
        response: &Response,
        deadline: &Deadline,
    ) -> Result<(), SetupError> {
        deadline.doing("answering CloudFormation");
        match &response.outcome {
            Ok(_) => tracing::info!("answering CloudFormation: SUCCESS, {}", response.id),
            Err(reason) => tracing::error!("answering CloudFormation: FAILED, {reason}"),
        }
        let body = self.body(response);
        let pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times();
        let attempt = || self.put(http, body.clone());
        let delivery = async {
            Ok(attempt
                .retry(pauses)
                .when(|failure| failure.is_transient)
                .await)
        };
        match deadline.guard(deadline.response(), delivery).await? {
            Ok(()) => Ok(()),
            Err(failure) => Err(SetupError::ResponseUndelivered(failure.cause)),
        }
    }

    async fn put(&self, http: &reqwest::Client, body: Vec<u8>) -> Result<(), Undelivered> {
        let put = http
            .put(self.response_url.expose())
            // The signature of the URL is over an empty content type; any other is refused.
            .header(CONTENT_TYPE, "")
            .timeout(ATTEMPT_TIMEOUT)
            .body(body);
        match put.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => Err(Undelivered {
                is_transient: answer.status().is_server_error()
                    || answer.status() == StatusCode::TOO_MANY_REQUESTS,
                cause: format!("the ResponseURL answered {}", answer.status()),
            }),
            Err(error) => Err(Undelivered {
                is_transient: true,
                cause: startup::error_chain(&error.without_url()),
            }),
        }
    }

    fn body(&self, response: &Response) -> Vec<u8> {
        let (status, mut reason, data) = match &response.outcome {
            Ok(data) => ("SUCCESS", None, Some(data)),
            Err(reason) => ("FAILED", Some(reason.as_str()), None),
        };
        loop {
            let body = serde_json::to_vec(&Body {
                status,
                reason,
                physical_resource_id: &response.id,
                stack_id: &self.stack_id,
                request_id: &self.request_id,
                logical_resource_id: &self.logical_resource_id,
                data: data.filter(|data| !data.is_empty()),
            })
            .expect("BUG: texts serialise");
            match reason {
                Some(text) if body.len() > MAX_BODY_BYTES && !text.is_empty() => {
                    reason = Some(&text[..text.floor_char_boundary(text.len() * 3 / 4)]);
                }
                _ => return body,
            }
        }
    }
}

struct Undelivered {
    is_transient: bool,
    cause: String,
}

/// The answer may hold what the stack's outputs show: it goes over plain HTTP to this machine only.
fn check_response_url(text: &str) -> Result<(), SetupError> {
    let url = Url::parse(text).ok();
    let is_fit = url.is_some_and(|url| match url.scheme() {
        "https" => true,
        "http" => startup::is_loopback(&url),
        _ => false,
    });
    is_fit
        .then_some(())
        .ok_or_else(|| SetupError::InvalidEvent("ResponseURL is not https://".into()))
}

impl Response {
    /// It is done; `data` is what `Fn::GetAtt` gives.
    pub fn success(id: PhysicalId, data: Map<String, Value>) -> Self {
        Self {
            id,
            outcome: Ok(data),
        }
    }

    /// It is not done.
    pub fn failed(id: PhysicalId, error: &SetupError) -> Self {
        Self {
            id,
            outcome: Err(format!(
                "{}: {}",
                error.error_type(),
                startup::error_chain(error)
            )),
        }
    }

    /// `SUCCESS` or `FAILED`.
    pub fn status(&self) -> &'static str {
        if self.outcome.is_ok() {
            "SUCCESS"
        } else {
            "FAILED"
        }
    }

    /// Why it is not done.
    pub fn reason(&self) -> Option<&str> {
        self.outcome.as_ref().err().map(String::as_str)
    }
}

impl PhysicalId {
    /// The resource that `settings` describe.
    pub fn of(settings: &Settings) -> Self {
        let (workspace, uid) = (&settings.grafana_workspace, &settings.wanted.uid);
        Self::described((workspace.clone(), uid.clone()))
    }

    /// The resource with that workspace and data source uid.
    pub fn described((workspace, uid): (String, String)) -> Self {
        Self(format!("amg/{workspace}/{uid}"))
    }

    /// What a Create that failed before it could make anything answers.
    pub fn nothing_made() -> Self {
        Self("amg/nothing-made".to_owned())
    }

    /// Whether this function never answered with this id. CloudFormation makes an id up for a resource
    /// whose Create it never had an answer of.
    pub fn is_made_up(&self) -> bool {
        self.parts().is_none() && *self != Self::nothing_made()
    }

    /// Workspace id and data source uid; `None` for an id that stands for nothing made.
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
    fn a_success_has_no_reason_and_a_failure_no_data() {
        let request = request(&json!({})).unwrap();
        let data = Map::from_iter([("DataSourceConfigured".to_owned(), json!("true"))]);
        let id = PhysicalId("amg/g-0123456789/amp".into());
        let body = request.body(&Response::success(id.clone(), data));
        assert_eq!(
            serde_json::from_slice::<Value>(&body).unwrap(),
            json!({
                "Status": "SUCCESS", "PhysicalResourceId": "amg/g-0123456789/amp",
                "StackId": "arn:aws:cloudformation:us-east-2:111122223333:stack/s/1",
                "RequestId": "r-1", "LogicalResourceId": "GrafanaDataSource",
                "Data": {"DataSourceConfigured": "true"},
            })
        );
        let error = SetupError::WorkspaceNotFound("g-0123456789".into());
        let body: Value =
            serde_json::from_slice(&request.body(&Response::failed(id, &error))).unwrap();
        assert_eq!(body["Status"], "FAILED");
        assert!(
            body["Reason"]
                .as_str()
                .unwrap()
                .starts_with("WorkspaceNotFound: ")
        );
        assert_eq!(body.get("Data"), None);
    }

    #[test]
    fn a_long_reason_is_cut_to_the_limit_of_the_body() {
        let id = "x".repeat(1024);
        let request = request(&json!({"RequestType": "Delete", "PhysicalResourceId": id})).unwrap();
        let Task::Delete { id } = request.task.clone() else {
            panic!("{:?}", request.task)
        };
        for text in ["\u{1}", "\"", "ä", "𝄞", "a"] {
            let error = SetupError::InvalidConfiguration(text.repeat(5_000));
            let body = request.body(&Response::failed(id.clone(), &error));
            assert!(body.len() <= MAX_BODY_BYTES, "{text:?}: {}", body.len());
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(body["Reason"].as_str().unwrap().len() > 100, "{text:?}");
        }
    }

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
