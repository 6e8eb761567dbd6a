//! The AMP gateway before a real Prometheus with a history, asked as the functions ask it.

#![expect(
    clippy::unwrap_used,
    reason = "a helper of a test may fail it as the test itself may"
)]
#![expect(clippy::disallowed_methods, reason = "a signer reads the clock")]

use std::{
    io::Read as _,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};
use testkit::doubles::amp_gateway::{AmpGateway, Failure, Operation, Options};
use testkit::doubles::dcgm_exporter::{Field, Node};
use testkit::doubles::sigv4::Credentials;
use testkit::real::prometheus::{self, History, Prometheus, every};

const FORM: &str = "application/x-www-form-urlencoded";
const QUERY: &str = "query=DCGM_FI_DEV_GPU_UTIL%5B1m%5D&time=1700000059";

/// A minute in the past, four samples of it for each of 16 GPUs.
fn minute() -> Vec<SystemTime> {
    let start = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    every(
        Duration::from_secs(15),
        start,
        start + Duration::from_secs(60),
    )
}

async fn amp() -> (Prometheus, AmpGateway) {
    let nodes = [Node::p5en(0), Node::p5en(1)];
    let mut history = History::new().unwrap();
    history
        .fleet(&nodes, &Field::published(), &minute(), Node::load)
        .unwrap();
    let options = prometheus::Options {
        history: vec![history],
        ..Default::default()
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    let amp = AmpGateway::start(prometheus.url(), Options::default())
        .await
        .unwrap();
    (prometheus, amp)
}

/// How a request is signed, right by default.
#[derive(Clone)]
struct Signer {
    credentials: Credentials,
    region: &'static str,
    service: &'static str,
    time: SystemTime,
}

impl Default for Signer {
    fn default() -> Self {
        let credentials = Credentials::example();
        Self {
            credentials,
            region: "us-east-2",
            service: "aps",
            time: SystemTime::now(),
        }
    }
}

impl Signer {
    fn post(&self, url: &str, form: &str) -> reqwest::RequestBuilder {
        self.post_bytes(url, FORM, form.as_bytes())
    }

    fn post_bytes(&self, url: &str, content_type: &str, body: &[u8]) -> reqwest::RequestBuilder {
        let identity = aws_credential_types::Credentials::new(
            &self.credentials.access_key_id,
            &self.credentials.secret_access_key,
            self.credentials.session_token.clone(),
            None,
            "test",
        )
        .into();
        let params = SigningParams::builder()
            .identity(&identity)
            .region(self.region)
            .name(self.service)
            .time(self.time)
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = [("content-type", content_type)];
        let signable = SignableBody::Bytes(body);
        let request = SignableRequest::new("POST", url, headers.into_iter(), signable).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let request = reqwest::Client::new()
            .post(url)
            .header("content-type", content_type);
        instructions
            .headers()
            .fold(request, |request, (name, value)| {
                request.header(name, value)
            })
            .body(body.to_owned())
    }

    async fn query(&self, amp: &AmpGateway) -> Response {
        let url = format!("{}/api/v1/query", amp.workspace_url());
        self.post(&url, QUERY).send().await.unwrap()
    }
}

async fn text(response: Response) -> (StatusCode, String, String) {
    let status = response.status();
    let error_type = response.headers().get("x-amzn-errortype");
    let error_type = error_type
        .map_or("", |value| value.to_str().unwrap())
        .to_owned();
    (status, error_type, response.text().await.unwrap())
}

#[tokio::test]
async fn a_signed_query_answers_raw_samples_with_their_own_times() {
    let (_prometheus, amp) = amp().await;
    let (status, _, body) = text(Signer::default().query(&amp).await).await;
    assert_eq!(status, 200, "{body}");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(body["data"]["resultType"], "matrix");

    let result = body["data"]["result"].as_array().unwrap();
    assert_eq!(result.len(), 16);
    let node = Node::p5en(1);
    let wanted = &node.series()[3];
    let field = Field::named("DCGM_FI_DEV_GPU_UTIL").unwrap();
    let series = result
        .iter()
        .find(|s| s["metric"]["instance_id"] == *node.instance_id && s["metric"]["gpu"] == "3")
        .unwrap();
    assert_eq!(series["metric"]["hostname"], *node.hostname);
    let samples = minute().into_iter().map(|time| {
        let seconds = time.duration_since(UNIX_EPOCH).unwrap().as_secs();
        json!([seconds, node.load(wanted, field, time).to_string()])
    });
    assert_eq!(series["values"], Value::from_iter(samples));

    let request = &amp.requests()[0];
    assert_eq!(request.operation, Some(Operation::QueryMetrics));
    assert_eq!(request.parameter("query"), "DCGM_FI_DEV_GPU_UTIL[1m]");
    assert_eq!(request.status, Some(200));
    assert!(request.response_bytes > 16 * 100);
}

#[tokio::test]
async fn a_bad_signature_is_refused_with_awss_own_words() {
    let (_prometheus, amp) = amp().await;
    let right = Signer::default;
    let with = |change: fn(&mut Credentials)| {
        let mut signer = right();
        change(&mut signer.credentials);
        signer
    };
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    for (name, signer, error_type, message) in [
        (
            "wrong secret",
            with(|credentials| credentials.secret_access_key.push('x')),
            "InvalidSignatureException",
            "The request signature we calculated does not match",
        ),
        (
            "unknown key",
            with(|credentials| credentials.access_key_id = "ASIAOTHER".to_owned()),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            "session token left out",
            with(|credentials| credentials.session_token = None),
            "UnrecognizedClientException",
            "The security token included in the request is invalid.",
        ),
        (
            "wrong service",
            Signer {
                service: "monitoring",
                ..right()
            },
            "InvalidSignatureException",
            "Credential should be scoped to",
        ),
        (
            "wrong region",
            Signer {
                region: "us-east-1",
                ..right()
            },
            "InvalidSignatureException",
            "Credential should be scoped to",
        ),
        (
            "slow clock",
            Signer {
                time: SystemTime::now() - minutes(6),
                ..right()
            },
            "InvalidSignatureException",
            "Signature expired",
        ),
        (
            "fast clock",
            Signer {
                time: SystemTime::now() + minutes(6),
                ..right()
            },
            "InvalidSignatureException",
            "Signature not yet current",
        ),
    ] {
        let (status, got, body) = text(signer.query(&amp).await).await;
        assert_eq!(
            (status, got.as_str()),
            (StatusCode::FORBIDDEN, error_type),
            "{name}: {body}"
        );
        let body: Value = serde_json::from_str(&body).unwrap();
        assert!(
            body["message"].as_str().unwrap().contains(message),
            "{name}: {body}"
        );
    }
    assert!(
        amp.requests()
            .iter()
            .all(|request| request.refusal.is_some())
    );
}

#[tokio::test]
async fn a_request_changed_on_its_way_is_refused() {
    let (_prometheus, amp) = amp().await;
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let signed = || Signer::default().post(&url, QUERY);
    let client = reqwest::Client::new();
    let unsigned = client.post(&url).header("content-type", FORM).body(QUERY);
    let (status, error_type, body) = text(unsigned.send().await.unwrap()).await;
    assert_eq!(
        (status, error_type.as_str()),
        (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
    );
    assert_eq!(
        body,
        json!({ "message": "Missing Authentication Token" }).to_string()
    );

    let other_body = text(signed().body("query=up").send().await.unwrap()).await;
    let other_query = text(signed().query_string("x=1").send().await.unwrap()).await;
    for (status, error_type, body) in [other_body, other_query] {
        assert_eq!(
            (status, error_type.as_str()),
            (StatusCode::FORBIDDEN, "InvalidSignatureException")
        );
        assert!(
            body.contains("x-amz-security-token:"),
            "AWS shows the canonical request"
        );
    }
}

trait QueryString {
    fn query_string(self, query: &str) -> Self;
}

impl QueryString for reqwest::RequestBuilder {
    fn query_string(self, query: &str) -> Self {
        let (client, request) = self.build_split();
        let mut request = request.unwrap();
        request.url_mut().set_query(Some(query));
        Self::from_parts(client, request)
    }
}

#[tokio::test]
async fn the_workspaces_clock_decides_what_is_current() {
    let (_prometheus, amp) = amp().await;
    for (set_clock, message) in [
        (AmpGateway::set_clock_fast as fn(&_, _), "Signature expired"),
        (AmpGateway::set_clock_slow, "Signature not yet current"),
    ] {
        set_clock(&amp, Duration::from_secs(360));
        let (status, _, body) = text(Signer::default().query(&amp).await).await;
        assert_eq!(status, 403);
        assert!(body.contains(message), "{body}");
        set_clock(&amp, Duration::from_secs(240));
        assert_eq!(Signer::default().query(&amp).await.status(), 200);
    }
}

#[tokio::test]
async fn only_amps_own_calls_of_its_own_workspace_exist() {
    let (_prometheus, amp) = amp().await;
    let post =
        async |url: String| text(Signer::default().post(&url, QUERY).send().await.unwrap()).await;
    let (status, error_type, _) = post(format!("{}/api/v1/admin", amp.workspace_url())).await;
    assert_eq!(
        (status, error_type.as_str()),
        (StatusCode::FORBIDDEN, "MissingAuthenticationTokenException")
    );

    let other = format!("{}x/api/v1/query", amp.workspace_url());
    let (status, error_type, body) = post(other).await;
    assert_eq!(
        (status, error_type.as_str()),
        (StatusCode::FORBIDDEN, "AccessDeniedException")
    );
    assert!(body.contains(
        "is not authorized to perform: aps:QueryMetrics on resource: arn:aws:aps:us-east-2"
    ));

    let labels = post(format!("{}/api/v1/labels", amp.workspace_url()))
        .await
        .2;
    let labels: Value = serde_json::from_str(&labels).unwrap();
    assert!(
        labels["data"]
            .as_array()
            .unwrap()
            .contains(&json!("instance_id"))
    );
}

#[tokio::test]
async fn prometheuss_own_errors_are_passed_on() {
    let (_prometheus, amp) = amp().await;
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let response = Signer::default()
        .post(&url, "query=up%7B")
        .send()
        .await
        .unwrap();
    let (status, _, body) = text(response).await;
    assert_eq!(status, 400);
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        (&body["status"], &body["errorType"]),
        (&json!("error"), &json!("bad_data"))
    );
}

#[tokio::test]
async fn parameters_amp_does_not_document_change_nothing() {
    let (_prometheus, amp) = amp().await;
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let limited = format!("{QUERY}&limit=1&lookback_delta=1s");
    let limited = text(Signer::default().post(&url, &limited).send().await.unwrap()).await;
    assert_eq!(limited, text(Signer::default().query(&amp).await).await);
}

#[tokio::test]
async fn whoever_accepts_gzip_gets_it() {
    let (_prometheus, amp) = amp().await;
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let request = Signer::default()
        .post(&url, QUERY)
        .header("accept-encoding", "gzip");
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip");
    let compressed = response.bytes().await.unwrap();
    let mut body = String::new();
    flate2::read::GzDecoder::new(&compressed[..])
        .read_to_string(&mut body)
        .unwrap();
    let plain = Signer::default().query(&amp).await;
    assert!(!plain.headers().contains_key("content-encoding"));
    assert_eq!(body, plain.text().await.unwrap());
    assert!(compressed.len() < body.len() / 2);
}

#[tokio::test]
async fn each_error_status_has_the_body_its_sender_gives_it() {
    let (_prometheus, amp) = amp().await;
    for (status, wanted) in [
        (400, json!("bad_data")),
        (413, json!("bad_data")),
        (422, json!("execution")),
        (500, json!("internal")),
        (503, json!("timeout")),
        (429, json!("ThrottlingException")),
        (403, json!("ExpiredTokenException")),
        (404, json!("ResourceNotFoundException")),
    ] {
        amp.fail_next(1, Failure::Status(status));
        let (got, error_type, body) = text(Signer::default().query(&amp).await).await;
        let body: Value = serde_json::from_str(&body).unwrap();
        let error_type = if error_type.is_empty() {
            body["errorType"].clone()
        } else {
            error_type.into()
        };
        assert_eq!((got.as_u16(), error_type), (status, wanted));
        assert_eq!(
            Signer::default().query(&amp).await.status(),
            200,
            "one failure, then none"
        );
    }
    amp.fail_next(1, Failure::NotAuthorized);
    let (status, error_type, _) = text(Signer::default().query(&amp).await).await;
    assert_eq!(
        (status.as_u16(), error_type.as_str()),
        (403, "AccessDeniedException")
    );
}

#[tokio::test]
async fn broken_answers_break_as_asked() {
    let (_prometheus, amp) = amp().await;
    let whole = Signer::default().query(&amp).await.bytes().await.unwrap();

    amp.fail_next(1, Failure::CutMidReply);
    let cut = Signer::default().query(&amp).await;
    assert_eq!(
        (cut.status().as_u16(), cut.content_length()),
        (200, Some(whole.len() as u64))
    );
    assert!(cut.bytes().await.is_err());

    amp.fail_next(1, Failure::Garbage);
    let (status, _, body) = text(Signer::default().query(&amp).await).await;
    assert!(status == 200 && serde_json::from_str::<Value>(&body).is_err());

    amp.fail_next(1, Failure::Body("{}".to_owned()));
    assert_eq!(text(Signer::default().query(&amp).await).await.2, "{}");

    amp.fail_next(1, Failure::Reset);
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let error = Signer::default()
        .post(&url, QUERY)
        .send()
        .await
        .unwrap_err();
    assert!(error.is_request() && !error.is_timeout(), "{error:?}");
    assert_eq!(amp.requests().last().unwrap().status, None);
}

#[tokio::test]
async fn answers_come_late_or_never() {
    let (_prometheus, amp) = amp().await;
    let delay = Duration::from_millis(300);
    let late = async || {
        let asked = std::time::Instant::now();
        assert_eq!(Signer::default().query(&amp).await.status(), 200);
        asked.elapsed() >= delay
    };
    amp.fail_next(1, Failure::Slow(delay));
    assert!(late().await);
    amp.set_delay(delay);
    assert!(late().await);
    amp.set_delay(Duration::ZERO);

    amp.fail_next(2, Failure::Hang);
    let url = format!("{}/api/v1/query", amp.workspace_url());
    let request = Signer::default().post(&url, QUERY).timeout(delay);
    assert!(request.send().await.unwrap_err().is_timeout());
    amp.recover();
    assert_eq!(Signer::default().query(&amp).await.status(), 200);
}

#[tokio::test]
async fn a_workspace_outlives_an_outage_of_what_is_behind_it() {
    let (mut prometheus, amp) = amp().await;
    let before = text(Signer::default().query(&amp).await).await;
    prometheus.stop().await.unwrap();
    assert_eq!(Signer::default().query(&amp).await.status(), 503);
    prometheus.restart().await.unwrap();
    assert_eq!(text(Signer::default().query(&amp).await).await, before);
}

#[tokio::test]
async fn signed_samples_are_written_and_unsigned_ones_refused() {
    let options = prometheus::Options {
        remote_write_receiver: true,
        ..Default::default()
    };
    let prometheus = Prometheus::start(options).await.unwrap();
    let amp = AmpGateway::start(prometheus.url(), Options::default())
        .await
        .unwrap();
    let url = format!("{}/api/v1/remote_write", amp.workspace_url());
    let now = UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let body = snappy(&write_request("written", 42.5, now));

    let client = reqwest::Client::new();
    let unsigned = client
        .post(&url)
        .header("content-type", "application/x-protobuf");
    assert_eq!(
        unsigned.body(body.clone()).send().await.unwrap().status(),
        403
    );
    let signed = Signer::default().post_bytes(&url, "application/x-protobuf", &body);
    let response = signed
        .header("content-encoding", "snappy")
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), 204, "{}", response.text().await.unwrap());
    assert_eq!(amp.requests()[1].operation, Some(Operation::RemoteWrite));

    let url = format!("{}/api/v1/query", amp.workspace_url());
    let reply = Signer::default()
        .post(&url, "query=written%5B1m%5D")
        .send()
        .await
        .unwrap();
    assert!(reply.text().await.unwrap().contains("\"42.5\""));
}

