//! The OTLP endpoint: `POST /v1/metrics` with OpenTelemetry's protobuf, gzip or not.
//!
//! It checks every signature to the letter and wants the encoding of the body signed, holds every limit
//! that is documented, and where AWS contradicts itself the stricter one:
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html>.
//! What becomes of two values of one series and time is not documented. Equal ones are held once here, and
//! different ones are told ([`Otlp::conflicts`]): nobody should send them.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use axum::http::{Response, request::Parts};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{NumberDataPoint, number_data_point};
use prost::Message as _;
use serde_json::json;

use super::wire::{header, unpack};
use crate::doubles::faults::{ANY, Faults};
use crate::doubles::sigv4::{Credentials, Request, Verifier};
use crate::lambda::REGION;
use crate::real::ministack::MiniStack;

/// The endpoint's path.
pub(super) const PATH: &str = "/v1/metrics";

const MAX_BYTES: usize = 1_000_000;
const MAX_POINTS: usize = 1_000;
const MAX_LABELS: usize = 150;
const MAX_LABEL_BYTES: usize = 40_000;
const MAX_VALUE_CHARS: usize = 1_024;
const MAX_REQUESTS_A_SECOND: usize = 500;
const MAX_PAST_MS: i64 = 14 * 24 * 3_600_000;
/// AWS also says 2 hours.
const MAX_FUTURE_MS: i64 = 10 * 60_000;

/// In place of a status.
const NO_ANSWER: u16 = 0;

/// A series: its name and its labels.
pub type SeriesKey = (String, BTreeMap<String, String>);

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// How many points it carried, 0 where the body could not be read.
    pub points: usize,
    /// Length of the body on the wire.
    pub wire_bytes: usize,
    /// Length of the body after gzip.
    pub decoded_bytes: usize,
    /// HTTP status of the answer, 0 where there was none.
    pub status: u16,
    /// Points that were rejected from an accepted request.
    pub rejected: usize,
}

/// A failure that a test asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtlpFailure {
    /// Too many requests.
    Throttled,
    /// The service is overloaded.
    Unavailable,
    /// IAM does not allow the call.
    Denied,
    /// There is nothing at the path.
    NotFound,
    /// The request is not valid, for no reason that is documented.
    Invalid,
    /// The points are stored, and the answer is an error of the service all the same.
    StoredButUnavailable,
    /// The points are stored, and there is no answer.
    StoredButSilent,
}

/// One point as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Its series.
    pub series: SeriesKey,
    /// Unit of its metric.
    pub unit: String,
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Its value.
    pub value: f64,
}

type Predicate = Box<dyn Fn(&Point) -> bool + Send>;

/// What the endpoint holds and how it shall fail.
#[derive(Default)]
pub(super) struct Otlp {
    samples: BTreeMap<SeriesKey, BTreeMap<i64, f64>>,
    units: BTreeMap<String, String>,
    copies: usize,
    conflicts: Vec<Point>,
    exports: Vec<Export>,
    failures: Faults<OtlpFailure>,
    poison: Option<Predicate>,
    unwanted: Option<Predicate>,
    arrivals: VecDeque<Instant>,
}

impl Otlp {
    pub(super) fn exports(&self) -> Vec<Export> {
        self.exports.clone()
    }

    pub(super) fn samples(&self) -> BTreeMap<SeriesKey, BTreeMap<i64, f64>> {
        self.samples.clone()
    }

    pub(super) fn units(&self) -> BTreeMap<String, String> {
        self.units.clone()
    }

    pub(super) fn copies(&self) -> usize {
        self.copies
    }

    pub(super) fn conflicts(&self) -> Vec<Point> {
        self.conflicts.clone()
    }

    pub(super) fn fail_next(&self, times: usize, failure: OtlpFailure) {
        self.failures.inject(ANY, times, failure);
    }

    pub(super) fn refuse_with(&mut self, holds: impl Fn(&Point) -> bool + Send + 'static) {
        self.poison = Some(Box::new(holds));
    }

