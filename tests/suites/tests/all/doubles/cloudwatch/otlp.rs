//! The OTLP endpoint of the CloudWatch double, asked with OpenTelemetry's own schema.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests, where a panic is the failure"
)]
#![expect(
    clippy::disallowed_methods,
    reason = "signatures and samples are of this moment"
)]

use std::io::Write as _;
use std::time::SystemTime;

use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use flate2::Compression;
use flate2::write::GzEncoder;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use prost::Message as _;
use testkit::doubles::cloudwatch::CloudWatch;
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::REGION;

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const GZIP: (&str, &str) = ("content-encoding", "gzip");

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_millis() as i64
}

fn label(name: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue {
        value: Some(Value::StringValue(value.to_owned())),
    });
    KeyValue {
        key: name.to_owned(),
        value,
        ..Default::default()
    }
}

fn point(at_ms: i64, labels: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels,
        time_unix_nano: at_ms.unsigned_abs() * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(37.5)),
        ..Default::default()
    }
}

fn request(data: Data) -> Vec<u8> {
    let metric = Metric {
        name: "DCGM_FI_DEV_GPU_TEMP".to_owned(),
        unit: "Cel".to_owned(),
        data: Some(data),
        ..Default::default()
    };
    let scope = ScopeMetrics {
        metrics: vec![metric],
        ..Default::default()
    };
    let resource = ResourceMetrics {
        scope_metrics: vec![scope],
        ..Default::default()
    };
    let request = ExportMetricsServiceRequest {
        resource_metrics: vec![resource],
    };
    request.encode_to_vec()
}

fn gauge(data_points: Vec<NumberDataPoint>) -> Vec<u8> {
    request(Data::Gauge(Gauge { data_points }))
}

fn pack(body: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(body).unwrap();
    packed.finish().unwrap()
}

/// A request, and what of it is signed, for which service.
struct Call<'a> {
    service: &'a str,
    signed: &'a [(&'static str, &'static str)],
    unsigned: &'a [(&'static str, &'static str)],
}

const USUAL: Call<'_> = Call {
    service: "monitoring",
    signed: &[PROTOBUF],
    unsigned: &[],
};

/// Status and body of the answer.
async fn send(cloudwatch: &CloudWatch, call: &Call<'_>, body: Vec<u8>) -> (u16, String) {
    let url = format!("{}/v1/metrics", cloudwatch.url());
    let Credentials {
        access_key_id,
        secret_access_key,
        session_token,
    } = Credentials::example();
    let identity = aws_credential_types::Credentials::new(
        access_key_id,
        secret_access_key,
        session_token,
        None,
        "test",
    );
    let identity = identity.into();
    let parameters = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name(call.service)
        .time(SystemTime::now())
        .settings(SigningSettings::default())
        .build()
        .unwrap()
        .into();
    let signable = SignableBody::Bytes(&body);
    let headers = call.signed.iter().copied();
    let signable = SignableRequest::new("POST", &url, headers, signable).unwrap();
    let (signature, _) = sign(signable, &parameters).unwrap().into_parts();
    let mut request = reqwest::Client::new().post(&url);
    let headers = signature.headers().chain(call.signed.iter().copied());
    for (name, value) in headers.chain(call.unsigned.iter().copied()) {
        request = request.header(name, value);
    }
    let answer = request.body(body).send().await.unwrap();
    (answer.status().as_u16(), answer.text().await.unwrap())
}

