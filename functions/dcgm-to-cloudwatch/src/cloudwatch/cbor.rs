//! PutMetricData's body in CBOR, written straight from datums.
//!
//! The SDK would write the same bytes from structures of its own, whose names are copies: half a million for
//! 10,000 nodes. A test compares the two.
//! <https://smithy.io/2.0/additional-specs/protocols/smithy-rpc-v2-cbor.html>

use super::datum::{Datum, dimensions};

/// Major types of CBOR, and what begins and ends a map of unknown length.
/// <https://www.rfc-editor.org/rfc/rfc8949.html#section-3.1>
const UNSIGNED: u8 = 0 << 5;
const TEXT: u8 = 3 << 5;
const ARRAY: u8 = 4 << 5;
const MAP: u8 = 0xbf;
const END: u8 = 0xff;
/// A tag: seconds since the epoch follow.
const TIME: u8 = 0xc1;
/// A float of 64 bits follows.
const FLOAT: u8 = 0xfb;

/// Names of members, each with the head of a short text: its length.
const NAMESPACE: &[u8; 10] = b"\x69Namespace";
const METRIC_DATA: &[u8; 11] = b"\x6aMetricData";
const METRIC_NAME: &[u8; 11] = b"\x6aMetricName";
const DIMENSIONS: &[u8; 11] = b"\x6aDimensions";
const NAME: &[u8; 5] = b"\x64Name";
const VALUE: &[u8; 6] = b"\x65Value";
const TIMESTAMP: &[u8; 10] = b"\x69Timestamp";
const VALUES: &[u8; 7] = b"\x66Values";
const COUNTS: &[u8; 7] = b"\x66Counts";
const UNIT: &[u8; 5] = b"\x64Unit";
const STORAGE_RESOLUTION: &[u8; 18] = b"\x71StorageResolution";

/// The body of one request.
pub(super) fn body(namespace: &str, datums: &[Datum<'_>]) -> Vec<u8> {
    const AROUND: usize = 64;
    let size = AROUND + namespace.len() + datums.iter().map(Datum::size).sum::<usize>();
    let mut body = Vec::with_capacity(size);
    body.push(MAP);
    body.extend_from_slice(NAMESPACE);
    text(&mut body, namespace);
    body.extend_from_slice(METRIC_DATA);
    head(&mut body, ARRAY, datums.len());
    for datum in datums {
        write(&mut body, datum);
    }
    body.push(END);
    body
}

fn write(body: &mut Vec<u8>, datum: &Datum<'_>) {
    body.push(MAP);
    body.extend_from_slice(METRIC_NAME);
    text(body, datum.metric);
    let count = dimensions(datum.subject).count();
    if count > 0 {
        body.extend_from_slice(DIMENSIONS);
        head(body, ARRAY, count);
        for (name, value) in dimensions(datum.subject) {
            body.push(MAP);
            body.extend_from_slice(NAME);
            text(body, name);
            body.extend_from_slice(VALUE);
            text(body, value);
            body.push(END);
        }
    }
    body.extend_from_slice(TIMESTAMP);
    body.push(TIME);
    float(body, datum.period.start as f64);
    body.extend_from_slice(VALUES);
    head(body, ARRAY, datum.values.len());
    for (value, _) in &datum.values {
        float(body, *value);
    }
    body.extend_from_slice(COUNTS);
    head(body, ARRAY, datum.values.len());
    for (_, count) in &datum.values {
        float(body, f64::from(*count));
    }
    body.extend_from_slice(UNIT);
    text(body, datum.unit.name());
    if let Some(seconds) = datum.storage_resolution() {
        body.extend_from_slice(STORAGE_RESOLUTION);
        head(body, UNSIGNED, seconds as usize);
    }
    body.push(END);
}

fn text(body: &mut Vec<u8>, text: &str) {
    head(body, TEXT, text.len());
    body.extend_from_slice(text.as_bytes());
}

fn float(body: &mut Vec<u8>, value: f64) {
    let [a, b, c, d, e, f, g, h] = value.to_be_bytes();
    body.extend_from_slice(&[FLOAT, a, b, c, d, e, f, g, h]);
}

/// The type of an item and its value or length, which CloudWatch's limits keep below 65,536.
fn head(body: &mut Vec<u8>, major: u8, value: usize) {
    match value {
        0..24 => body.push(major | value as u8),
        24..256 => body.extend_from_slice(&[major | 24, value as u8]),
        _ => {
            debug_assert!(value < 1 << 16);
            let [high, low] = (value as u16).to_be_bytes();
            body.extend_from_slice(&[major | 25, high, low]);
        }
    }
}