    pub(super) fn reject(&mut self, is_unwanted: impl Fn(&Point) -> bool + Send + 'static) {
        self.unwanted = Some(Box::new(is_unwanted));
    }

    pub(super) fn recover(&mut self) {
        self.failures.clear();
        self.poison = None;
        self.unwanted = None;
    }

    /// Takes one request. None is no answer.
    pub(super) fn answer(
        &mut self,
        parts: &Parts,
        body: &[u8],
        now: SystemTime,
        now_ms: i64,
    ) -> Option<Response<Body>> {
        let gzip = header(&parts.headers, "content-encoding") == "gzip";
        let unpacked = unpack(gzip, body).map_err(|refusal| Refused::invalid(refusal.message));
        let mut export = Export {
            points: 0,
            wire_bytes: body.len(),
            decoded_bytes: unpacked.as_ref().map_or(0, Vec::len),
            status: 200,
            rejected: 0,
        };
        let outcome = authorize(parts, body, now)
            .and_then(|()| self.limit_rate(Instant::now()))
            .and_then(|()| check_headers(parts))
            .and(unpacked)
            .and_then(|body| decode(&body))
            .and_then(|points| {
                export.points = points.len();
                self.take(points, now_ms)
            });
        let answer = match outcome {
            Ok(Rejected { points, why }) => {
                export.rejected = points;
                let partial = if points == 0 {
                    json!({})
                } else {
                    json!({"rejectedDataPoints": points.to_string(), "errorMessage": why})
                };
                Some(response(200, "", &json!({ "partialSuccess": partial })))
            }
            Err(refused) => {
                export.status = refused.status;
                let body = json!({"message": refused.message});
                (refused.status != NO_ANSWER).then(|| response(refused.status, refused.code, &body))
            }
        };
        self.exports.push(export);
        answer
    }

    fn limit_rate(&mut self, now: Instant) -> Result<(), Refused> {
        self.arrivals.push_back(now);
        while self
            .arrivals
            .front()
            .is_some_and(|first| now - *first > Duration::from_secs(1))
        {
            self.arrivals.pop_front();
        }
        if self.arrivals.len() > MAX_REQUESTS_A_SECOND {
            return Err(Refused::throttled());
        }
        Ok(())
    }

    fn take(&mut self, points: Vec<Point>, now_ms: i64) -> Result<Rejected, Refused> {
        let failure = self.failures.next(ANY);
        match failure {
            Some(OtlpFailure::Throttled) => return Err(Refused::throttled()),
            Some(OtlpFailure::Unavailable) => return Err(Refused::unavailable()),
            Some(OtlpFailure::Denied) => return Err(Refused::denied(NOT_AUTHORIZED)),
            Some(OtlpFailure::NotFound) => return Err(Refused::new(404, "", "Not Found")),
            Some(OtlpFailure::Invalid) => return Err(Refused::invalid("injected by the test")),
            Some(OtlpFailure::StoredButUnavailable | OtlpFailure::StoredButSilent) | None => {}
        }
        if let Some(poison) = &self.poison
            && points.iter().any(poison)
        {
            return Err(Refused::invalid("injected by the test"));
        }
        let all = points.len();
        let mut rejected = Rejected::default();
        for point in points {
            let unwanted = self.unwanted.as_ref().is_some_and(|is| is(&point));
            let fault = unwanted.then(|| "injected by the test".to_owned());
            match fault.or_else(|| fault_of(&point, now_ms)) {
                None => self.store(point),
                Some(why) => {
                    rejected.points += 1;
                    rejected.why = why;
                }
            }
        }
        if rejected.points == all && all > 0 {
            return Err(Refused::invalid(rejected.why));
        }
        match failure {
            Some(OtlpFailure::StoredButSilent) => Err(Refused::new(NO_ANSWER, "", "")),
            Some(_) => Err(Refused::unavailable()),
            None => Ok(rejected),
        }
    }

