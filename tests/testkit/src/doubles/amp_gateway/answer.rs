//! Bodies as they go over the wire: Prometheus's JSON, AWS's refusals, gzip.

use std::io::Write as _;

use anyhow::Context as _;
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use flate2::{Compression, write::GzEncoder};
use futures_util::{StreamExt as _, stream};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::json;

use super::Operation;
use crate::doubles::sigv4::Refusal;

pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// An answer before it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    content_type: &'static str,
    error_type: Option<&'static str>,
    encoding: Encoding,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    /// What the client accepts.
    Open,
    Plain,
    Gzip,
}

impl Answer {
    pub(super) fn new(status: StatusCode, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        Self {
            status,
            body,
            content_type: "application/json",
            error_type: None,
            encoding: Encoding::Open,
        }
    }

    /// Series of zeros, in members of gzip that are copies of one another.
    pub(super) fn long(mebibytes: usize, packed: bool) -> Self {
        let head = r#"{"status":"success","data":{"resultType":"matrix","result":["#;
        let sample = r#"[1,"0"],"#;
        let series = format!(
            r#"{{"metric":{{"gpu":"0","instance_id":"i-0"}},"values":[{}[1,"0"]]}},"#,
            sample.repeat((1 << 20) / sample.len())
        );
        let tail = r#"{"metric":{},"values":[]}]}}"#;
        let pack = |text: &str| {
            if packed {
                gzip(text.as_bytes())
            } else {
                text.as_bytes().to_vec()
            }
        };
        let body = [pack(head), pack(&series).repeat(mebibytes), pack(tail)].concat();
        Self {
            encoding: if packed {
                Encoding::Gzip
            } else {
                Encoding::Plain
            },
            ..Self::new(StatusCode::OK, body)
        }
    }

    pub(super) fn html(status: StatusCode, body: &'static str) -> Self {
        Self {
            content_type: "text/html",
            ..Self::new(status, body)
        }
    }

    /// Cortex's errors, which are Prometheus's:
    /// <https://github.com/cortexproject/cortex/blob/master/pkg/util/api/response.go>
    pub(super) fn prometheus_error(status: StatusCode, error_type: &str, error: &str) -> Self {
        let body = json!({ "status": "error", "errorType": error_type, "error": error });
        Self::new(status, body.to_string())
    }

    /// The refusals of AWS's front door, as users of AMP report them, for one
    /// <https://github.com/grafana/tempo/issues/2973>.
    pub(super) fn unsigned(refusal: &Refusal) -> Self {
        let message = json!({ "message": refusal.to_string() });
        Self::aws_error(StatusCode::FORBIDDEN, refusal.error_type(), &message)
    }

    /// IAM's refusal, whose key has a capital:
    /// <https://github.com/aws-ia/terraform-aws-eks-blueprints/issues/709>
    pub(super) fn not_authorized(operation: Operation, resource: &str) -> Self {
        let user = format!(
            "arn:aws:sts::{}:assumed-role/under-test/function",
            super::ACCOUNT
        );
        let message = format!(
            "User: {user} is not authorized to perform: aps:{operation:?} on resource: {resource} \
             because no identity-based policy allows the aps:{operation:?} action"
        );
        let message = json!({ "Message": message });
        Self::aws_error(StatusCode::FORBIDDEN, "AccessDeniedException", &message)
    }

    pub(super) fn aws_error(
        status: StatusCode,
        error_type: &'static str,
        body: &serde_json::Value,
    ) -> Self {
        Self {
            error_type: Some(error_type),
            ..Self::new(status, body.to_string())
        }
    }

    /// Nothing answers behind AWS's front door.
    pub(super) fn unavailable(error: &anyhow::Error) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::aws_error(
            status,
            "ServiceUnavailableException",
            &json!({ "message": format!("{error:#}") }),
        )
    }

    pub(super) async fn passed_on(
        reply: Result<reqwest::Response, reqwest::Error>,
    ) -> anyhow::Result<Self> {
        let reply = reply.context("prometheus does not answer")?;
        let status = StatusCode::from_u16(reply.status().as_u16())?;
        let body = reply
            .bytes()
            .await
            .context("prometheus broke off its answer")?;
        Ok(Self::new(status, body))
    }

    /// AMP compresses for whoever says that he can take it.
    pub(super) fn accepted_by(self, headers: &HeaderMap) -> Self {
        let accepted = headers
            .get(header::ACCEPT_ENCODING)
            .and_then(|value| value.to_str().ok());
        let accepts = accepted.is_some_and(|accepted| accepted.contains("gzip"));
        if !accepts || self.encoding != Encoding::Open {
            return self;
        }
        Self {
            body: gzip(&self.body).into(),
            encoding: Encoding::Gzip,
            ..self
        }
    }

    pub(super) fn into_response(self) -> Response {
        let body = self.body.clone();
        self.respond(Body::from(body))
    }

    /// All headers, half of the body, then the end of the connection.
    pub(super) fn cut_in_half(self) -> Response {
        let half = self.body.slice(..self.body.len() / 2);
        // Waiting for a turn lets the server send what it has before it learns of the end.
        let broken = async {
            tokio::task::yield_now().await;
            Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
        };
        let chunks = stream::iter([Ok(half)]).chain(stream::once(broken));
        self.respond(Body::from_stream(chunks))
    }

    fn respond(self, body: Body) -> Response {
        let mut response = (
            self.status,
            [
                (header::CONTENT_TYPE, self.content_type.to_owned()),
                (header::CONTENT_LENGTH, self.body.len().to_string()),
            ],
            body,
        )
            .into_response();
        let headers = response.headers_mut();
        if self.encoding == Encoding::Gzip {
            headers.insert(
                header::CONTENT_ENCODING,
                header::HeaderValue::from_static("gzip"),
            );
        }
        if let Some(error_type) = self.error_type {
            headers.insert(
                "x-amzn-errortype",
                header::HeaderValue::from_static(error_type),
            );
        }
        response
    }
}

/// The parameters of the query string and, if it is one, of the form.
pub(super) fn parameters(parts: &Parts, body: &[u8]) -> Vec<(String, String)> {
    let content_type = parts.headers.get(header::CONTENT_TYPE);
    let is_form = content_type.is_some_and(|value| value.as_bytes().starts_with(FORM.as_bytes()));
    let form = if is_form {
        String::from_utf8_lossy(body)
    } else {
        "".into()
    };
    let query = parts.uri.query().unwrap_or_default();
    query
        .split('&')
        .chain(form.split('&'))
        .filter(|pair| !pair.is_empty())
        .map(decode)
        .collect()
}

fn decode(pair: &str) -> (String, String) {
    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
    let decode = |text: &str| {
        percent_decode_str(&text.replace('+', " "))
            .decode_utf8_lossy()
            .into_owned()
    };
    (decode(name), decode(value))
}

fn gzip(body: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    let packed = encoder.write_all(body).and_then(|()| encoder.finish());
    packed.expect("writing to memory does not fail")
}

pub(super) fn encode_form<'a>(pairs: impl Iterator<Item = &'a (String, String)>) -> String {
    let encode = |text: &'a str| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs = pairs.map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join("&")
}
