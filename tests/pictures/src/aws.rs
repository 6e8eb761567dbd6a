//! Calls of AWS's JSON protocol, for services that look at a signature without recomputing it.

use reqwest::RequestBuilder;
use testkit::lambda::REGION;

/// A service, as it is signed for and as its operations are called.
pub(crate) type Service = (&'static str, &'static str);

pub(crate) const CLOUDWATCH: Service = ("monitoring", "GraniteServiceVersion20100801");
pub(crate) const LOGS: Service = ("logs", "Logs_20140328");

pub(crate) fn request(
    url: &str,
    service: Service,
    operation: &str,
    body: String,
) -> RequestBuilder {
    let (name, target) = service;
    let signed = format!(
        "AWS4-HMAC-SHA256 Credential=123456789012/20260101/{REGION}/{name}/aws4_request, \
         SignedHeaders=host, Signature={}",
        "0".repeat(64)
    );
    reqwest::Client::new()
        .post(url)
        .header("x-amz-target", format!("{target}.{operation}"))
        .header("x-amz-date", "20260101T000000Z")
        .header("authorization", signed)
        .header("content-type", "application/x-amz-json-1.0")
        .body(body)
}
