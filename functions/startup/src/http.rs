//! The HTTP client of a function. The AWS SDK's calls go over it too.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, NoProxy, Proxy, Response};
use url::{Host, Url};

use crate::environment::process_variable;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// With one of these set, the system's root certificates are read, from where they say.
const OWN_ROOTS: [&str; 2] = ["SSL_CERT_FILE", "SSL_CERT_DIR"];

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
        // By default reqwest copies each request for retries that only HTTP/2 has, which is not built in.
        .retry(reqwest::retry::never())
        .no_proxy();
    let has_own_roots = OWN_ROOTS
        .into_iter()
        .any(|name| process_variable(name).is_some());
    let builder = if has_own_roots {
        builder
    } else {
        builder.tls_certs_only(bundled_roots())
    };
    match https_proxy() {
        Some(proxy) => builder.proxy(proxy.no_proxy(NoProxy::from_env())),
        None => builder,
    }
}

/// Mozilla's root certificates as of the build. To read the system's takes longer than the rest of a start.
fn bundled_roots() -> impl Iterator<Item = Certificate> {
    let roots = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
    roots.filter_map(|root| Certificate::from_der(root).ok())
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

/// Whether a secret may go to a URL: by `https`, or by `http` to this machine.
pub fn may_carry_secrets(url: &Url) -> bool {
    match url.scheme() {
        "https" => url.has_host(),
        "http" => is_loopback(url),
        _ => false,
    }
}

/// Whether a URL leads to this machine, by name or by address.
fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name.eq_ignore_ascii_case("localhost"),
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bundled_roots_are_whole() {
        let amazon_s = webpki_root_certs::TLS_SERVER_ROOT_CERTS
            .iter()
            .filter(|root| {
                let name = b"Amazon Root CA";
                root.windows(name.len()).any(|window| window == name)
            });
        assert_eq!(amazon_s.count(), 4);
        assert_eq!(
            bundled_roots().count(),
            webpki_root_certs::TLS_SERVER_ROOT_CERTS.len()
        );
        http_client().build().unwrap();
    }

    #[test]
    fn secrets_go_by_https_or_stay_on_this_machine() {
        let rows = [
            ("https://example.com/", true),
            ("http://127.0.0.1:3000", true),
            ("http://example.com", false),
            ("ftp://127.0.0.1", false),
            ("file:///etc/passwd", false),
        ];
        for (url, expected) in rows {
            assert_eq!(may_carry_secrets(&url.parse().unwrap()), expected, "{url}");
        }
    }

    #[test]
    fn loopback_is_this_machine_whatever_its_name_looks_like() {
        let rows = [
            ("http://127.0.0.1:3000/", true),
            ("http://127.8.8.8", true),
            ("http://[::1]:3000", true),
            ("http://LocalHost", true),
            ("http://127.0.0.1.example.com", false),
            ("http://localhost.example.com", false),
            ("http://169.254.169.254", false),
            ("http://[::ffff:1.2.3.4]", false),
            ("mailto:me@localhost", false),
        ];
        for (url, expected) in rows {
            assert_eq!(is_loopback(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
