//! Signature Version 4, checked from the server's side, after the specification alone:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.
//! Shares no code with the signer under test, and is held to AWS's published test suite.

mod canonical;

use std::time::{Duration, SystemTime};

use axum::http::{HeaderMap, request::Parts};
use chrono::{DateTime, NaiveDateTime, Utc};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::{Digest as _, Sha256};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// How far a request's date may be from the server's clock.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

const DATE_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// What a request is signed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Goes over the wire in clear.
    pub access_key_id: String,
    /// Never leaves the signer.
    pub secret_access_key: String,
    /// Comes with temporary credentials, such as a Lambda function's.
    pub session_token: Option<String>,
}

impl Credentials {
    /// Temporary credentials of nobody, easy to find in a log they must not be in.
    pub fn example() -> Self {
        Self {
            access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(),
            secret_access_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".to_owned(),
            session_token: Some("IQoJb3JpZ2luX2VjEXAMPLE+SESSION/TOKEN//////////==".to_owned()),
        }
    }

    /// The variables every AWS SDK takes them from.
    pub fn environment(&self) -> [(&'static str, String); 3] {
        let Self {
            access_key_id,
            secret_access_key,
            session_token,
        } = self.clone();
        [
            ("AWS_ACCESS_KEY_ID", access_key_id),
            ("AWS_SECRET_ACCESS_KEY", secret_access_key),
            ("AWS_SESSION_TOKEN", session_token.unwrap_or_default()),
        ]
    }
}

/// What a signature covers, as it came over the wire.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// In capitals.
    pub method: &'a str,
    /// As sent, percent-encoded.
    pub path: &'a str,
    /// As sent, without its `?`.
    pub query: &'a str,
    /// All headers, the signature's own among them.
    pub headers: &'a HeaderMap,
    /// As sent, compressed or not.
    pub body: &'a [u8],
}

impl<'a> Request<'a> {
    /// A request taken from axum.
    pub fn new(parts: &'a Parts, body: &'a [u8]) -> Self {
        Self {
            method: parts.method.as_str(),
            path: parts.uri.path(),
            query: parts.uri.query().unwrap_or_default(),
            headers: &parts.headers,
            body,
        }
    }

    fn header(&self, name: &str) -> Option<&'a str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// Why a request is refused, in AWS's own words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "each variant's message tells it")]
pub enum Refusal {
    #[error("Missing Authentication Token")]
    Unsigned,
    #[error("Authorization header requires '{0}' parameter.")]
    Incomplete(&'static str),
    #[error("The security token included in the request is invalid.")]
    UnknownCredentials,
    #[error("Credential should be scoped to {expected}, not '{scope}'.")]
    WrongScope { scope: String, expected: String },
    #[error("Signature expired: {signed} is now earlier than {now} - 5 min.")]
    Expired { signed: String, now: String },
    #[error("Signature not yet current: {signed} is still later than {now} + 5 min.")]
    NotYetCurrent { signed: String, now: String },
    #[error("'{0}' must be a 'SignedHeader' in the AWS Authorization.")]
    HeaderNotSigned(String),
    #[error("The value of 'x-amz-content-sha256' is not the hash of the body.")]
    WrongBodyHash,
    /// AWS shows what it has calculated, session token and all.
    #[error(
        "The request signature we calculated does not match the signature you provided. Check your \
         AWS Secret Access Key and signing method. Consult the service documentation for \
         details.\n\nThe Canonical String for this request should have been\n\
         '{canonical_request}'\n\nThe String-to-Sign should have been\n'{string_to_sign}'\n"
    )]
    Mismatch {
        canonical_request: String,
        string_to_sign: String,
    },
}

impl Refusal {
    /// The value of `x-amzn-ErrorType`:
    /// <https://docs.aws.amazon.com/prometheus/latest/APIReference/CommonErrors.html>
    pub fn error_type(&self) -> &'static str {
        match self {
            Self::Unsigned => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownCredentials => "UnrecognizedClientException",
            Self::WrongScope { .. }
            | Self::Expired { .. }
            | Self::NotYetCurrent { .. }
            | Self::HeaderNotSigned(_)
            | Self::WrongBodyHash
            | Self::Mismatch { .. } => "InvalidSignatureException",
        }
    }
}

/// A service that knows one pair of keys.
#[derive(Clone, Debug)]
pub struct Verifier {
    /// Whose requests are let in.
    pub credentials: Credentials,
    /// Where the service is.
    pub region: String,
    /// The service's name in signatures, `aps` for AMP.
    pub service: &'static str,
}