#[tokio::test]
async fn points_are_held_as_they_were_sent_gzip_or_not() {
    let cloudwatch = CloudWatch::start().await.unwrap();
    let at = now_ms();
    let body = gauge(vec![point(at, vec![label("gpu", "3")])]);
    let packed = Call {
        signed: &[PROTOBUF, GZIP],
        ..USUAL
    };
    let expected = (200, r#"{"partialSuccess":{}}"#.to_owned());
    assert_eq!(send(&cloudwatch, &packed, pack(&body)).await, expected);
    assert_eq!(send(&cloudwatch, &USUAL, body).await, expected);
    let samples: Vec<_> = cloudwatch.otlp_samples().into_iter().collect();
    let [((name, labels), values)] = &samples[..] else {
        panic!("{samples:?}");
    };
    assert_eq!(
        (name.as_str(), labels["gpu"].as_str()),
        ("DCGM_FI_DEV_GPU_TEMP", "3")
    );
    assert_eq!(values.iter().collect::<Vec<_>>(), [(&at, &37.5)]);
    assert_eq!(
        (cloudwatch.otlp_copies(), cloudwatch.otlp_conflicts()),
        (1, vec![])
    );
}

#[tokio::test]
async fn another_value_at_the_same_time_is_told() {
    let cloudwatch = CloudWatch::start().await.unwrap();
    let at = now_ms();
    let mut other = point(at, vec![]);
    other.value = Some(number_data_point::Value::AsDouble(38.0));
    send(&cloudwatch, &USUAL, gauge(vec![point(at, vec![]), other])).await;
    let conflicts = cloudwatch.otlp_conflicts();
    assert_eq!((conflicts.len(), conflicts[0].value), (1, 38.0));
}

#[tokio::test]
async fn only_what_is_signed_for_monitoring_with_its_encoding_is_served() {
    let rows = [
        (
            Call {
                service: "aps",
                ..USUAL
            },
            403,
            "scoped to",
        ),
        (
            Call {
                signed: &[],
                unsigned: &[PROTOBUF],
                ..USUAL
            },
            403,
            "have to be signed",
        ),
        (
            Call {
                signed: &[PROTOBUF],
                unsigned: &[GZIP],
                ..USUAL
            },
            403,
            "have to be signed",
        ),
        (
            Call {
                signed: &[("content-type", "application/json")],
                ..USUAL
            },
            415,
            "not taken",
        ),
        (USUAL, 200, "partialSuccess"),
    ];
    let cloudwatch = CloudWatch::start().await.unwrap();
    for (call, status, part) in rows {
        let body = gauge(vec![point(now_ms(), vec![])]);
        let body = if call.unsigned.contains(&GZIP) {
            pack(&body)
        } else {
            body
        };
        let (found, answer) = send(&cloudwatch, &call, body).await;
        assert_eq!(found, status, "{answer}");
        assert!(answer.contains(part), "{answer}");
    }
    let url = format!("{}/v1/metrics", cloudwatch.url());
    let unsigned = reqwest::Client::new().post(url).send().await.unwrap();
    assert_eq!(unsigned.status(), 403);
    assert_eq!(
        unsigned.headers()["x-amzn-errortype"],
        "MissingAuthenticationTokenException"
    );
}

#[tokio::test]
async fn a_request_beyond_a_limit_is_refused_whole() {
    let cloudwatch = CloudWatch::start().await.unwrap();
    let points = |count: i64| (0..count).map(|n| point(now_ms() - n, vec![])).collect();
    let (status, _) = send(&cloudwatch, &USUAL, gauge(points(1_000))).await;
    assert_eq!(status, 200);
    let stored = cloudwatch.otlp_samples();
    let (status, answer) = send(&cloudwatch, &USUAL, gauge(points(1_001))).await;
    assert_eq!(status, 400);
    assert!(
        answer.contains("Maximum number of datapoints per request exceeded: 1000."),
        "{answer}"
    );

    let long = "x".repeat(1_024);
    let labels: Vec<_> = (0..30).map(|n| label(&format!("l{n}"), &long)).collect();
    let large = (0..33)
        .map(|n| point(now_ms() - n, labels.clone()))
        .collect();
    let large = gauge(large);
    assert!(large.len() > 1_000_000);
    let (status, answer) = send(&cloudwatch, &USUAL, large).await;
    assert_eq!(status, 400);
    assert!(answer.contains("request size"), "{answer}");

    let sum = Sum {
        data_points: vec![point(now_ms(), vec![])],
        ..Default::default()
    };
    let mut integer = point(now_ms(), vec![]);
    integer.value = Some(number_data_point::Value::AsInt(1));
    let mut unknown = gauge(vec![point(now_ms(), vec![])]);
    unknown.extend([0x7a, 0x00]);
    for body in [
        request(Data::Sum(sum)),
        gauge(vec![integer]),
        gauge(vec![]),
        gauge(vec![point(
            now_ms(),
            vec![label("a", "1"), label("a", "2")],
        )]),
        unknown,
        b"nonsense".to_vec(),
    ] {
        let (status, answer) = send(&cloudwatch, &USUAL, body).await;
        assert_eq!(status, 400, "{answer}");
    }
    assert_eq!(cloudwatch.otlp_samples(), stored);
}

#[tokio::test]
async fn a_point_beyond_a_limit_is_rejected_alone_and_if_all_are_so_is_the_request() {
    let day = 24 * 3_600_000;
    let labels = |count: usize| (0..count).map(|n| label(&format!("l{n}"), "v")).collect();
    let long = |length: usize| vec![label("l", &"x".repeat(length))];
    let many = |count: usize| {
        let value = "x".repeat(1_000);
        (0..count)
            .map(|n| label(&format!("l{n:02}"), &value))
            .collect::<Vec<_>>()
    };
    let rows: [(NumberDataPoint, NumberDataPoint, &str); 5] = [
        (
            point(now_ms(), labels(150)),
            point(now_ms(), labels(151)),
            "number of labels",
        ),
        (
            point(now_ms(), long(1_024)),
            point(now_ms(), long(1_025)),
            "length of a label value",
        ),
        (
            point(now_ms(), many(39)),
            point(now_ms(), many(40)),
            "size of labels",
        ),
        (
            point(now_ms() - 14 * day + 60_000, vec![]),
            point(now_ms() - 14 * day - 1, vec![]),
            "timestamp",
        ),
        (
            point(now_ms() + 540_000, vec![]),
            point(now_ms() + 660_000, vec![]),
            "timestamp",
        ),
    ];
    for (inside, outside, part) in rows {
        let cloudwatch = CloudWatch::start().await.unwrap();
        let body = gauge(vec![inside, outside.clone()]);
        let (status, answer) = send(&cloudwatch, &USUAL, body).await;
        assert_eq!(status, 200, "{answer}");
        assert!(
            answer.contains(r#""rejectedDataPoints":"1""#) && answer.contains(part),
            "{answer}"
        );
        assert_eq!(cloudwatch.otlp_samples().len(), 1, "{part}");
        let (status, answer) = send(&cloudwatch, &USUAL, gauge(vec![outside])).await;
        assert_eq!(status, 400, "{answer}");
        assert!(answer.contains(part), "{answer}");
        let rejected: Vec<_> = cloudwatch
            .exports()
            .iter()
            .map(|export| export.rejected)
            .collect();
        assert_eq!(rejected, [1, 0]);
    }
}
