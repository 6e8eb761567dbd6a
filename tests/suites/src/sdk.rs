//! The AWS SDK, as the doubles are asked with it.

use aws_config::{BehaviorVersion, Region, SdkConfig, retry::RetryConfig};
use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use testkit::doubles::sigv4;

/// A configuration for the double at `url`, to which `keys` belong.
pub fn config(
    url: String,
    region: &'static str,
    keys: sigv4::Credentials,
    retries: RetryConfig,
) -> SdkConfig {
    let (id, secret) = (keys.access_key_id, keys.secret_access_key);
    let credentials = Credentials::new(id, secret, keys.session_token, None, "test");
    let http = startup::http_client().build().expect("TLS can be set up");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .http_client(startup::sdk_http(http))
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .region(Region::new(region))
        .endpoint_url(url)
        .retry_config(retries)
        .build()
}