/// A `WriteRequest` of one sample:
/// <https://github.com/prometheus/prometheus/blob/main/prompb/remote.proto>
fn write_request(name: &str, value: f64, millis: u64) -> Vec<u8> {
    let bytes = |tag: u8, content: &[u8]| [&[tag, content.len() as u8], content].concat();
    let label = [bytes(0x0a, b"__name__"), bytes(0x12, name.as_bytes())].concat();
    let mut sample = [&[0x09], &value.to_le_bytes()[..], &[0x10]].concat();
    let mut rest = millis;
    while rest >= 0x80 {
        sample.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    sample.push(rest as u8);
    bytes(0x0a, &[bytes(0x0a, &label), bytes(0x12, &sample)].concat())
}

/// Snappy's block format with one literal, for less than 61 bytes.
fn snappy(content: &[u8]) -> Vec<u8> {
    let length = content.len() as u8;
    assert!(length < 61);
    [&[length, (length - 1) << 2], content].concat()
}

/// What a reported signature mismatch came from: characters that forms and URLs encode differently.
#[tokio::test]
async fn any_text_arrives_as_it_was_sent() {
    let amp = AmpGateway::start("http://127.0.0.1:9", Options::default())
        .await
        .unwrap();
    for text in [
        r#"{__name__=~".+",a!="b c"}"#,
        "100% & more; #1 =/?",
        "%2B%20",
        "온도 → °C",
        "",
    ] {
        let encoded = utf8_percent_encode(text, NON_ALPHANUMERIC);
        let url = format!("{}/api/v1/query", amp.workspace_url());
        let response = Signer::default()
            .post(&url, &format!("query={encoded}"))
            .send()
            .await;
        assert_eq!(
            response.unwrap().status(),
            503,
            "signed, but there is no Prometheus"
        );
        assert_eq!(amp.requests().last().unwrap().parameter("query"), text);
    }
}