impl Verifier {
    /// Lets a rightly signed request pass.
    ///
    /// # Errors
    /// The first check that failed.
    pub fn verify(&self, request: &Request<'_>, now: SystemTime) -> Result<(), Refusal> {
        let header = request.header("authorization").ok_or(Refusal::Unsigned)?;
        let authorization = Authorization::parse(header)?;
        let date = request
            .header("x-amz-date")
            .ok_or(Refusal::Incomplete("X-Amz-Date"))?;
        self.check_credentials(request, &authorization)?;
        self.check_scope(&authorization, date)?;
        check_date(date, now)?;
        check_signed_headers(request, &authorization)?;
        let body_hash = body_hash(request)?;

        let canonical_request =
            canonical::request(request, &authorization.signed_headers, &body_hash);
        let scope = authorization.scope;
        let hash = hex(&Sha256::digest(&canonical_request));
        let string_to_sign = format!("{ALGORITHM}\n{date}\n{scope}\n{hash}");
        if self.signature(scope, &string_to_sign) == authorization.signature {
            Ok(())
        } else {
            Err(Refusal::Mismatch {
                canonical_request,
                string_to_sign,
            })
        }
    }

    fn check_credentials(
        &self,
        request: &Request<'_>,
        authorization: &Authorization<'_>,
    ) -> Result<(), Refusal> {
        let token = request.header("x-amz-security-token");
        let known = authorization.access_key_id == self.credentials.access_key_id
            && token == self.credentials.session_token.as_deref();
        if known {
            Ok(())
        } else {
            Err(Refusal::UnknownCredentials)
        }
    }

    fn check_scope(&self, authorization: &Authorization<'_>, date: &str) -> Result<(), Refusal> {
        let day = date.get(..8).ok_or(Refusal::Incomplete("X-Amz-Date"))?;
        let expected = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        if authorization.scope == expected {
            Ok(())
        } else {
            Err(Refusal::WrongScope {
                scope: authorization.scope.to_owned(),
                expected,
            })
        }
    }

    fn signature(&self, scope: &str, string_to_sign: &str) -> String {
        let secret = format!("AWS4{}", self.credentials.secret_access_key).into_bytes();
        let key = scope
            .split('/')
            .fold(secret, |key, part| hmac_sha256(&key, part));
        hex(&hmac_sha256(&key, string_to_sign))
    }
}

/// The parts of an `Authorization` header.
struct Authorization<'a> {
    access_key_id: &'a str,
    scope: &'a str,
    signed_headers: Vec<&'a str>,
    signature: &'a str,
}

impl<'a> Authorization<'a> {
    fn parse(header: &'a str) -> Result<Self, Refusal> {
        let parameters = header.strip_prefix(ALGORITHM).ok_or(Refusal::Unsigned)?;
        let find = |name: &'static str| {
            let pairs = parameters
                .split(',')
                .filter_map(|pair| pair.trim().split_once('='));
            let mut values = pairs
                .filter(|(key, _)| *key == name)
                .map(|(_, value)| value);
            values
                .next()
                .filter(|value| !value.is_empty())
                .ok_or(Refusal::Incomplete(name))
        };
        let (access_key_id, scope) = find("Credential")?
            .split_once('/')
            .ok_or(Refusal::Incomplete("Credential"))?;
        let signed_headers = find("SignedHeaders")?.split(';').collect();
        Ok(Self {
            access_key_id,
            scope,
            signed_headers,
            signature: find("Signature")?,
        })
    }
}

fn check_date(date: &str, now: SystemTime) -> Result<(), Refusal> {
    let signed = NaiveDateTime::parse_from_str(date, DATE_FORMAT)
        .map_err(|_| Refusal::Incomplete("X-Amz-Date"))?;
    let signed_at = SystemTime::from(signed.and_utc());
    let signed = date.to_owned();
    let now_text = DateTime::<Utc>::from(now).format(DATE_FORMAT).to_string();
    if signed_at + MAX_SKEW < now {
        Err(Refusal::Expired {
            signed,
            now: now_text,
        })
    } else if now + MAX_SKEW < signed_at {
        Err(Refusal::NotYetCurrent {
            signed,
            now: now_text,
        })
    } else {
        Ok(())
    }
}

/// `host` and every `x-amz-` header sent have to be signed.
fn check_signed_headers(
    request: &Request<'_>,
    authorization: &Authorization<'_>,
) -> Result<(), Refusal> {
    let sent = request.headers.keys().map(axum::http::HeaderName::as_str);
    let obligatory = sent
        .filter(|name| name.starts_with("x-amz-"))
        .chain(["host"]);
    for name in obligatory {
        if !authorization.signed_headers.contains(&name) {
            return Err(Refusal::HeaderNotSigned(name.to_owned()));
        }
    }
    for name in &authorization.signed_headers {
        if !request.headers.contains_key(*name) {
            return Err(Refusal::HeaderNotSigned((*name).to_owned()));
        }
    }
    Ok(())
}

fn body_hash(request: &Request<'_>) -> Result<String, Refusal> {
    let hash = hex(&Sha256::digest(request.body));
    match request.header("x-amz-content-sha256") {
        Some(declared) if declared != hash => Err(Refusal::WrongBodyHash),
        _ => Ok(hash),
    }
}

fn hmac_sha256(key: &[u8], message: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
