//! An AMP workspace: lets in what is signed to the letter, then asks a real Prometheus.
//!
//! Of AMP's own quotas none is held here; they lie far beyond a test's data.

mod answer;
mod failure;

use std::{
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::request::Parts,
    response::Response,
};

use self::answer::Answer;
pub use self::failure::Failure;
use crate::doubles::clock::Clock;
use crate::doubles::faults::{ANY, Faults, lock};
use crate::doubles::server::Server;
use crate::doubles::sigv4::{self, Credentials, Refusal, Verifier};
use crate::lambda;

/// The account the workspace belongs to, as AWS's examples number it.
const ACCOUNT: &str = "123456789012";

/// The operation of a query for samples of a GPU's fields, where a fault is for these alone.
const FIELDS: &str = "fields";

/// Whose workspace it is.
#[derive(Clone, Debug)]
pub struct Options {
    /// `ws-` and a UUID.
    pub workspace_id: String,
    /// Where requests have to be signed for.
    pub region: String,
    /// Who may query and write.
    pub credentials: Credentials,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            workspace_id: "ws-1f3a6c1e-2b4d-4c8a-9e0f-5d7b3a9c8e10".to_owned(),
            region: lambda::REGION.to_owned(),
            credentials: Credentials::example(),
        }
    }
}

/// A call of the workspace's API, by the name of its IAM action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// An instant query or one over a range.
    QueryMetrics,
    /// The names of labels.
    GetLabels,
    /// Samples coming in.
    RemoteWrite,
}

/// A request as it came, and what became of it.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Nothing for a path AMP does not have.
    pub operation: Option<Operation>,
    /// The path as sent.
    pub path: String,
    /// Of the query string and of the form.
    pub parameters: Vec<(String, String)>,
    /// When it had come in whole.
    pub received: SystemTime,
    /// Why its signature was refused.
    pub refusal: Option<Refusal>,
    /// Nothing when the request was left without an answer.
    pub status: Option<u16>,
    /// Length of the answer's body on the wire.
    pub response_bytes: usize,
}

impl Logged {
    /// A parameter's value, empty when it was not sent.
    pub fn parameter(&self, name: &str) -> &str {
        let mut pairs = self.parameters.iter();
        pairs
            .find(|(key, _)| key == name)
            .map_or("", |(_, value)| value)
    }
}

/// A running workspace; dropping it ends it.
#[derive(Debug)]
pub struct AmpGateway {
    workspace_url: String,
    state: Arc<Workspace>,
    _server: Server,
}

#[derive(Debug)]
struct Workspace {
    options: Options,
    verifier: Verifier,
    prometheus_url: String,
    client: reqwest::Client,
    log: Mutex<Vec<Logged>>,
    faults: Faults<Failure>,
    delay: Mutex<Duration>,
    clock: Clock,
}

impl AmpGateway {
    /// Starts a workspace whose samples are those of a running Prometheus.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn start(
        prometheus_url: impl Into<String>,
        options: Options,
    ) -> anyhow::Result<Self> {
        let path = format!("/workspaces/{}", options.workspace_id);
        let state = Arc::new(Workspace {
            verifier: Verifier {
                credentials: options.credentials.clone(),
                region: options.region.clone(),
                service: "aps",
            },
            options,
            prometheus_url: prometheus_url.into(),
            client: reqwest::Client::new(),
            log: Mutex::default(),
            faults: Faults::default(),
            delay: Mutex::default(),
            clock: Clock::default(),
        });
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        let server = Server::route(router).await?;
        Ok(Self {
            workspace_url: server.url() + &path,
            state,
            _server: server,
        })
    }

    /// What a function takes as `AMP_WORKSPACE_URL`.
    pub fn workspace_url(&self) -> &str {
        &self.workspace_url
    }

    /// Every request so far, in order of arrival.
    pub fn requests(&self) -> Vec<Logged> {
        lock(&self.state.log).clone()
    }

    /// Makes the next `count` rightly signed requests fail, after the failures asked for before.
    pub fn fail_next(&self, count: usize, failure: Failure) {
        self.state.faults.inject(ANY, count, failure);
    }

    /// Does so for the next requests for samples of a GPU's fields, and not for what rules record.
    pub fn fail_next_of_fields(&self, count: usize, failure: Failure) {
        self.state.faults.inject(FIELDS, count, failure);
    }

    /// Takes back all failures that have not happened yet.
    pub fn recover(&self) {
        self.state.faults.clear();
    }

    /// Makes every answer take this much longer.
    pub fn set_delay(&self, delay: Duration) {
        *lock(&self.state.delay) = delay;
    }

    /// Sets the workspace's clock ahead of the machine's.
    pub fn set_clock_fast(&self, ahead: Duration) {
        self.state.clock.set_fast(ahead);
    }

    /// Sets the workspace's clock behind the machine's.
    pub fn set_clock_slow(&self, behind: Duration) {
        self.state.clock.set_slow(behind);
    }
}

