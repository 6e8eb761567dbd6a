//! The server's side of the [Runtime API], for one execution environment.
//!
//! [Runtime API]: https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html

use std::{
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use axum::{
    Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use serde_json::{Value, json};
use tokio::sync::{Notify, mpsc, oneshot};

use super::REGION;

/// 6 MB and an allowance for the envelope, as Lambda's own message about it says:
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_RESPONSE_BYTES: usize = 6_291_556;

/// What the function sent for an invocation.
#[derive(Debug)]
pub(super) enum Answer {
    Response(Bytes),
    Error(ErrorReport),
}

/// An error as the function describes it.
#[derive(Clone, Debug)]
pub(super) struct ErrorReport {
    pub(super) error_type: String,
    pub(super) message: String,
}

impl ErrorReport {
    /// <https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html#runtimes-api-invokeerror>
    fn parse(headers: &HeaderMap, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        let header = headers.get("lambda-runtime-function-error-type");
        let header = header
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        Self {
            error_type: text("errorType").or(header).unwrap_or_default(),
            message: text("errorMessage").unwrap_or_default(),
        }
    }
}

/// An invocation on its way to the function.
#[derive(Debug)]
struct Invocation {
    id: String,
    payload: Vec<u8>,
    time_limit: Duration,
    taken: oneshot::Sender<()>,
    answer: oneshot::Sender<Answer>,
}

/// The caller's end of an invocation.
#[derive(Debug)]
pub(super) struct Offered {
    pub(super) taken: oneshot::Receiver<()>,
    pub(super) answered: oneshot::Receiver<Answer>,
}

/// What function and caller meet at.
#[derive(Debug)]
pub(super) struct RuntimeApi {
    queue: mpsc::UnboundedSender<Invocation>,
    next: tokio::sync::Mutex<mpsc::UnboundedReceiver<Invocation>>,
    running: Mutex<Option<(String, oneshot::Sender<Answer>)>>,
    init_error: Mutex<Option<ErrorReport>>,
    kill: Arc<Notify>,
}

impl RuntimeApi {
    /// `kill` ends a process that says it cannot start.
    pub(super) fn new(kill: Arc<Notify>) -> Self {
        let (queue, next) = mpsc::unbounded_channel();
        Self {
            queue,
            next: tokio::sync::Mutex::new(next),
            running: Mutex::default(),
            init_error: Mutex::default(),
            kill,
        }
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        let routes = Router::new()
            .route("/runtime/invocation/next", get(next))
            .route("/runtime/invocation/{id}/response", post(response))
            .route("/runtime/invocation/{id}/error", post(error))
            .route("/runtime/init/error", post(init_error))
            .layer(DefaultBodyLimit::disable())
            .with_state(self);
        Router::new().nest("/2018-06-01", routes)
    }

    pub(super) fn offer(&self, payload: Vec<u8>, time_limit: Duration) -> Offered {
        let (was_taken, taken) = oneshot::channel();
        let (answer, answered) = oneshot::channel();
        let id = request_id();
        let invocation = Invocation {
            id,
            payload,
            time_limit,
            taken: was_taken,
            answer,
        };
        self.queue
            .send(invocation)
            .expect("the receiver is a field of this struct");
        Offered { taken, answered }
    }

    pub(super) fn init_error(&self) -> Option<ErrorReport> {
        lock(&self.init_error).clone()
    }

    /// An answer counts once, and only for the invocation that is running.
    fn finish(&self, id: &str, answer: Answer) -> bool {
        let running = lock(&self.running).take_if(|(running, _)| running == id);
        running.is_some_and(|(_, caller)| caller.send(answer).is_ok())
    }
}

async fn next(State(api): State<Arc<RuntimeApi>>) -> Response {
    let invocation = api.next.lock().await.recv().await;
    let invocation = invocation.expect("the sender is a field of the same struct");
    let now = since_epoch();
    let deadline = now + invocation.time_limit;
    let headers = [
        ("lambda-runtime-aws-request-id", invocation.id.clone()),
        (
            "lambda-runtime-deadline-ms",
            deadline.as_millis().to_string(),
        ),
        (
            "lambda-runtime-invoked-function-arn",
            format!("arn:aws:lambda:{REGION}:123456789012:function:under-test"),
        ),
        (
            "lambda-runtime-trace-id",
            format!(
                "Root=1-{:08x}-0123456789abcdef01234567;Sampled=0",
                now.as_secs()
            ),
        ),
        ("content-type", "application/json".to_owned()),
    ];
    *lock(&api.running) = Some((invocation.id, invocation.answer));
    // A caller that has given up is none of the function's business.
    let _ = invocation.taken.send(());
    (headers, invocation.payload).into_response()
}

async fn response(
    State(api): State<Arc<RuntimeApi>>,
    Path(id): Path<String>,
    body: Bytes,
) -> Response {
    if body.len() > MAX_RESPONSE_BYTES {
        let message = format!(
            "Response payload size ({} bytes) exceeded maximum allowed payload size \
             ({MAX_RESPONSE_BYTES} bytes).",
            body.len(),
        );
        let refusal = refused(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            &message,
        );
        let error_type = "Function.ResponseSizeTooLarge".to_owned();
        api.finish(
            &id,
            Answer::Error(ErrorReport {
                error_type,
                message,
            }),
        );
        return refusal;
    }
    taken_or_refused(api.finish(&id, Answer::Response(body)))
}

async fn error(
    State(api): State<Arc<RuntimeApi>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let report = ErrorReport::parse(&headers, &body);
    taken_or_refused(api.finish(&id, Answer::Error(report)))
}

async fn init_error(
    State(api): State<Arc<RuntimeApi>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    *lock(&api.init_error) = Some(ErrorReport::parse(&headers, &body));
    api.kill.notify_one();
    taken_or_refused(true)
}

fn taken_or_refused(taken: bool) -> Response {
    if taken {
        json_reply(StatusCode::ACCEPTED, &json!({ "status": "OK" }))
    } else {
        refused(
            StatusCode::BAD_REQUEST,
            "InvalidRequestID",
            "Invalid request ID",
        )
    }
}

fn refused(status: StatusCode, error_type: &str, message: &str) -> Response {
    json_reply(
        status,
        &json!({ "errorType": error_type, "errorMessage": message }),
    )
}

fn json_reply(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding this lock")
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("the clock is past 1970")
}

/// Has the form of a version 4 UUID, as Lambda's have.
fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let millis = since_epoch().as_millis();
    let (high, low) = ((millis >> 16) & 0xffff_ffff, millis & 0xffff);
    let process = std::process::id();
    format!(
        "{high:08x}-{low:04x}-4000-8{:03x}-{count:012x}",
        process & 0xfff
    )
}
