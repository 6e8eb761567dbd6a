//! The CloudWatch double, asked by the clients that will use it: the AWS SDK and the AWS CLI.

mod aws_cli;
mod limits;
mod otlp;
mod reads;

use std::time::{Duration, Instant, UNIX_EPOCH};

use aws_sdk_cloudwatch::Client;
use aws_sdk_cloudwatch::config::retry::RetryConfig;
use aws_sdk_cloudwatch::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use aws_sdk_cloudwatch::primitives::DateTime;
use aws_sdk_cloudwatch::types::builders::MetricDatumBuilder;
use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
use proptest::prelude::*;
use suites::sdk;
use testkit::doubles::cloudwatch::{CloudWatch, Datum, Failure, Outcome};
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::REGION;

const NAMESPACE: &str = "ParallelCluster/test/GPU";
/// A whole minute.
const NOW: i64 = 1_795_323_600;
const TWO_WEEKS: i64 = 14 * 24 * 3600;
const TWO_HOURS: i64 = 2 * 3600;

/// A double whose clock stands at `NOW`, and a client that retries without waiting.
async fn start() -> (CloudWatch, Client) {
    let cloudwatch = CloudWatch::start().await.expect("a free port");
    cloudwatch.set_now(UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs()));
    let retries = RetryConfig::standard().with_initial_backoff(Duration::ZERO);
    let config = sdk::config(cloudwatch.url(), REGION, Credentials::example(), retries);
    (cloudwatch, Client::new(&config))
}

async fn put(
    client: &Client,
    namespace: &str,
    datums: Vec<MetricDatum>,
) -> Result<(), SdkError<PutMetricDataError>> {
    let request = client.put_metric_data().namespace(namespace);
    request.set_metric_data(Some(datums)).send().await?;
    Ok(())
}

fn time(seconds: i64) -> DateTime {
    DateTime::from_secs(seconds)
}

fn named(name: &str) -> MetricDatumBuilder {
    MetricDatum::builder().metric_name(name)
}

/// A datum that still lacks its value.
fn unvalued() -> MetricDatumBuilder {
    named("GPUUtilization").timestamp(time(NOW))
}

fn datum() -> MetricDatumBuilder {
    unvalued().value(1.5)
}

fn dimension(name: &str, value: &str) -> Dimension {
    Dimension::builder().name(name).value(value).build()
}

fn dimensions(count: usize) -> Vec<Dimension> {
    let name = |n| dimension(&format!("d{n}"), "v");
    (0..count).map(name).collect()
}

fn gpu(instance: &str, gpu: &str) -> Vec<Dimension> {
    vec![dimension("InstanceId", instance), dimension("GPU", gpu)]
}

/// 1,200 dimension values of a length that CBOR writes with a three-byte head, so that each
/// character more is a byte more.
fn padded(padding: usize) -> Vec<MetricDatum> {
    let mut padding = padding;
    let mut value = || {
        let more = padding.min(200);
        padding -= more;
        "v".repeat(800 + more)
    };
    let mut padded = || {
        let dimension = |n| dimension(&format!("d{n}"), &value());
        let dimensions = (0..30).map(dimension).collect();
        datum().set_dimensions(Some(dimensions)).build()
    };
    (0..40).map(|_| padded()).collect()
}

#[tokio::test]
async fn a_body_over_one_megabyte_before_gzip_is_too_large() {
    let (cloudwatch, client) = start().await;
    put(&client, NAMESPACE, padded(0)).await.unwrap();
    let room = 1_000_000 - cloudwatch.requests()[0].decoded_bytes;

    put(&client, NAMESPACE, padded(room)).await.unwrap();
    let error = put(&client, NAMESPACE, padded(room + 1)).await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 413);
    let error = error.into_service_error();
    assert_eq!(error.code(), Some("RequestEntityTooLarge"));
    let says = "Request size 1000001 exceeded 1000000 bytes";
    assert_eq!(error.message(), Some(says));
    assert_eq!(cloudwatch.datums().len(), 80);
    assert_eq!(cloudwatch.requests()[1].decoded_bytes, 1_000_000);
}

