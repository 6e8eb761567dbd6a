//! The verifier against AWS's published test suite and against AWS's own signer.

use aws_credential_types::Credentials as SignerCredentials;
use aws_sigv4::{
    http_request::{SignableBody, SignableRequest, SigningSettings, sign},
    sign::v4::SigningParams,
};
use axum::http::{HeaderName, HeaderValue};

use proptest::prelude::*;

use super::*;

const SUITE: &str = include_str!("aws-signing-test-suite.txt");

fn suite_verifier(token: Option<&str>) -> Verifier {
    let credentials = Credentials {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned(),
        session_token: token.map(str::to_owned),
    };
    Verifier {
        credentials,
        region: "us-east-1".to_owned(),
        service: "service",
    }
}

fn suite_time() -> SystemTime {
    NaiveDateTime::parse_from_str("20150830T123600Z", DATE_FORMAT)
        .unwrap()
        .and_utc()
        .into()
}

fn parse_headers(head: &str) -> HeaderMap {
    // A line that begins with a space goes on with the value before it.
    let head = head.replace("\n ", " ");
    let headers = head
        .lines()
        .skip(1)
        .map(|line| line.split_once(':').unwrap());
    headers
        .map(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            (name, HeaderValue::from_str(value.trim()).unwrap())
        })
        .fold(HeaderMap::new(), |mut map, (name, value)| {
            map.append(name, value);
            map
        })
}

fn verify(text: &str, tamper: impl FnOnce(&mut HeaderMap)) -> Result<(), Refusal> {
    let (head, body) = text.split_once("\n\n").unwrap_or((text, ""));
    let line = head.lines().next().unwrap();
    let (method, target) = line.split_once(' ').unwrap();
    let target = target.strip_suffix(" HTTP/1.1").unwrap();
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = parse_headers(head);
    let token = headers.get("x-amz-security-token").cloned();
    let verifier = suite_verifier(token.as_ref().map(|token| token.to_str().unwrap()));
    tamper(&mut headers);
    let request = Request {
        method,
        path,
        query,
        headers: &headers,
        body: body.as_bytes(),
    };
    verifier.verify(&request, suite_time())
}

fn suite() -> impl Iterator<Item = (&'static str, &'static str)> {
    let cases = SUITE.split("=== ").skip(1);
    cases.map(|case| case.trim_end_matches('\n').split_once('\n').unwrap())
}

#[test]
fn every_request_of_the_published_suite_passes() {
    for (name, text) in suite() {
        assert_eq!(verify(text, |_| ()), Ok(()), "{name}");
    }
    assert_eq!(suite().count(), 30);
}

#[test]
fn no_request_of_the_published_suite_passes_when_its_target_changes() {
    for (name, text) in suite() {
        let text = text.replacen(" HTTP/1.1", "x HTTP/1.1", 1);
        let refusal = verify(&text, |_| ()).unwrap_err();
        assert!(
            matches!(refusal, Refusal::Mismatch { .. }),
            "{name}: {refusal}"
        );
    }
}

#[test]
fn each_check_tells_its_own_refusal() {
    let vanilla = suite().find(|(name, _)| *name == "get-vanilla").unwrap().1;
    let refusal = |name: &'static str, value: &'static str| {
        verify(vanilla, |headers| {
            headers.insert(name, HeaderValue::from_static(value));
        })
        .unwrap_err()
    };
    let authorization =
        |from: &str, to: &str| verify(&vanilla.replacen(from, to, 1), |_| ()).unwrap_err();
    let unsigned = verify(vanilla, |headers| {
        headers.remove("authorization");
    });
    let undated = verify(vanilla, |headers| {
        headers.remove("x-amz-date");
    });
    assert_eq!(unsigned, Err(Refusal::Unsigned));
    assert_eq!(undated, Err(Refusal::Incomplete("X-Amz-Date")));
    assert_eq!(refusal("authorization", "Bearer glsa_1"), Refusal::Unsigned);
    assert_eq!(
        authorization("Signature=", "Sig="),
        Refusal::Incomplete("Signature")
    );
    assert_eq!(
        authorization("AKIDEXAMPLE", "AKIDOTHER"),
        Refusal::UnknownCredentials
    );
    let yesterday = refusal("x-amz-date", "20150829T123600Z");
    assert!(matches!(yesterday, Refusal::WrongScope { .. }));
    assert!(matches!(
        authorization("us-east-1", "us-east-2"),
        Refusal::WrongScope { .. }
    ));
    assert!(matches!(
        authorization("/service/", "/aps/"),
        Refusal::WrongScope { .. }
    ));
    assert!(
        matches!(refusal("x-amz-target", "a"), Refusal::HeaderNotSigned(h) if h == "x-amz-target")
    );
    assert!(matches!(authorization("=host;", "="), Refusal::HeaderNotSigned(h) if h == "host"));
    assert!(
        matches!(authorization("=host;", "=host;te;"), Refusal::HeaderNotSigned(h) if h == "te")
    );
    assert!(matches!(
        refusal("host", "example.com"),
        Refusal::Mismatch { .. }
    ));
    let token = "x-amz-security-token";
    assert_eq!(
        refusal(token, "of somebody else"),
        Refusal::UnknownCredentials
    );
}

