//! Systems Manager Parameter Store, as far as one plain parameter goes: GetParameter, PutParameter and
//! GetParameterHistory in `x-amz-json-1.1`, signed for `ssm`.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::doubles::clock::Clock;
use crate::doubles::sigv4::{self, Credentials, Verifier};
use crate::lambda::REGION;

/// <https://docs.aws.amazon.com/general/latest/gr/ssm.html>, default throughput.
const PUTS_A_SECOND: usize = 3;
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_PutParameter.html>
const LONGEST_STANDARD_VALUE: usize = 4096;

/// <https://docs.aws.amazon.com/systems-manager/latest/userguide/sysman-paramstore-versions.html>
const VERSIONS_KEPT: usize = 100;
/// <https://docs.aws.amazon.com/systems-manager/latest/APIReference/API_GetParameterHistory.html>,
/// `MaxResults`.
const VERSIONS_A_PAGE: usize = 50;

/// An error with the HTTP status and code AWS gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// IAM does not allow the call.
    AccessDenied,
    /// The session token is too old.
    ExpiredToken,
    /// Systems Manager broke.
    InternalServerError,
    /// Too many calls.
    Throttling,
}

/// A running Parameter Store; it stops when dropped.
#[derive(Debug)]
pub struct ParameterStore {
    url: String,
    state: Arc<Shared>,
    _server: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Shared {
    clock: Clock,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// Every version there is of each, oldest first.
    parameters: BTreeMap<String, Vec<String>>,
    puts: Vec<(Instant, String)>,
    failing: BTreeMap<&'static str, (usize, Option<Failure>)>,
}

/// `(status, code, message)`
type Refusal = (StatusCode, &'static str, String);

impl ParameterStore {
    /// Starts on a free loopback port, with no parameter.
    pub async fn start() -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let url = format!("http://{}", listener.local_addr()?);
        let state = Arc::<Shared>::default();
        let router = Router::new().fallback(serve).with_state(Arc::clone(&state));
        let mut server = JoinSet::new();
        server.spawn(async move {
            axum::serve(listener, router)
                .await
                .expect("axum's accept loop does not end");
        });
        Ok(Self {
            url,
            state,
            _server: server,
        })
    }

    /// The value for `AWS_ENDPOINT_URL_SSM`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a parameter holds.
    pub fn get(&self, name: &str) -> Option<String> {
        lock(&self.state).value(name).cloned()
    }

    /// Sets a parameter, whatever its value.
    pub fn set(&self, name: &str, value: &str) {
        lock(&self.state).add(name, value);
    }

    /// Values written through the API, oldest first.
    pub fn written(&self) -> Vec<String> {
        lock(&self.state)
            .puts
            .iter()
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Answers the next `times` calls of an operation with a failure; `None` never answers.
    pub fn fail_next(&self, operation: &'static str, times: usize, failure: Option<Failure>) {
        lock(&self.state)
            .failing
            .insert(operation, (times, failure));
    }

    /// Sets its clock ahead of the machine's.
    pub fn set_clock_fast(&self, ahead: Duration) {
        self.state.clock.set_fast(ahead);
    }

    /// Sets its clock behind the machine's.
    pub fn set_clock_slow(&self, behind: Duration) {
        self.state.clock.set_slow(behind);
    }
}

fn lock(state: &Shared) -> MutexGuard<'_, Store> {
    state.store.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn serve(State(state): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let verifier = Verifier {
        credentials: Credentials::example(),
        region: REGION.to_owned(),
        service: "ssm",
    };
    let signed = verifier.verify(&sigv4::Request::new(&parts, &body), state.clock.now());
    let target = parts
        .headers
        .get("x-amz-target")
        .and_then(|target| target.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix("AmazonSSM."));
    let answer = match (signed, operation) {
        (Err(refusal), _) => Err((
            StatusCode::BAD_REQUEST,
            refusal.error_type(),
            refusal.to_string(),
        )),
        (Ok(()), Some("GetParameter")) => call(&state, "GetParameter", &body, Store::get).await,
        (Ok(()), Some("PutParameter")) => call(&state, "PutParameter", &body, Store::put).await,
        (Ok(()), Some("GetParameterHistory")) => {
            call(&state, "GetParameterHistory", &body, Store::history).await
        }
        (Ok(()), _) => Err((
            StatusCode::BAD_REQUEST,
            "UnknownOperationException",
            String::new(),
        )),
    };
    let (status, body) = match answer {
        Ok(body) => (StatusCode::OK, body),
        Err((status, code, message)) => (status, json!({ "__type": code, "message": message })),
    };
    (
        status,
        [("content-type", "application/x-amz-json-1.1")],
        body.to_string(),
    )
        .into_response()
}

async fn call(
    state: &Shared,
    operation: &'static str,
    body: &Bytes,
    act: fn(&mut Store, &Value) -> Result<Value, Refusal>,
) -> Result<Value, Refusal> {
    let failing = {
        let mut state = lock(state);
        let left = state
            .failing
            .get_mut(operation)
            .filter(|(times, _)| *times > 0);
        left.map(|(times, failure)| {
            *times -= 1;
            *failure
        })
    };
    match failing {
        Some(None) => std::future::pending().await,
        Some(Some(failure)) => return Err(failure.on_the_wire(operation)),
        None => {}
    }
    let input: Value = serde_json::from_slice(body).map_err(|error| {
        (
            StatusCode::BAD_REQUEST,
            "SerializationException",
            error.to_string(),
        )
    })?;
    act(&mut lock(state), &input)
}

impl Failure {
    fn on_the_wire(self, operation: &str) -> Refusal {
        match self {
            Self::AccessDenied => (
                StatusCode::BAD_REQUEST,
                "AccessDeniedException",
                format!("User is not authorized to perform: ssm:{operation}"),
            ),
            Self::ExpiredToken => (
                StatusCode::BAD_REQUEST,
                "ExpiredTokenException",
                "The security token included in the request is expired".to_owned(),
            ),
            Self::InternalServerError => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "InternalServerError",
                String::new(),
            ),
            Self::Throttling => (
                StatusCode::BAD_REQUEST,
                "ThrottlingException",
                "Rate exceeded".to_owned(),
            ),
        }
    }
}

fn validation(message: &str) -> Refusal {
    (
        StatusCode::BAD_REQUEST,
        "ValidationException",
        message.to_owned(),
    )
}

fn not_found(name: &str) -> Refusal {
    let message = format!("Parameter {name} not found.");
    (StatusCode::BAD_REQUEST, "ParameterNotFound", message)
}

fn name(input: &Value) -> Result<&str, Refusal> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_/".contains(&byte);
    input["Name"]
        .as_str()
        .filter(|name| !name.is_empty() && name.bytes().all(allowed))
        .ok_or_else(|| validation("Parameter name must not be empty and may hold a-zA-Z0-9_.-/"))
}