#[tokio::test]
async fn long_requests_arrive_by_gzip() {
    let (cloudwatch, client) = start().await;
    put(&client, NAMESPACE, vec![datum().build()])
        .await
        .unwrap();
    put(&client, NAMESPACE, vec![datum().build(); 500])
        .await
        .unwrap();

    let [short, long] = cloudwatch.requests().try_into().unwrap();
    assert!(!short.gzip);
    assert_eq!((short.datums, short.wire_bytes), (1, short.decoded_bytes));
    assert!(long.gzip);
    assert_eq!(long.datums, 500);
    assert!(long.wire_bytes < long.decoded_bytes && long.decoded_bytes > 10_240);
    assert_eq!(cloudwatch.datums().len(), 501);
}

#[tokio::test]
async fn injected_failures_are_what_the_sdk_takes_them_for() {
    let throttled = Outcome::Refused(Failure::Throttling);
    let broken = Outcome::Refused(Failure::InternalServiceError);
    let denied = Outcome::Refused(Failure::AccessDenied);
    for (failure, times, code, outcomes) in [
        (
            Failure::Throttling,
            2,
            None,
            vec![throttled.clone(), throttled.clone(), Outcome::Accepted],
        ),
        (
            Failure::Throttling,
            3,
            Some("Throttling"),
            vec![throttled; 3],
        ),
        (
            Failure::InternalServiceError,
            3,
            Some("InternalServiceError"),
            vec![broken; 3],
        ),
        (Failure::AccessDenied, 1, Some("AccessDenied"), vec![denied]),
    ] {
        let (cloudwatch, client) = start().await;
        cloudwatch.fail_next(times, failure);
        let result = put(&client, NAMESPACE, vec![datum().build()]).await;
        let error = result.map_err(SdkError::into_service_error).err();
        assert_eq!(error.as_ref().and_then(ProvideErrorMetadata::code), code);
        if failure == Failure::InternalServiceError {
            assert!(error.is_some_and(|error| error.is_internal_service_fault()));
        }
        let found: Vec<_> = cloudwatch
            .requests()
            .into_iter()
            .map(|r| r.outcome)
            .collect();
        assert_eq!(found, outcomes, "{failure:?}");
        assert_eq!(cloudwatch.datums().len(), usize::from(code.is_none()));
    }
}

#[tokio::test]
async fn a_refused_metric_costs_the_requests_that_hold_it() {
    let (cloudwatch, client) = start().await;
    cloudwatch.fail_when(
        |datum| datum.name == "GPUTemperature",
        Failure::InvalidParameterValue,
    );
    let good = datum().build();
    let bad = named("GPUTemperature")
        .value(1.0)
        .timestamp(time(NOW))
        .build();
    let error = put(&client, NAMESPACE, vec![good.clone(), bad])
        .await
        .unwrap_err();
    assert!(
        error
            .into_service_error()
            .is_invalid_parameter_value_exception()
    );
    assert!(cloudwatch.datums().is_empty());

    put(&client, NAMESPACE, vec![good]).await.unwrap();
    assert_eq!(cloudwatch.datums().len(), 1);
}

fn signed_for(service: &str) -> String {
    let signature = "0".repeat(64);
    format!(
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261122/us-east-2/{service}/aws4_request, \
         SignedHeaders=host;x-amz-date, Signature={signature}"
    )
}

/// A JSON call by hand.
fn call(cloudwatch: &CloudWatch, operation: &str) -> reqwest::RequestBuilder {
    let target = format!("GraniteServiceVersion20100801.{operation}");
    let request = reqwest::Client::new().post(cloudwatch.url());
    request
        .header("x-amz-target", target)
        .header("x-amz-date", "20261122T050000Z")
}

