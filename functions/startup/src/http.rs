//! The HTTP client of a function. The AWS SDK's calls go over it too.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, ClientBuilder, NoProxy, Proxy, Response};

use crate::environment::process_variable;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// In the order reqwest itself looks for them.
const HTTPS_PROXY: [&str; 4] = ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"];

/// Builder of the HTTP client. It never follows redirects, which could leak credentials.
///
/// Requests over TLS honour `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`. A plain `http://` request is
/// never proxied: it is for this machine only, and a proxy would carry its signature or token over the
/// network in clear.
pub fn http_client() -> ClientBuilder {
    let builder = Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .redirect(Policy::none())
        .no_proxy();
    match https_proxy() {
        Some(proxy) => builder.proxy(proxy.no_proxy(NoProxy::from_env())),
        None => builder,
    }
}

fn https_proxy() -> Option<Proxy> {
    let (name, url) = HTTPS_PROXY
        .into_iter()
        .filter_map(|name| Some((name, process_variable(name)?)))
        .find(|(_, url)| !url.trim().is_empty())?;
    let proxy = Proxy::https(url.trim()).ok();
    if proxy.is_none() {
        // The value may hold a password.
        tracing::warn!("{name} is not used: expected a URL such as http://proxy.example:3128");
    }
    proxy
}

/// A response's body, or nothing where that is longer than `limit` bytes.
///
/// # Errors
/// The connection fails before its end.
pub async fn body_within(
    response: &mut Response,
    limit: usize,
) -> reqwest::Result<Option<Vec<u8>>> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        body.extend_from_slice(&chunk);
        if body.len() > limit {
            return Ok(None);
        }
    }
    Ok(Some(body))
}
