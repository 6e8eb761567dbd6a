//! Lets the AWS SDK use the function's own HTTP client. So there is one pool of connections, and TLS is set up
//! once.

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::shared::IntoShared;
use aws_smithy_types::body::SdkBody;

/// What the SDK's clients send their requests by; `client` is one of [`http_client`]. Its own
/// connect timeout holds; those of attempts and operations are kept by the SDK.
///
/// [`http_client`]: crate::http_client
pub fn sdk_http(client: reqwest::Client) -> SharedHttpClient {
    OverReqwest(client).into_shared()
}

#[derive(Clone, Debug)]
struct OverReqwest(reqwest::Client);

impl HttpClient for OverReqwest {
    fn http_connector(
        &self,
        _: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        self.clone().into_shared()
    }
}

impl HttpConnector for OverReqwest {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let Self(client) = self.clone();
        HttpConnectorFuture::new(async move { exchange(&client, request).await })
    }
}

async fn exchange(
    client: &reqwest::Client,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let request = request
        .try_into_http1x()
        .map_err(|error| ConnectorError::user(error.into()))?
        .map(reqwest::Body::wrap);
    let request = request.try_into().map_err(failed)?;
    let response: ::http::Response<reqwest::Body> =
        client.execute(request).await.map_err(failed)?.into();
    response
        .map(SdkBody::from_body_1_x)
        .try_into()
        .map_err(|error| ConnectorError::other(Box::new(error), None))
}

/// Names the kind, by which the SDK decides whether to try again.
fn failed(error: reqwest::Error) -> ConnectorError {
    let error = error.without_url();
    if error.is_timeout() {
        ConnectorError::timeout(error.into())
    } else if error.is_builder() {
        ConnectorError::user(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::thread;
    use std::time::Duration;

    use super::*;

    /// What a request to that listener comes to, in a client of little patience.
    async fn ask(listener: &TcpListener) -> ConnectorError {
        let client = crate::http_client()
            .timeout(Duration::from_millis(50))
            .build()
            .unwrap();
        let url = format!("http://{}/?secret", listener.local_addr().unwrap());
        let error = exchange(&client, HttpRequest::get(url).unwrap()).await;
        let error = error.unwrap_err();
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        error
    }

    #[tokio::test]
    async fn a_peer_that_hangs_up_is_asked_again() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let peer = listener.try_clone().unwrap();
        let hung_up = thread::spawn(move || drop(peer.accept()));
        assert!(ask(&listener).await.is_io());
        hung_up.join().unwrap();
    }

    #[tokio::test]
    async fn a_peer_that_is_silent_is_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(ask(&listener).await.is_timeout());
    }
}