    fn store(&mut self, point: Point) {
        let Point {
            series,
            unit,
            at_ms,
            value,
        } = point.clone();
        self.units.insert(series.0.clone(), unit);
        let samples = self.samples.entry(series).or_default();
        match samples.insert(at_ms, value) {
            None => {}
            Some(before) if before.to_bits() == value.to_bits() => self.copies += 1,
            Some(before) => {
                samples.insert(at_ms, before);
                self.conflicts.push(point);
            }
        }
    }
}

const NOT_AUTHORIZED: &str = "User: arn:aws:sts::123456789012:assumed-role/test/test is not authorized to \
                              perform: cloudwatch:PutMetricData on resource: \
                              arn:aws:cloudwatch:us-east-2:123456789012:dataset/default";

#[derive(Default)]
struct Rejected {
    points: usize,
    why: String,
}

/// A request that is answered with an error.
struct Refused {
    status: u16,
    code: &'static str,
    message: String,
}

impl Refused {
    fn new(status: u16, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn throttled() -> Self {
        Self::new(429, "ThrottlingException", "Rate exceeded")
    }

    fn unavailable() -> Self {
        Self::new(503, "ServiceUnavailableException", "injected by the test")
    }

    fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDeniedException", message)
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "ValidationException", message)
    }
}

fn response(status: u16, code: &str, body: &serde_json::Value) -> Response<Body> {
    let response = Response::builder()
        .status(status)
        .header("content-type", "application/json");
    let response = if code.is_empty() {
        response
    } else {
        response.header("x-amzn-errortype", code)
    };
    let body = Body::from(body.to_string());
    response
        .body(body)
        .expect("every header here is plain ASCII")
}

/// A function's own credentials in tests, and those of a deployed one.
fn authorize(parts: &Parts, body: &[u8], now: SystemTime) -> Result<(), Refused> {
    let request = Request::new(parts, body);
    let known = [Credentials::example(), MiniStack::credentials()];
    let mut verified = known.into_iter().map(|credentials| {
        let verifier = Verifier {
            credentials,
            region: REGION.to_owned(),
            service: "monitoring",
        };
        verifier.verify(&request, now)
    });
    let refusal = match (verified.next(), verified.next()) {
        (Some(Ok(())), _) | (_, Some(Ok(()))) => None,
        (Some(Err(refusal)), _) => Some(refusal),
        _ => unreachable!("there are two credentials"),
    };
    refusal.map_or(Ok(()), |refusal| {
        Err(Refused::new(403, refusal.error_type(), refusal.to_string()))
    })
}

/// The type of the body, and its encoding signed: a compressed body whose encoding is not signed is an
/// open question with ADOT.
fn check_headers(parts: &Parts) -> Result<(), Refused> {
    if parts.method != "POST" {
        return Err(Refused::new(405, "MethodNotAllowed", "use POST"));
    }
    let content_type = header(&parts.headers, "content-type");
    if content_type != "application/x-protobuf" {
        return Err(Refused::new(
            415,
            "UnsupportedMediaType",
            format!("{content_type:?} is not taken here"),
        ));
    }
    let encoding = header(&parts.headers, "content-encoding");
    if !["", "gzip"].contains(&encoding) {
        return Err(Refused::invalid(format!("unknown encoding {encoding:?}")));
    }
    let authorization = header(&parts.headers, "authorization");
    let signed = authorization
        .split(',')
        .find_map(|field| field.trim().strip_prefix("SignedHeaders="))
        .unwrap_or_default();
    let is_signed = |name: &str| signed.split(';').any(|signed| signed == name);
    if !is_signed("content-type") || (encoding == "gzip" && !is_signed("content-encoding")) {
        return Err(Refused::new(
            403,
            "InvalidSignatureException",
            "content-type and content-encoding have to be signed",
        ));
    }
    Ok(())
}

