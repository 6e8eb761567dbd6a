//! Bodies that may be compressed.

use std::io::Read;

use flate2::read::MultiGzDecoder;
use reqwest::header::{CONTENT_ENCODING, HeaderMap};

/// Reads a body, decompressed where its headers say that it is compressed.
pub(super) fn decoder<'a>(headers: &HeaderMap, body: &'a [u8]) -> Box<dyn Read + 'a> {
    let is_gzip = headers
        .get(CONTENT_ENCODING)
        .is_some_and(|encoding| encoding.as_bytes().eq_ignore_ascii_case(b"gzip"));
    if is_gzip {
        Box::new(MultiGzDecoder::new(body))
    } else {
        Box::new(body)
    }
}
