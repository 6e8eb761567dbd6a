//! Systems Manager Parameter Store, as far as one plain parameter goes: GetParameter, PutParameter and
//! GetParameterHistory in `x-amz-json-1.1`, signed for `ssm`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::http::request::Parts;
use axum::response::Response;
use serde_json::{Value, json};

use crate::doubles::clock::Clock;
use crate::doubles::faults::{Fault, Faults, lock};
use crate::doubles::server::{Server, Service, json as answer};
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
    _server: Server,
    state: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    clock: Clock,
    faults: Faults<Fault<Failure>>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// Every version there is of each, oldest first.
    parameters: BTreeMap<String, Vec<String>>,
    puts: Vec<(Instant, String)>,
}

/// `(status, code, message)`
type Refusal = (u16, &'static str, String);

impl ParameterStore {
    /// Starts on a free loopback port, with no parameter.
    pub async fn start() -> anyhow::Result<Self> {
        let state = Arc::<Shared>::default();
        let server = Server::start(Arc::clone(&state)).await?;
        Ok(Self {
            url: server.url(),
            _server: server,
            state,
        })
    }

    /// The value for `AWS_ENDPOINT_URL_SSM`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// What a parameter holds.
    pub fn get(&self, name: &str) -> Option<String> {
        lock(&self.state.store).value(name).cloned()
    }

    /// Sets a parameter, whatever its value.
    pub fn set(&self, name: &str, value: &str) {
        lock(&self.state.store).add(name, value);
    }

    /// Values written through the API, oldest first.
    pub fn written(&self) -> Vec<String> {
        lock(&self.state.store)
            .puts
            .iter()
            .map(|(_, value)| value.clone())
            .collect()
    }

    /// Faults to come, by the operation's name.
    pub fn faults(&self) -> &Faults<Fault<Failure>> {
        &self.state.faults
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

impl Service for Shared {
    type Error = Failure;

    fn operation(&self, parts: &Parts) -> String {
        let target = parts.headers.get("x-amz-target");
        let target = target.and_then(|target| target.to_str().ok());
        let operation = target.and_then(|target| target.strip_prefix("AmazonSSM."));
        operation.unwrap_or_default().to_owned()
    }

    fn serve(&self, parts: &Parts, body: &Bytes) -> Response {
        match self.call(parts, body) {
            Ok(body) => answer(200, &body),
            Err(refusal) => error(refusal),
        }
    }

    fn failure(&self, operation: &str, failure: Failure) -> Response {
        error(failure.on_the_wire(operation))
    }

    fn faults(&self) -> &Faults<Fault<Failure>> {
        &self.faults
    }
}

impl Shared {
    fn call(&self, parts: &Parts, body: &Bytes) -> Result<Value, Refusal> {
        let verifier = Verifier {
            credentials: Credentials::example(),
            region: REGION.to_owned(),
            service: "ssm",
        };
        let signed = verifier.verify(&sigv4::Request::new(parts, body), self.clock.now());
        signed.map_err(|refusal| (400, refusal.error_type(), refusal.to_string()))?;
        let act: fn(&mut Store, &Value) -> Result<Value, Refusal> = match &*self.operation(parts) {
            "GetParameter" => Store::get,
            "PutParameter" => Store::put,
            "GetParameterHistory" => Store::history,
            _ => return Err((400, "UnknownOperationException", String::new())),
        };
        let input = serde_json::from_slice(body);
        let input = input.map_err(|error| (400, "SerializationException", error.to_string()))?;
        act(&mut lock(&self.store), &input)
    }
}

fn error((status, code, message): Refusal) -> Response {
    answer(status, &json!({ "__type": code, "message": message }))
}

impl Failure {
    fn on_the_wire(self, operation: &str) -> Refusal {
        match self {
            Self::AccessDenied => (
                400,
                "AccessDeniedException",
                format!("User is not authorized to perform: ssm:{operation}"),
            ),
            Self::ExpiredToken => (
                400,
                "ExpiredTokenException",
                "The security token included in the request is expired".to_owned(),
            ),
            Self::InternalServerError => (500, "InternalServerError", String::new()),
            Self::Throttling => (400, "ThrottlingException", "Rate exceeded".to_owned()),
        }
    }
}

fn validation(message: &str) -> Refusal {
    (400, "ValidationException", message.to_owned())
}

fn not_found(name: &str) -> Refusal {
    let message = format!("Parameter {name} not found.");
    (400, "ParameterNotFound", message)
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
            return Err((400, "ParameterAlreadyExists", message.to_owned()));
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
