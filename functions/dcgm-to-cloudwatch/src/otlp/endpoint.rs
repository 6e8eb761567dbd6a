//! Where CloudWatch takes OTLP.

use reqwest::Url;

use super::limits::has_endpoint;

/// The path of OTLP's metrics. <https://opentelemetry.io/docs/specs/otlp/#otlphttp-request>
const PATH: &str = "/v1/metrics";

/// The OTLP endpoint of a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Where requests go.
    pub(crate) url: Url,
    /// The region that they are signed for.
    pub(crate) region: String,
}

impl Endpoint {
    /// The endpoint of a region; none if CloudWatch has none there.
    pub(crate) fn of_region(region: &str) -> Option<Self> {
        let url = format!("https://monitoring.{region}.amazonaws.com{PATH}");
        let url = Url::parse(&url).ok().filter(|_| has_endpoint(region))?;
        let region = region.to_owned();
        Some(Self { url, region })
    }

    /// The same region, reached at another URL of CloudWatch.
    ///
    /// # Errors
    /// The text is no URL, or `http` to anything but a loopback address.
    pub(crate) fn at(self, cloudwatch: &str) -> Result<Self, &'static str> {
        let expected = "expected https://host[:port], or http:// on a loopback address";
        let mut url = Url::parse(cloudwatch).map_err(|_| expected)?;
        if !startup::may_carry_secrets(&url) || url.query().is_some() || url.fragment().is_some() {
            return Err(expected);
        }
        url.set_path(&format!("{}{PATH}", url.path().trim_end_matches('/')));
        Ok(Self { url, ..self })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_has_its_own_and_another_url_replaces_it() {
        let own = Endpoint::of_region("us-east-2").unwrap();
        assert_eq!(
            own.url.as_str(),
            "https://monitoring.us-east-2.amazonaws.com/v1/metrics"
        );
        for (url, expected) in [
            ("http://127.0.0.1:9000", "http://127.0.0.1:9000/v1/metrics"),
            (
                "https://vpce-1.monitoring.us-east-2.vpce.amazonaws.com/",
                "https://vpce-1.monitoring.us-east-2.vpce.amazonaws.com/v1/metrics",
            ),
        ] {
            let other = own.clone().at(url).unwrap();
            assert_eq!(
                (other.url.as_str(), other.region.as_str()),
                (expected, "us-east-2")
            );
        }
        for url in [
            "http://example.com",
            "example.com",
            "https://h/?x=1",
            "ftp://127.0.0.1",
        ] {
            assert!(own.clone().at(url).is_err(), "{url}");
        }
        assert_eq!(Endpoint::of_region("me-south-1"), None);
    }
}
