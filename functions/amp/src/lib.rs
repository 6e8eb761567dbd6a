//! The URL of an Amazon Managed Service for Prometheus (AMP) workspace: as people paste it, and as
//! both functions need it.

use std::fmt;

use url::Url;

/// What may follow the workspace in a pasted URL: the console and CloudFormation's
/// `PrometheusEndpoint` end in `/` or `/api/v1/`, people copy the query and remote-write forms.
const KNOWN_TAILS: [&str; 4] = ["", "/api/v1", "/api/v1/query", "/api/v1/remote_write"];

/// An AMP workspace's URL, `https://aps-workspaces.<region>.amazonaws.com/workspaces/ws-…`, without
/// trailing slash. `http` is accepted for loopback addresses alone, so that no signed request
/// crosses a network in clear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkspaceUrl {
    url: Url,
    region: Option<String>,
}

/// Why a text is not an AMP workspace's URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected https://aps-workspaces.<region>.amazonaws.com/workspaces/ws-…: {0}")]
pub struct InvalidWorkspaceUrl(&'static str);

impl WorkspaceUrl {
    /// Reads a workspace URL and takes off a trailing `/`, `/api/v1`, `/api/v1/query` or
    /// `/api/v1/remote_write`.
    ///
    /// # Errors
    /// Says which part of the URL is missing or not acceptable.
    pub fn parse(text: &str) -> Result<Self, InvalidWorkspaceUrl> {
        let mut url = Url::parse(text.trim()).map_err(|_| InvalidWorkspaceUrl("not a URL"))?;
        check_scheme(&url)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(InvalidWorkspaceUrl(
                "a user name or password is not allowed in it",
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidWorkspaceUrl("nothing may follow the path"));
        }
        let path = workspace_path(url.path())?;
        url.set_path(&path);
        let region = region_of(url.host_str().unwrap_or_default());
        Ok(Self { url, region })
    }

    /// The same workspace reached at another scheme, host and port; the path and the region to
    /// sign for stay.
    ///
    /// # Errors
    /// Refuses what is not a URL, and `http` to anything but a loopback address.
    pub fn at_endpoint(&self, endpoint: &str) -> Result<Self, InvalidEndpoint> {
        let mut url = Url::parse(endpoint.trim()).map_err(|_| InvalidEndpoint)?;
        check_scheme(&url).map_err(|_| InvalidEndpoint)?;
        url.set_path(self.url.path());
        url.set_query(None);
        url.set_fragment(None);
        Ok(Self {
            url,
            region: self.region.clone(),
        })
    }

    /// The workspace's URL without trailing slash.
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    /// The region in the host name, if the host is one of AMP's own.
    pub fn region(&self) -> Option<&str> {
        self.region.as_deref()
    }

    /// `ws-…`.
    pub fn workspace_id(&self) -> &str {
        self.url.path().rsplit('/').next().unwrap_or_default()
    }
}

impl fmt::Display for WorkspaceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// An endpoint that can't stand in for AMP's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected https://host[:port], or http:// on a loopback address")]
pub struct InvalidEndpoint;

fn check_scheme(url: &Url) -> Result<(), InvalidWorkspaceUrl> {
    match url.scheme() {
        _ if startup::may_carry_secrets(url) => Ok(()),
        "http" => Err(InvalidWorkspaceUrl(
            "http:// is accepted for loopback addresses only, use https://",
        )),
        _ => Err(InvalidWorkspaceUrl("the scheme is not https://")),
    }
}

fn workspace_path(path: &str) -> Result<String, InvalidWorkspaceUrl> {
    let rest = path
        .strip_prefix("/workspaces/")
        .ok_or(InvalidWorkspaceUrl(
            "the path does not begin with /workspaces/",
        ))?;
    let (id, tail) = rest
        .find('/')
        .map_or((rest, ""), |slash| rest.split_at(slash));
    let is_id = id.strip_prefix("ws-").is_some_and(|unique| {
        !unique.is_empty()
            && unique
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    });
    if !is_id {
        return Err(InvalidWorkspaceUrl(
            "no workspace id (ws-…) follows /workspaces/",
        ));
    }
    if !KNOWN_TAILS.contains(&tail.trim_end_matches('/')) {
        return Err(InvalidWorkspaceUrl(
            "something unknown follows the workspace id",
        ));
    }
    Ok(format!("/workspaces/{id}"))
}

/// `aps-workspaces.us-east-2.amazonaws.com`, and the same in FIPS, China and VPC endpoint names.
fn region_of(host: &str) -> Option<String> {
    let mut labels = host.split('.');
    labels.find(|label| label.starts_with("aps-workspaces"))?;
    labels
        .next()
        .filter(|region| region.contains('-'))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const URL: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-12ab-34cd";

    #[test]
    fn takes_off_what_people_paste_behind_the_workspace() {
        for tail in [
            "",
            "/",
            "/api/v1",
            "/api/v1/",
            "/api/v1/query",
            "/api/v1/remote_write",
        ] {
            let parsed = WorkspaceUrl::parse(&format!(" {URL}{tail}\n")).unwrap();
            assert_eq!(parsed.as_str(), URL, "{tail:?}");
            assert_eq!(parsed.workspace_id(), "ws-12ab-34cd");
            assert_eq!(parsed.region(), Some("us-east-2"));
        }
    }

    #[test]
    fn names_the_part_that_is_wrong() {
        let rows = [
            ("", "not a URL"),
            ("ws-12ab", "not a URL"),
            ("ftp://h/workspaces/ws-1", "scheme"),
            (
                "http://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1",
                "loopback",
            ),
            ("http://127.0.0.1.evil.example/workspaces/ws-1", "loopback"),
            ("https://user:secret@h/workspaces/ws-1", "password"),
            ("https://h/workspaces/ws-1?x=1", "follow the path"),
            ("https://h/ws-1", "/workspaces/"),
            ("https://h/workspaces/", "workspace id"),
            ("https://h/workspaces/ws-", "workspace id"),
            ("https://h/workspaces/ws-%2e", "workspace id"),
            ("https://h/workspaces/ws-1/api/v2", "unknown"),
        ];
        for (text, part) in rows {
            let error = WorkspaceUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text:?}: {error}");
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn finds_the_region_in_every_kind_of_host() {
        let rows = [
            (
                "aps-workspaces.cn-north-1.amazonaws.com.cn",
                Some("cn-north-1"),
            ),
            (
                "aps-workspaces-fips.us-gov-west-1.amazonaws.com",
                Some("us-gov-west-1"),
            ),
            (
                "vpce-1-2.aps-workspaces.eu-west-1.vpce.amazonaws.com",
                Some("eu-west-1"),
            ),
            ("proxy.example", None),
            ("127.0.0.1", None),
        ];
        for (host, region) in rows {
            assert_eq!(region_of(host).as_deref(), region, "{host}");
        }
    }

    #[test]
    fn another_endpoint_keeps_path_and_region() {
        let there = WorkspaceUrl::parse(URL).unwrap();
        let here = there
            .at_endpoint("http://127.0.0.1:9999/ignored?x")
            .unwrap();
        assert_eq!(
            here.as_str(),
            "http://127.0.0.1:9999/workspaces/ws-12ab-34cd"
        );
        assert_eq!(here.region(), Some("us-east-2"));
        assert_eq!(
            there.at_endpoint("http://example.com"),
            Err(InvalidEndpoint)
        );
        assert_eq!(there.at_endpoint("example.com"), Err(InvalidEndpoint));
    }
}
