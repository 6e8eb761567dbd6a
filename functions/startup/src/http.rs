//! The HTTP client that a function makes its calls by, the AWS SDK's among them.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, Response};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// A client to be. It follows no redirect: that would take a token or a signature to somebody else.
pub fn http_client() -> ClientBuilder {
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none())
}

/// A response's body, or nothing where that is longer than `most` bytes.
///
/// # Errors
/// The connection fails before its end.
pub async fn body_within(response: &mut Response, most: usize) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > most {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
