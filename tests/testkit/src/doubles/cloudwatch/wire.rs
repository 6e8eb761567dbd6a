//! The two protocols CloudWatch's clients speak: `rpc-v2-cbor` (the Rust SDK) and `x-amz-json-1.0`
//! (the AWS CLI and boto3).

use std::fmt;
use std::io::Read;

use axum::body::Body;
use axum::http::{HeaderMap, Response, header, request};
use ciborium::tag::Required;
use flate2::read::GzDecoder;
use serde::de::{DeserializeOwned, Error, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::failure::{Failure, Refusal};

/// The service's name in both protocols, from botocore's model (`targetPrefix`).
const SERVICE: &str = "GraniteServiceVersion20100801";

/// CBOR's tag for seconds since 1970: <https://www.rfc-editor.org/rfc/rfc8949#section-3.4.2>.
const EPOCH_SECONDS: u64 = 1;

#[derive(Clone, Copy)]
pub(super) enum Protocol {
    Cbor,
    Json,
}

impl Protocol {
    /// The protocol and the operation a request is meant for.
    pub(super) fn of(parts: &request::Parts) -> Option<(Self, &str)> {
        if header(&parts.headers, "smithy-protocol") == "rpc-v2-cbor" {
            let path = parts.uri.path().strip_prefix("/service/")?;
            let operation = path.strip_prefix(SERVICE)?.strip_prefix("/operation/")?;
            return Some((Self::Cbor, operation));
        }
        let target = header(&parts.headers, "x-amz-target").strip_prefix(SERVICE)?;
        Some((Self::Json, target.strip_prefix('.')?))
    }

    pub(super) fn decode<T: DeserializeOwned>(self, body: &[u8]) -> Result<T, Refusal> {
        match self {
            Self::Cbor => ciborium::from_reader(body).map_err(|error| error.to_string()),
            Self::Json => serde_json::from_slice(body).map_err(|error| error.to_string()),
        }
        .map_err(|message| Failure::SerializationException.because(message))
    }

    /// A success, or the error as an `awsQueryCompatible` service tells it:
    /// <https://smithy.io/2.0/aws/protocols/aws-query-protocol.html#aws-protocols-awsquerycompatible-trait>.
    pub(super) fn answer(self, outcome: Result<impl Serialize, Refusal>) -> Response<Body> {
        let response = Response::builder().header(header::CONTENT_TYPE, self.content_type());
        let response = match self {
            Self::Cbor => response.header("smithy-protocol", "rpc-v2-cbor"),
            Self::Json => response,
        };
        let response = match outcome {
            Ok(output) => response.body(self.encode(&output)),
            Err(refusal) => {
                let (status, code, _) = refusal.failure.on_the_wire();
                let fault = if status < 500 { "Sender" } else { "Receiver" };
                response
                    .status(status)
                    .header("x-amzn-query-error", format!("{code};{fault}"))
                    .body(self.encode(&refusal))
            }
        };
        response.expect("every header here is plain ASCII")
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Cbor => "application/cbor",
            Self::Json => "application/x-amz-json-1.0",
        }
    }

    fn encode(self, output: &impl Serialize) -> Body {
        let mut body = Vec::new();
        match self {
            Self::Cbor => ciborium::into_writer(output, &mut body).map_err(|e| e.to_string()),
            Self::Json => serde_json::to_writer(&mut body, output).map_err(|e| e.to_string()),
        }
        .expect("an output of this module's own types can be encoded");
        Body::from(body)
    }
}

/// A header's text, empty where it is absent.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

/// The body without its gzip.
pub(super) fn unpack(gzip: bool, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    if !gzip {
        return Ok(body.to_vec());
    }
    let mut unpacked = Vec::new();
    match GzDecoder::new(body).read_to_end(&mut unpacked) {
        Ok(_) => Ok(unpacked),
        Err(error) => Err(Failure::SerializationException.because(error.to_string())),
    }
}

impl Serialize for Refusal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let (_, _, shape) = self.failure.on_the_wire();
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("__type", &format!("com.amazonaws.cloudwatch#{shape}"))?;
        // The model spells InternalServiceFault's one member with a capital.
        let message = match self.failure {
            Failure::InternalServiceError => "Message",
            _ => "message",
        };
        map.serialize_entry(message, &self.message)?;
        map.end()
    }
}

/// The output of an operation that has none: `BF FF` in CBOR, `{}` in JSON.
pub(super) struct NoOutput;

impl Serialize for NoOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_map(None)?.end()
    }
}

/// A double, in any of the forms that clients write one: CBOR and JSON integers too, and botocore's
/// JSON words for what JSON has no number for.
#[derive(Clone, Copy)]
pub(super) struct Number(pub(super) f64);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(Self)
    }
}

struct NumberVisitor;

impl Visitor<'_> for NumberVisitor {
    type Value = f64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }

    fn visit_f64<E>(self, value: f64) -> Result<f64, E> {
        Ok(value)
    }

    fn visit_u64<E>(self, value: u64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_i64<E>(self, value: i64) -> Result<f64, E> {
        Ok(value as f64)
    }

    fn visit_str<E: Error>(self, word: &str) -> Result<f64, E> {
        match word {
            "NaN" => Ok(f64::NAN),
            "Infinity" => Ok(f64::INFINITY),
            "-Infinity" => Ok(f64::NEG_INFINITY),
            _ => Err(E::custom(format!("{word:?} is not a number"))),
        }
    }
}

/// Milliseconds since 1970; on the wire seconds, which CBOR marks with a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Timestamp(pub(super) i64);

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Number(seconds) = if deserializer.is_human_readable() {
            Number::deserialize(deserializer)?
        } else {
            Required::<Number, EPOCH_SECONDS>::deserialize(deserializer)?.0
        };
        Ok(Self((seconds * 1000.0).round() as i64))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.0 as f64 / 1000.0;
        if serializer.is_human_readable() {
            seconds.serialize(serializer)
        } else {
            Required::<f64, EPOCH_SECONDS>(seconds).serialize(serializer)
        }
    }
}
