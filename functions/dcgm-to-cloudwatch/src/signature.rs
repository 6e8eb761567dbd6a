//! Signs requests that no SDK sends (Signature Version 4).
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>

use std::time::SystemTime;

use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use crate::error::Cause;

/// Who takes a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scope<'a> {
    /// The service's name in signatures, `aps`.
    pub(crate) service: &'a str,
    /// `us-east-2`
    pub(crate) region: &'a str,
}

/// These `headers` of a POST of `body`, and those that sign it now.
///
/// # Errors
/// There are no credentials, or they or the URL hold what no request may.
pub(crate) async fn signed(
    headers: &[(&'static str, &'static str)],
    url: &str,
    body: &[u8],
    scope: Scope<'_>,
    credentials: &SharedCredentialsProvider,
) -> Result<HeaderMap, Cause> {
    let identity = credentials.provide_credentials().await?.into();
    #[expect(
        clippy::disallowed_methods,
        reason = "a signature is valid for five minutes only"
    )]
    let now = SystemTime::now();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(now)
        .settings(SigningSettings::default())
        .build()?
        .into();
    let body = SignableBody::Bytes(body);
    let request = SignableRequest::new("POST", url, headers.iter().copied(), body)?;
    let (instructions, _) = sign(request, &parameters)?.into_parts();
    let mut signed = HeaderMap::new();
    for (name, value) in headers {
        let name = HeaderName::from_static(name);
        signed.insert(name, HeaderValue::from_static(value));
    }
    for (name, value) in instructions.headers() {
        let mut value = HeaderValue::from_str(value)?;
        value.set_sensitive(true);
        signed.insert(HeaderName::from_bytes(name.as_bytes())?, value);
    }
    Ok(signed)
}
