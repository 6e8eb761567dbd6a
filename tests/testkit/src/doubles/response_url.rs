//! CloudFormation's ResponseURL: a presigned S3 URL, and what CloudFormation makes of the object
//! that is put there.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    body::{Body, Bytes},
    http::{StatusCode, header, request::Parts},
    response::Response,
};
use serde_json::Value;

use crate::doubles::faults::{Faults, lock};
use crate::doubles::server::{Server, Service};

/// The signature in every URL, easy to find in a log it must not be in.
pub const SIGNATURE: &str = "5ca1ab1e0ddba11f005ba11ad0be0b0e";

/// <https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/crpg-ref-responses.html>
const MAX_BODY_BYTES: usize = 4096;

/// A bucket that takes responses.
#[derive(Debug)]
pub struct ResponseUrl {
    server: Server,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    faults: Faults,
    attempts: AtomicUsize,
    accepted: Mutex<Vec<Value>>,
}

impl ResponseUrl {
    /// Starts the bucket.
    ///
    /// # Errors
    /// No free port.
    pub async fn start() -> anyhow::Result<Self> {
        let state = Arc::new(State::default());
        Ok(Self {
            server: Server::start(Arc::clone(&state)).await?,
            state,
        })
    }

    /// A presigned URL.
    pub fn url(&self) -> String {
        let key = "arn%3Aaws%3Acloudformation%3Aus-east-2%3A111122223333%3Astack/s%7CGrafana%7C1";
        format!(
            "{}/{key}?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20260101T000000Z\
             &X-Amz-SignedHeaders=host&X-Amz-Expires=7200\
             &X-Amz-Credential=AKIAEXAMPLE%2F20260101%2Fus-east-2%2Fs3%2Faws4_request\
             &X-Amz-Signature={SIGNATURE}",
            self.server.url()
        )
    }

    /// Faults to come, for operation `PUT`.
    pub fn faults(&self) -> &Faults {
        &self.state.faults
    }

    /// The responses that were accepted.
    pub fn accepted(&self) -> Vec<Value> {
        lock(&self.state.accepted).clone()
    }

    /// How often somebody tried, faults included.
    pub fn attempts(&self) -> usize {
        self.state.attempts.load(Ordering::SeqCst)
    }
}

impl State {
    fn put(&self, parts: &Parts, body: &Bytes) -> Result<(), (u16, &'static str)> {
        let query = parts.uri.query().unwrap_or_default();
        if parts.method != "PUT" || !query.ends_with(&format!("X-Amz-Signature={SIGNATURE}")) {
            return Err((403, "SignatureDoesNotMatch"));
        }
        // The signature is over an empty content type:
        // https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cfn-lambda-function-code-cfnresponsemodule.html
        let content_type = parts.headers.get(header::CONTENT_TYPE);
        if content_type.is_some_and(|content_type| !content_type.is_empty()) {
            return Err((403, "SignatureDoesNotMatch"));
        }
        // https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
        if !parts.headers.contains_key(header::CONTENT_LENGTH) {
            return Err((411, "MissingContentLength"));
        }
        // From here on CloudFormation's own rules, "Response objects" of the page above: a response
        // that breaks one leaves the stack waiting.
        let response: Value = serde_json::from_slice(body).map_err(|_| (400, "NotJson"))?;
        let text = |name: &str| response[name].as_str().unwrap_or_default();
        let ids = [
            "PhysicalResourceId",
            "StackId",
            "RequestId",
            "LogicalResourceId",
        ];
        let is_fit = body.len() <= MAX_BODY_BYTES
            && ids.iter().all(|name| !text(name).is_empty())
            && text("PhysicalResourceId").len() <= 1024
            && match text("Status") {
                "SUCCESS" => true,
                "FAILED" => !text("Reason").is_empty(),
                _ => false,
            };
        if !is_fit {
            return Err((400, "InvalidResponseObject"));
        }
        lock(&self.accepted).push(response);
        Ok(())
    }
}

impl Service for State {
    type Error = u16;

    fn operation(&self, parts: &Parts) -> String {
        self.attempts.fetch_add(1, Ordering::SeqCst);
        parts.method.to_string()
    }

    fn serve(&self, parts: &Parts, body: &Bytes) -> Response {
        match self.put(parts, body) {
            Ok(()) => Response::new(Body::empty()),
            Err((status, code)) => error(status, code),
        }
    }

    fn failure(&self, _operation: &str, status: u16) -> Response {
        error(status, "InternalError")
    }

    fn faults(&self) -> &Faults {
        &self.faults
    }
}

/// S3's errors are XML.
fn error(status: u16, code: &str) -> Response {
    let body = format!("<Error><Code>{code}</Code></Error>");
    Response::builder()
        .status(StatusCode::from_u16(status).expect("a status code"))
        .header(header::CONTENT_TYPE, "application/xml")
        .body(Body::from(body))
        .expect("plain headers")
}