fn decode(body: &[u8]) -> Result<Vec<Point>, Refused> {
    if body.len() > MAX_BYTES {
        return Err(Refused::invalid(format!(
            "Maximum request size exceeded: {MAX_BYTES}."
        )));
    }
    let request = ExportMetricsServiceRequest::decode(body)
        .map_err(|error| Refused::invalid(error.to_string()))?;
    if request.encoded_len() != body.len() {
        return Err(Refused::invalid("a field that the schema does not know"));
    }
    let mut points = Vec::new();
    for resource in request.resource_metrics {
        let of_resource = resource.resource.map(|resource| resource.attributes);
        let of_resource = labels(of_resource.unwrap_or_default(), "@resource.")?;
        for metric in resource
            .scope_metrics
            .into_iter()
            .flat_map(|scope| scope.metrics)
        {
            let Some(Data::Gauge(gauge)) = metric.data else {
                return Err(Refused::invalid(format!("{} is no gauge", metric.name)));
            };
            if metric.name.is_empty() || gauge.data_points.is_empty() {
                return Err(Refused::invalid(
                    "a metric without a name, or without points",
                ));
            }
            for point in gauge.data_points {
                let read = read(point)?;
                let mut labels = of_resource.clone();
                labels.extend(read.0);
                points.push(Point {
                    series: (metric.name.clone(), labels),
                    unit: metric.unit.clone(),
                    at_ms: read.1,
                    value: read.2,
                });
            }
        }
    }
    if points.len() > MAX_POINTS {
        return Err(Refused::invalid(format!(
            "Maximum number of datapoints per request exceeded: {MAX_POINTS}."
        )));
    }
    Ok(points)
}

type Read = (BTreeMap<String, String>, i64, f64);

fn read(point: NumberDataPoint) -> Result<Read, Refused> {
    let Some(number_data_point::Value::AsDouble(value)) = point.value else {
        return Err(Refused::invalid("a point without a double"));
    };
    if point.time_unix_nano == 0 || !point.time_unix_nano.is_multiple_of(1_000_000) {
        return Err(Refused::invalid("a time that is no whole millisecond"));
    }
    let at_ms = (point.time_unix_nano / 1_000_000) as i64;
    Ok((labels(point.attributes, "")?, at_ms, value))
}

fn labels(attributes: Vec<KeyValue>, prefix: &str) -> Result<BTreeMap<String, String>, Refused> {
    let mut labels = BTreeMap::new();
    for KeyValue { key, value, .. } in attributes {
        let Some(AnyValue {
            value: Some(Value::StringValue(value)),
        }) = value
        else {
            return Err(Refused::invalid(format!("{key} is no text")));
        };
        if key.is_empty() || labels.insert(format!("{prefix}{key}"), value).is_some() {
            return Err(Refused::invalid(format!(
                "label {key:?} is empty, or there twice"
            )));
        }
    }
    Ok(labels)
}

/// Why a single point is rejected.
fn fault_of(point: &Point, now_ms: i64) -> Option<String> {
    let (_, labels) = &point.series;
    let bytes: usize = labels
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let age_ms = now_ms - point.at_ms;
    if labels.len() > MAX_LABELS {
        Some(format!(
            "Maximum number of labels per datapoint exceeded: {MAX_LABELS}."
        ))
    } else if bytes > MAX_LABEL_BYTES {
        Some(format!(
            "Maximum size of labels per datapoint exceeded: {MAX_LABEL_BYTES}."
        ))
    } else if labels
        .values()
        .any(|value| value.chars().count() > MAX_VALUE_CHARS)
    {
        Some(format!(
            "Maximum length of a label value exceeded: {MAX_VALUE_CHARS}."
        ))
    } else if !(-MAX_FUTURE_MS..=MAX_PAST_MS).contains(&age_ms) {
        Some("The timestamp is too far in the past or in the future.".to_owned())
    } else if !point.value.is_finite() {
        Some("The value is no number.".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_than_500_requests_a_second_are_throttled() {
        let mut otlp = Otlp::default();
        let start = Instant::now();
        let mut at = |millis| {
            otlp.limit_rate(start + Duration::from_millis(millis))
                .is_ok()
        };
        assert!((0..500).all(&mut at));
        assert!(!at(999));
        assert!(at(1_600));
    }
}
