//! The HTTP side: which operation, who may, what is kept.

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::api::PutMetricDataInput;
use super::failure::{Failure, Refusal};
use super::otlp::{self, Otlp};
use super::store::{Datum, Store};
use super::wire::{NoOutput, Protocol, header, unpack};
use super::{Outcome, PutRequest, limits, reads};
use crate::doubles::faults::{ANY, Faults, lock};

/// Far over what is accepted, so that a body that is too long is refused by the limit, not by HTTP.
const LONGEST_READ_BYTES: usize = 64 << 20;

type Predicate = Box<dyn Fn(&Datum) -> bool + Send>;

#[derive(Default)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) otlp: Otlp,
    pub(super) requests: Vec<PutRequest>,
    pub(super) failures: Faults<Failure>,
    pub(super) refused: Vec<(Predicate, Failure)>,
    pub(super) delay: Duration,
    pub(super) now: Option<SystemTime>,
}

impl State {
    fn now(&self) -> SystemTime {
        self.now.unwrap_or_else(SystemTime::now)
    }

    fn now_ms(&self) -> i64 {
        let now = self.now();
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).expect("a clock before the year 292 million")
    }

    /// All of a request's datums, or none.
    fn put(&mut self, datums: Result<Vec<Datum>, Refusal>) -> Result<(), Refusal> {
        if let Some(failure) = self.failures.next(ANY) {
            return Err(failure.into());
        }
        let datums = datums?;
        let refused = |(holds, _): &&(Predicate, Failure)| datums.iter().any(holds);
        if let Some((_, failure)) = self.refused.iter().find(refused) {
            return Err((*failure).into());
        }
        self.store.extend(datums);
        Ok(())
    }
}

type Shared = Arc<Mutex<State>>;

pub(super) fn router(state: Shared) -> Router {
    Router::new().fallback(move |request| answer(Arc::clone(&state), request))
}

async fn answer(state: Shared, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LONGEST_READ_BYTES).await else {
        return plain(StatusCode::BAD_REQUEST, "the request body cannot be read");
    };
    let delay = lock(&state).delay;
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    if parts.uri.path() == otlp::PATH {
        let answer = {
            let mut state = lock(&state);
            let (now, now_ms) = (state.now(), state.now_ms());
            state.otlp.answer(&parts, &body, now, now_ms)
        };
        return match answer {
            Some(answer) => answer,
            None => pending().await,
        };
    }
    let Some((protocol, operation)) = Protocol::of(&parts) else {
        return plain(
            StatusCode::BAD_REQUEST,
            "this CloudWatch speaks rpc-v2-cbor and x-amz-json-1.0; use a newer SDK or AWS CLI",
        );
    };
    let call = Call {
        state: &state,
        protocol,
        gzip: header(&parts.headers, "content-encoding") == "gzip",
        authorized: authorize(&parts.headers),
        body: &body,
    };
    match operation {
        "PutMetricData" => call.put(),
        "ListMetrics" => call.read(|state, input| reads::list_metrics(&state.store, &input)),
        "GetMetricStatistics" => call
            .read(|state, input| reads::get_metric_statistics(&state.store, input, state.now_ms())),
        "GetMetricData" => {
            call.read(|state, input| reads::get_metric_data(&state.store, input, state.now_ms()))
        }
        _ => protocol.answer(Err::<NoOutput, _>(
            Failure::UnknownOperationException.because(format!("no operation {operation} here")),
        )),
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
}

/// One call of a known protocol.
struct Call<'a> {
    state: &'a Mutex<State>,
    protocol: Protocol,
    gzip: bool,
    authorized: Result<(), Refusal>,
    body: &'a [u8],
}

impl Call<'_> {
    fn put(self) -> Response<Body> {
        let body = unpack(self.gzip, self.body);
        let decoded_bytes = body.as_ref().map_or(0, Vec::len);
        let input = body.and_then(|body| self.protocol.decode::<PutMetricDataInput>(&body));
        let datums = input.as_ref().ok().and_then(|i| i.metric_data.as_ref());
        let count = datums.map_or(0, Vec::len);
        let now_ms = lock(self.state).now_ms();
        let datums = limits::check_size(decoded_bytes)
            .and(input)
            .and_then(|input| limits::check(input, now_ms));

        let mut state = lock(self.state);
        let outcome = self.authorized.and_then(|()| state.put(datums));
        state.requests.push(PutRequest {
            datums: count,
            wire_bytes: self.body.len(),
            decoded_bytes,
            gzip: self.gzip,
            outcome: match &outcome {
                Ok(()) => Outcome::Accepted,
                Err(refusal) => Outcome::Refused(refusal.failure),
            },
        });
        self.protocol.answer(outcome.map(|()| NoOutput))
    }

    fn read<I: DeserializeOwned, O: Serialize>(
        self,
        operation: impl FnOnce(&State, I) -> Result<O, Refusal>,
    ) -> Response<Body> {
        let outcome = self
            .authorized
            .and_then(|()| unpack(self.gzip, self.body))
            .and_then(|body| self.protocol.decode(&body))
            .and_then(|input| {
                let mut state = lock(self.state);
                state.store.index();
                operation(&state, input)
            });
        self.protocol.answer(outcome)
    }
}

/// Wants a Signature Version 4 for this service, without recomputing it:
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/create-signed-request.html>.
fn authorize(headers: &HeaderMap) -> Result<(), Refusal> {
    let authorization = header(headers, "authorization");
    if authorization.is_empty() || header(headers, "x-amz-date").is_empty() {
        return Err(Failure::MissingAuthenticationToken.into());
    }
    if is_signed_for_monitoring(authorization) {
        return Ok(());
    }
    Err(Failure::SignatureDoesNotMatch
        .because("Credential should be scoped to correct service: 'monitoring'."))
}

fn is_signed_for_monitoring(authorization: &str) -> bool {
    let Some(fields) = authorization.strip_prefix("AWS4-HMAC-SHA256 ") else {
        return false;
    };
    let field = |name: &str| {
        let mut fields = fields.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let scope: Vec<_> = field("Credential").unwrap_or_default().split('/').collect();
    let signature = field("Signature").unwrap_or_default();
    matches!(scope[..], [key, date, region, "monitoring", "aws4_request"]
        if !key.is_empty() && date.len() == 8 && !region.is_empty())
        && field("SignedHeaders").is_some_and(|names| names.split(';').any(|name| name == "host"))
        && signature.len() == 64
        && signature.bytes().all(|byte| byte.is_ascii_hexdigit())
}