impl Store {
    fn value(&self, name: &str) -> Option<&String> {
        self.parameters
            .get(name)
            .and_then(|versions| versions.last())
    }

    fn add(&mut self, name: &str, value: &str) {
        let versions = self.parameters.entry(name.to_owned()).or_default();
        versions.push(value.to_owned());
        if versions.len() > VERSIONS_KEPT {
            versions.remove(0);
        }
    }

    fn get(&mut self, input: &Value) -> Result<Value, Refusal> {
        let name = name(input)?;
        let value = self.value(name).ok_or_else(|| not_found(name))?;
        let parameter = json!({ "Name": name, "Type": "String", "Value": value, "Version": 1 });
        Ok(json!({ "Parameter": parameter }))
    }

    fn history(&mut self, input: &Value) -> Result<Value, Refusal> {
        let name = name(input)?;
        let versions = self.parameters.get(name).ok_or_else(|| not_found(name))?;
        let from = match input["NextToken"].as_str() {
            None => 0,
            Some(token) => token.parse().map_err(|_| validation("NextToken"))?,
        };
        let to = versions.len().min(from + VERSIONS_A_PAGE);
        let page = versions[from..to].iter().enumerate().map(|(index, value)| {
            let version = from + index + 1;
            json!({ "Name": name, "Type": "String", "Value": value, "Version": version })
        });
        let mut answer = json!({ "Parameters": page.collect::<Vec<_>>() });
        if to < versions.len() {
            answer["NextToken"] = to.to_string().into();
        }
        Ok(answer)
    }

    fn put(&mut self, input: &Value) -> Result<Value, Refusal> {
        let name = name(input)?;
        let value = input["Value"]
            .as_str()
            .filter(|value| (1..=LONGEST_STANDARD_VALUE).contains(&value.len()))
            .ok_or_else(|| validation("a standard parameter holds 1 to 4096 characters"))?;
        let is_new = !self.parameters.contains_key(name);
        if is_new && input["Type"] != "String" {
            return Err(validation("Type is required when you create a parameter"));
        }
        if !is_new && input["Overwrite"] != true {
            let message = "The parameter already exists. To overwrite this value, set the overwrite option in the request to true.";
            return Err((
                StatusCode::BAD_REQUEST,
                "ParameterAlreadyExists",
                message.to_owned(),
            ));
        }
        let second = |put: &&(Instant, String)| put.0.elapsed() < Duration::from_secs(1);
        if self.puts.iter().filter(second).count() >= PUTS_A_SECOND {
            return Err(Failure::Throttling.on_the_wire("PutParameter"));
        }
        self.puts.push((Instant::now(), value.to_owned()));
        self.add(name, value);
        Ok(json!({ "Tier": "Standard", "Version": self.puts.len() }))
    }
}