impl Workspace {
    /// The checks in the order AWS makes them: who, what, whether.
    async fn answer(&self, parts: &Parts, body: &[u8], logged: &Logged) -> anyhow::Result<Answer> {
        if let Some(refusal) = &logged.refusal {
            return Ok(Answer::unsigned(refusal));
        }
        let Some(operation) = logged.operation else {
            return Ok(Answer::unsigned(&Refusal::Unsigned));
        };
        let workspace = workspace_id(parts.uri.path());
        if workspace != self.options.workspace_id {
            return Ok(Answer::not_authorized(
                operation,
                &self.workspace_arn(workspace),
            ));
        }
        match operation {
            Operation::RemoteWrite => self.write(parts, body).await,
            Operation::QueryMetrics | Operation::GetLabels => self.query(logged).await,
        }
    }

    /// Passes on the parameters AMP documents, and no others:
    /// <https://docs.aws.amazon.com/prometheus/latest/userguide/AMP-APIReference-QueryMetrics.html>
    async fn query(&self, logged: &Logged) -> anyhow::Result<Answer> {
        const DOCUMENTED: [&str; 7] = [
            "query", "time", "timeout", "start", "end", "step", "match[]",
        ];
        let known = |(name, _): &&(String, String)| DOCUMENTED.contains(&name.as_str());
        let form = answer::encode_form(logged.parameters.iter().filter(known));
        let (_, call) = logged.path.split_once("/api/v1/").unwrap_or_default();
        let request = self
            .client
            .post(format!("{}/api/v1/{call}", self.prometheus_url))
            .header("content-type", answer::FORM)
            .body(form);
        Answer::passed_on(request.send().await).await
    }

    async fn write(&self, parts: &Parts, body: &[u8]) -> anyhow::Result<Answer> {
        let mut request = self
            .client
            .post(format!("{}/api/v1/write", self.prometheus_url));
        for name in [
            "content-type",
            "content-encoding",
            "x-prometheus-remote-write-version",
        ] {
            if let Some(value) = parts.headers.get(name) {
                request = request.header(name, value.as_bytes());
            }
        }
        Answer::passed_on(request.body(body.to_vec()).send().await).await
    }

    fn workspace_arn(&self, id: &str) -> String {
        format!(
            "arn:aws:aps:{}:{ACCOUNT}:workspace/{id}",
            self.options.region
        )
    }

    fn begin(&self, parts: &Parts, body: &[u8]) -> (usize, Logged) {
        let request = sigv4::Request::new(parts, body);
        let refusal = self.verifier.verify(&request, self.clock.now()).err();
        let logged = Logged {
            operation: operation(parts),
            path: parts.uri.path().to_owned(),
            parameters: answer::parameters(parts, body),
            received: SystemTime::now(),
            refusal,
            status: None,
            response_bytes: 0,
        };
        let mut log = lock(&self.log);
        log.push(logged.clone());
        (log.len() - 1, logged)
    }

    fn end(&self, index: usize, answer: &Answer) {
        let logged = &mut lock(&self.log)[index];
        logged.status = Some(answer.status.as_u16());
        logged.response_bytes = answer.body.len();
    }
}

async fn serve(State(workspace): State<Arc<Workspace>>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    let (index, logged) = workspace.begin(&parts, &body);
    let delay = *lock(&workspace.delay);
    tokio::time::sleep(delay).await;

    let fault = match logged.refusal {
        Some(_) => None,
        None => {
            let of_fields = logged.parameter("query").contains("DCGM_");
            workspace.faults.next(if of_fields { FIELDS } else { ANY })
        }
    };
    let answer = match fault
        .as_ref()
        .and_then(|fault| fault.answer(&workspace, &logged))
    {
        Some(answer) => answer,
        None => {
            let answer = workspace.answer(&parts, &body, &logged).await;
            answer.unwrap_or_else(|error| Answer::unavailable(&error))
        }
    };
    let answer = answer.accepted_by(&parts.headers);
    if let Some(fault) = &fault {
        fault.hold_back().await;
    }
    workspace.end(index, &answer);
    match fault {
        Some(Failure::CutMidReply) => answer.cut_in_half(),
        _ => answer.into_response(),
    }
}

fn operation(parts: &Parts) -> Option<Operation> {
    let (_, call) = parts.uri.path().split_once("/api/v1/")?;
    match (parts.method.as_str(), call) {
        ("GET" | "POST", "query" | "query_range") => Some(Operation::QueryMetrics),
        ("GET" | "POST", "labels") => Some(Operation::GetLabels),
        ("POST", "remote_write") => Some(Operation::RemoteWrite),
        _ => None,
    }
}

fn workspace_id(path: &str) -> &str {
    path.strip_prefix("/workspaces/")
        .and_then(|rest| rest.split('/').next())
        .unwrap_or_default()
}
