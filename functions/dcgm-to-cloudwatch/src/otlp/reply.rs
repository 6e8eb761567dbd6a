//! CloudWatch's answers to OTLP requests. It has been seen to answer in JSON to protobuf, so both are read.

use serde::Deserialize;
use serde_json::Value;

use super::protobuf::{Field, fields};

/// Points of an accepted request that were refused all the same, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PartialSuccess {
    /// Number of points.
    pub(crate) rejected: u64,
    /// The service's words; they may warn of something even where nothing was rejected.
    pub(crate) message: String,
}

/// Reads the body of a 200; none if it is neither protobuf nor JSON of the schema.
pub(crate) fn partial_success(body: &[u8]) -> Option<PartialSuccess> {
    if body.trim_ascii_start().starts_with(b"{") {
        read_json(body)
    } else {
        read_protobuf(body)
    }
}

/// Code and message of a refusal, in AWS's JSON or in OTLP's `Status`.
pub(crate) fn refusal(body: &[u8]) -> (String, String) {
    #[derive(Default, Deserialize)]
    struct Refusal {
        #[serde(default, rename = "__type", alias = "Code")]
        code: String,
        #[serde(default, alias = "Message")]
        message: String,
    }
    let read: Refusal = serde_json::from_slice(body).unwrap_or_default();
    if !read.message.is_empty() || !read.code.is_empty() {
        let code = read.code.rsplit('#').next().unwrap_or_default();
        return (code.to_owned(), read.message);
    }
    // google.rpc.Status: code 1, message 2.
    let message = fields(body).and_then(|fields| fields.into_iter().find_map(text_of(2)));
    (String::new(), message.unwrap_or_default())
}

fn read_json(body: &[u8]) -> Option<PartialSuccess> {
    #[derive(Deserialize)]
    struct Reply {
        #[serde(default, rename = "partialSuccess", alias = "partial_success")]
        partial: Option<Partial>,
    }
    #[derive(Deserialize)]
    struct Partial {
        #[serde(default, rename = "rejectedDataPoints", alias = "rejected_data_points")]
        rejected: Value,
        #[serde(default, rename = "errorMessage", alias = "error_message")]
        message: String,
    }
    let Some(partial) = serde_json::from_slice::<Reply>(body).ok()?.partial else {
        return Some(PartialSuccess::default());
    };
    // Protobuf's JSON form of an int64 is a text.
    let rejected = match &partial.rejected {
        Value::Null => 0,
        Value::String(text) => text.parse().ok()?,
        number => number.as_u64()?,
    };
    Some(PartialSuccess {
        rejected,
        message: partial.message,
    })
}

/// `partial_success` is field 1; in it the number is field 1 and the message field 2.
fn read_protobuf(body: &[u8]) -> Option<PartialSuccess> {
    let mut read = PartialSuccess::default();
    for field in fields(body)? {
        let (1, Field::Bytes(partial)) = field else {
            continue;
        };
        for field in fields(partial)? {
            match field {
                (1, Field::Number(rejected)) => read.rejected = rejected,
                (2, Field::Bytes(message)) => {
                    read.message = String::from_utf8_lossy(message).into_owned();
                }
                _ => {}
            }
        }
    }
    Some(read)
}

fn text_of(number: u64) -> impl Fn((u64, Field<'_>)) -> Option<String> {
    move |field| match field {
        (at, Field::Bytes(text)) if at == number => {
            Some(String::from_utf8_lossy(text).into_owned())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
    };
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn some(rejected: u64, message: &str) -> Option<PartialSuccess> {
        Some(PartialSuccess {
            rejected,
            message: message.to_owned(),
        })
    }

    #[test]
    fn json_is_read_in_every_spelling() {
        let rows = [
            ("", some(0, "")),
            ("{}", some(0, "")),
            (r#"{"partialSuccess":{}}"#, some(0, "")),
            (r#"{"partialSuccess":null}"#, some(0, "")),
            (
                r#" {"partialSuccess":{"rejectedDataPoints":"3","errorMessage":"labels"}}"#,
                some(3, "labels"),
            ),
            (
                r#"{"partialSuccess":{"rejected_data_points":3,"error_message":"labels"}}"#,
                some(3, "labels"),
            ),
            (r#"{"partialSuccess":{"rejectedDataPoints":"-3"}}"#, None),
            ("{", None),
            ("<html>", None),
        ];
        for (body, expected) in rows {
            assert_eq!(partial_success(body.as_bytes()), expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_tells_its_code_and_message() {
        let text = |code: &str, message: &str| (code.to_owned(), message.to_owned());
        let rows: [(&[u8], _); 4] = [
            (
                br#"{"__type":"com.amazon.coral#ValidationException","message":"too many"}"#,
                text("ValidationException", "too many"),
            ),
            (br#"{"message":"Forbidden"}"#, text("", "Forbidden")),
            (b"\x08\x03\x12\x08too many", text("", "too many")),
            (b"<html>", text("", "")),
        ];
        for (body, expected) in rows {
            assert_eq!(refusal(body), expected);
        }
    }

    proptest! {
        #[test]
        fn opentelemetry_s_own_reply_is_read(rejected in 0i64.., message in ".{0,40}") {
            let reply = ExportMetricsServiceResponse {
                partial_success: Some(ExportMetricsPartialSuccess {
                    rejected_data_points: rejected,
                    error_message: message.clone(),
                }),
            };
            let read = partial_success(&reply.encode_to_vec());
            prop_assert_eq!(read, some(rejected as u64, &message));
        }

        #[test]
        fn no_body_makes_reading_panic(body in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (partial_success(&body), refusal(&body));
        }
    }
}
