//! The canonical request: the one spelling of a request that is signed.

use axum::http::HeaderMap;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::Request;

/// RFC 3986's unreserved characters stay as they are.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// In a path the `/` stays as well.
const RESERVED_IN_PATH: &AsciiSet = &RESERVED.remove(b'/');

pub(super) fn request(request: &Request<'_>, signed_headers: &[&str], body_hash: &str) -> String {
    [
        request.method,
        &path(request.path),
        &query(request.query),
        &headers(request.headers, signed_headers),
        &signed_headers.join(";"),
        body_hash,
    ]
    .join("\n")
}

/// Normalised, then encoded once more: only S3 signs a path as it is on the wire.
fn path(path: &str) -> String {
    let mut segments = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => (),
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    // A dot segment at the end leaves its slash: RFC 3986, 5.2.4.
    let is_folder = matches!(path.rsplit('/').next(), Some("" | "." | ".."));
    let slash = if is_folder && !segments.is_empty() {
        "/"
    } else {
        ""
    };
    let normalised = format!("/{}{slash}", segments.join("/"));
    utf8_percent_encode(&normalised, RESERVED_IN_PATH).to_string()
}

/// Sorted by name, then value; everything encoded anew. A literal `+` is a plus.
pub(super) fn query(query: &str) -> String {
    let encode = |text: &str| {
        let plain = percent_decode_str(text).decode_utf8_lossy();
        utf8_percent_encode(&plain, RESERVED).to_string()
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    pairs.sort();
    let pairs: Vec<_> = pairs
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    pairs.join("&")
}

/// One line for each signed header: its values trimmed, inner spaces single, joined by commas.
fn headers(headers: &HeaderMap, signed: &[&str]) -> String {
    let line = |name: &&str| {
        let values = headers.get_all(*name).iter().map(|value| {
            let value = String::from_utf8_lossy(value.as_bytes());
            value.split_whitespace().collect::<Vec<_>>().join(" ")
        });
        format!("{name}:{}\n", values.collect::<Vec<_>>().join(","))
    };
    signed.iter().map(line).collect()
}
