//! The response, and its delivery.

use std::time::Duration;

use backon::Retryable;
use reqwest::StatusCode;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use serde::Serialize;
use serde_json::{Map, Value};
use startup::Deadline;

use super::physical_id::PhysicalId;
use super::request::Request;
use crate::error::SetupError;
use crate::schedule::response_end;

/// A response body may have 4,096 bytes:
/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html>.
/// Ids take up to 2 KB of them.
const MAX_BODY_BYTES: usize = 4096;

/// Short enough that even the shortest deadline has time for several attempts.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The only response to a request.
#[derive(Clone, Debug)]
pub(crate) struct Response {
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

impl Response {
    /// The task is done. `data` is what `Fn::GetAtt` returns.
    pub(crate) fn success(id: PhysicalId, data: Map<String, Value>) -> Self {
        Self {
            id,
            outcome: Ok(data),
        }
    }

    /// The task is not done.
    pub(crate) fn failed(id: PhysicalId, error: &SetupError) -> Self {
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
    pub(crate) fn status(&self) -> &'static str {
        if self.outcome.is_ok() {
            "SUCCESS"
        } else {
            "FAILED"
        }
    }

    /// Why the task is not done.
    pub(crate) fn reason(&self) -> Option<&str> {
        self.outcome.as_ref().err().map(String::as_str)
    }

    /// Delivers the response to a request.
    ///
    /// # Errors
    /// The URL refused it, or did not accept it in time.
    pub(crate) async fn deliver(
        &self,
        request: &Request,
        http: &reqwest::Client,
        deadline: &Deadline,
    ) -> Result<(), SetupError> {
        deadline.doing("answering CloudFormation");
        match &self.outcome {
            Ok(_) => tracing::info!("answering CloudFormation: SUCCESS, {}", self.id),
            Err(reason) => tracing::error!("answering CloudFormation: FAILED, {reason}"),
        }
        let body = self.body(request);
        let attempt = || put(http, &request.response_url, body.clone());
        let delivery = attempt
            .retry(startup::backoff(FIRST_PAUSE, LONGEST_PAUSE))
            .when(|failure| failure.is_transient);
        let delivered = deadline.guard(response_end(deadline), delivery).await?;
        delivered.map_err(|failure| SetupError::ResponseUndelivered(failure.cause))
    }

    fn body(&self, request: &Request) -> Vec<u8> {
        let (status, mut reason, data) = match &self.outcome {
            Ok(data) => ("SUCCESS", None, Some(data)),
            Err(reason) => ("FAILED", Some(reason.as_str()), None),
        };
        loop {
            let body = serde_json::to_vec(&Body {
                status,
                reason,
                physical_resource_id: &self.id,
                stack_id: &request.stack_id,
                request_id: &request.request_id,
                logical_resource_id: &request.logical_resource_id,
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

async fn put(http: &reqwest::Client, url: &SecretString, body: Vec<u8>) -> Result<(), Undelivered> {
    let put = http
        .put(url.expose_secret())
        // The URL is signed for an empty content type. Any other is refused.
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::request::Task;
    use super::*;

    fn request(extra: &Value) -> Request {
        let mut payload = json!({
            "RequestType": "Create",
            "ResponseURL": "https://cloudformation-custom-resource-response-useast2.s3.us-east-2.amazonaws.com/x?X-Amz-Signature=abc",
            "StackId": "arn:aws:cloudformation:us-east-2:111122223333:stack/s/1",
            "RequestId": "r-1",
            "LogicalResourceId": "GrafanaDataSource",
        });
        let fields = payload.as_object_mut().unwrap();
        fields.extend(extra.as_object().unwrap().clone());
        Request::parse(&payload).unwrap()
    }

    #[test]
    fn a_success_has_no_reason_and_a_failure_no_data() {
        let request = request(&json!({}));
        let data = Map::from_iter([("DataSourceConfigured".to_owned(), json!("true"))]);
        let id = PhysicalId("amg/g-0123456789/amp".into());
        let body = Response::success(id.clone(), data).body(&request);
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
            serde_json::from_slice(&Response::failed(id, &error).body(&request)).unwrap();
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
        let request = request(&json!({"RequestType": "Delete", "PhysicalResourceId": id}));
        let Task::Delete { id } = request.task.clone() else {
            panic!("{:?}", request.task)
        };
        for text in ["\u{1}", "\"", "ä", "𝄞", "a"] {
            let error = SetupError::InvalidConfiguration(text.repeat(5_000));
            let body = Response::failed(id.clone(), &error).body(&request);
            assert!(body.len() <= MAX_BODY_BYTES, "{text:?}: {}", body.len());
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert!(body["Reason"].as_str().unwrap().len() > 100, "{text:?}");
        }
    }
}