#[tokio::test]
async fn only_requests_signed_for_monitoring_are_served() {
    let (cloudwatch, _) = start().await;
    for (authorization, status, code) in [
        (None, 403, "MissingAuthenticationToken"),
        (
            Some("Bearer token".to_owned()),
            403,
            "SignatureDoesNotMatch",
        ),
        (Some(signed_for("aps")), 403, "SignatureDoesNotMatch"),
        (Some(signed_for("monitoring")), 400, "MissingParameter"),
    ] {
        let mut request = call(&cloudwatch, "PutMetricData").body("{}");
        if let Some(authorization) = &authorization {
            request = request.header("authorization", authorization);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{authorization:?}");
        let error = response.headers()["x-amzn-query-error"].clone();
        assert_eq!(error, format!("{code};Sender"), "{authorization:?}");
    }
    assert!(cloudwatch.datums().is_empty());
}

#[tokio::test]
async fn what_cannot_be_understood_is_refused() {
    let (cloudwatch, _) = start().await;
    let unknown_field = r#"{"Namespace": "N", "EntityMetricData": []}"#;
    for (operation, body, encoding, status, code) in [
        ("PutMetricData", "{", "", 400, "SerializationException"),
        (
            "PutMetricData",
            unknown_field,
            "",
            400,
            "SerializationException",
        ),
        ("PutMetricData", "{}", "gzip", 400, "SerializationException"),
        ("PutDashboard", "{}", "", 404, "UnknownOperationException"),
    ] {
        let request = call(&cloudwatch, operation).header("content-encoding", encoding);
        let request = request.header("authorization", signed_for("monitoring"));
        let response = request.body(body).send().await.unwrap();
        assert_eq!(response.status(), status, "{operation} {body}");
        let error: serde_json::Value =
            serde_json::from_str(&response.text().await.unwrap()).unwrap();
        assert_eq!(
            error["__type"],
            format!("com.amazonaws.cloudwatch#{code}"),
            "{body}"
        );
    }
    let query_protocol = reqwest::Client::new().post(cloudwatch.url());
    let query_protocol = query_protocol.body("Action=ListMetrics&Version=2010-08-01");
    let response = query_protocol.send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert!(response.text().await.unwrap().contains("newer SDK"));
    assert!(cloudwatch.datums().is_empty());
}

#[tokio::test]
async fn a_delay_is_the_least_a_call_takes() {
    let (cloudwatch, client) = start().await;
    let delay = Duration::from_millis(50);
    cloudwatch.set_delay(delay);
    let started = Instant::now();
    put(&client, NAMESPACE, vec![datum().build()])
        .await
        .unwrap();
    assert!(started.elapsed() >= delay);
}

#[tokio::test]
async fn the_last_handle_stops_the_server() {
    let (cloudwatch, client) = start().await;
    let address = cloudwatch.url().replace("http://", "");
    drop(cloudwatch.clone());
    put(&client, NAMESPACE, vec![datum().build()])
        .await
        .unwrap();

    drop(cloudwatch);
    let refused = async {
        while tokio::net::TcpStream::connect(&address).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(10), refused).await;
    assert!(in_time.is_ok(), "{address} still answers");
}

fn value() -> impl Strategy<Value = f64> {
    let inside =
        (prop::bool::ANY, 1.0..2.0f64, -360..360i32).prop_map(|(negative, m, exponent)| {
            let magnitude = m * 2f64.powi(exponent);
            if negative { -magnitude } else { magnitude }
        });
    prop_oneof![1 => Just(0.0), 9 => inside]
}

prop_compose! {
    fn any_datum()(
        name in "[!-~][ -~]{0,30}",
        dimensions in prop::collection::btree_map("[!-9;-~][ -~]{0,20}", "[!-~][ -~]{0,60}", 0..=30),
        age_ms in -TWO_HOURS * 1000..=TWO_WEEKS * 1000,
        values in prop::collection::vec((value(), 0.001..1e9f64), 1..=150),
        unit in prop::sample::select(StandardUnit::values()),
        storage_resolution in prop::sample::select(vec![1, 60]),
    ) -> Datum {
        Datum {
            namespace: NAMESPACE.into(),
            name,
            dimensions,
            timestamp_ms: NOW * 1000 - age_ms,
            values,
            statistics: None,
            unit: unit.into(),
            storage_resolution,
        }
    }
}

fn as_sent(datum: &Datum) -> MetricDatum {
    let (values, counts) = datum.values.iter().copied().unzip();
    let dimensions = datum
        .dimensions
        .iter()
        .map(|(name, value)| dimension(name, value));
    MetricDatum::builder()
        .metric_name(&datum.name)
        .set_dimensions(Some(dimensions.collect()))
        .timestamp(DateTime::from_millis(datum.timestamp_ms))
        .set_values(Some(values))
        .set_counts(Some(counts))
        .unit(datum.unit.as_str().into())
        .storage_resolution(if datum.storage_resolution == 1 { 1 } else { 60 })
        .build()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_stored_is_what_was_sent(datums in prop::collection::vec(any_datum(), 1..=6)) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stored = runtime.block_on(async {
            let (cloudwatch, client) = start().await;
            put(&client, NAMESPACE, datums.iter().map(as_sent).collect()).await.unwrap();
            cloudwatch.datums()
        });
        prop_assert_eq!(stored, datums);
    }
}