#[test]
fn a_body_is_covered_with_and_without_its_declared_hash() {
    let post = suite()
        .find(|(name, _)| *name == "post-x-www-form-urlencoded")
        .unwrap()
        .1;
    let tampered = post.replace("Param1=value1", "Param1=value2");
    assert_eq!(verify(&tampered, |_| ()), Err(Refusal::WrongBodyHash));
    let vanilla = suite().find(|(name, _)| *name == "post-vanilla").unwrap().1;
    let refusal = verify(&format!("{vanilla}\n\nquery=up"), |_| ()).unwrap_err();
    assert!(matches!(refusal, Refusal::Mismatch { .. }));
}

#[test]
fn a_date_five_minutes_off_is_the_last_to_pass() {
    let (date, now) = ("20150830T123600Z", suite_time());
    let second = Duration::from_secs(1);
    assert_eq!(check_date(date, now + MAX_SKEW), Ok(()));
    assert_eq!(check_date(date, now - MAX_SKEW), Ok(()));
    let expired = check_date(date, now + MAX_SKEW + second);
    assert!(matches!(expired, Err(Refusal::Expired { .. })));
    let early = check_date(date, now - MAX_SKEW - second);
    assert!(matches!(early, Err(Refusal::NotYetCurrent { .. })));
}

#[test]
fn a_literal_plus_is_not_a_space() {
    assert_ne!(
        canonical::query("query=a+b"),
        canonical::query("query=a%20b")
    );
    assert_eq!(
        canonical::query("query=a+b"),
        canonical::query("query=a%2Bb")
    );
}

/// The headers aws-sigv4 adds to a POST with these contents.
fn signed_by_aws(credentials: &Credentials, url: &str, body: &[u8]) -> HeaderMap {
    let identity = SignerCredentials::new(
        &credentials.access_key_id,
        &credentials.secret_access_key,
        credentials.session_token.clone(),
        None,
        "test",
    )
    .into();
    let params = SigningParams::builder()
        .identity(&identity)
        .region("us-east-2")
        .name("aps")
        .time(suite_time())
        .settings(SigningSettings::default())
        .build()
        .unwrap();
    let content_type = ("content-type", "application/x-www-form-urlencoded");
    let signable = SignableBody::Bytes(body);
    let request = SignableRequest::new("POST", url, [content_type].into_iter(), signable).unwrap();
    let (instructions, _) = sign(request, &params.into()).unwrap().into_parts();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static(content_type.1));
    let authority = url.split('/').nth(2).unwrap();
    headers.insert("host", HeaderValue::from_str(authority).unwrap());
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.insert(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

proptest! {
    #[test]
    fn what_awss_signer_signs_passes_and_nothing_else(
        port in 1024u16..,
        path in "(/([a-zA-Z0-9._~-]|%[2-7][0-9A-F]){1,12}){0,4}/?",
        query in "([a-z0-9._~-]|%[2-7][0-9A-F]){1,8}=([a-z0-9._~-]|%[2-7][0-9A-F]){0,8}",
        body in any::<Vec<u8>>(),
        token in proptest::option::of("[a-zA-Z0-9+/=]{1,40}"),
    ) {
        let credentials = Credentials { session_token: token, ..Credentials::example() };
        let target = if path.is_empty() { "/" } else { &path };
        let url = format!("http://127.0.0.1:{port}{target}?{query}");
        let headers = signed_by_aws(&credentials, &url, &body);
        let region = "us-east-2".to_owned();
        let verifier = Verifier { credentials, region, service: "aps" };
        let request =
            Request { method: "POST", path: target, query: &query, headers: &headers, body: &body };
        prop_assert_eq!(verifier.verify(&request, suite_time()), Ok(()));

        let other_body = [&body[..], b"x"].concat();
        let other_query = format!("{query}x");
        for tampered in [
            Request { method: "GET", ..request },
            Request { body: &other_body, ..request },
            Request { query: &other_query, ..request },
        ] {
            let refusal = verifier.verify(&tampered, suite_time());
            prop_assert!(matches!(refusal, Err(Refusal::Mismatch { .. })), "{:?}", refusal);
        }
    }
}
