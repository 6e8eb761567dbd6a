//! What the doubles have in common: a loopback server, and services with faults.

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    http::{StatusCode, header::CONTENT_TYPE, request::Parts},
    response::Response,
};
use futures_util::stream;
use serde_json::Value;
use tokio::{net::TcpListener, task::JoinHandle};

use super::faults::{Fault, Faults};

const MAX_BODY_BYTES: usize = 1 << 20;

/// A service under test's eyes.
pub(crate) trait Service: Send + Sync + 'static {
    /// An error of it.
    type Error: Clone + Send;

    /// What a request asks for, by the name that faults go by.
    fn operation(&self, parts: &Parts) -> String;
    /// Does it.
    fn serve(&self, parts: &Parts, body: &Bytes) -> Response;
    /// The answer to a request of `operation` that fails.
    fn failure(&self, operation: &str, error: Self::Error) -> Response;
    /// Faults to come.
    fn faults(&self) -> &Faults<Fault<Self::Error>>;
}

/// A server on a free loopback port; stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start<S: Service>(service: Arc<S>) -> anyhow::Result<Self> {
        let router = Router::new().fallback(answer::<S>).with_state(service);
        Self::route(router).await
    }

    /// Starts it.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn route(router: Router) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let task = tokio::spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("a server never ends by itself");
        });
        Ok(Self { address, task })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:<port>`
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer<S: Service>(State(service): State<Arc<S>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let operation = service.operation(&parts);
    match service.faults().next(&operation) {
        None => service.serve(&parts, &body),
        Some(Fault::Status(error)) => service.failure(&operation, error),
        Some(Fault::StatusAfter(error)) => {
            service.serve(&parts, &body);
            service.failure(&operation, error)
        }
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::HangAfter) => {
            service.serve(&parts, &body);
            std::future::pending().await
        }
        Some(Fault::Endless) => {
            let blanks = Bytes::from(vec![b' '; 1 << 16]);
            let blanks = stream::repeat_with(move || Ok::<_, Infallible>(blanks.clone()));
            Response::new(Body::from_stream(blanks))
        }
    }
}

/// A JSON answer.
pub(crate) fn json(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).expect("a status code"))
        .header(CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .expect("plain headers")
}
