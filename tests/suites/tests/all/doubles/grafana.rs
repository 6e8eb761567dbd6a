//! The doubles of Grafana, Amazon Managed Grafana and the ResponseURL are as strict as what they
//! stand for.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "in a test's helpers too a failed unwrap is a failed test, and the clock is the world's"
)]

use std::time::{Duration, SystemTime};

use aws_config::retry::RetryConfig;
use aws_sdk_grafana::{Client, error::ProvideErrorMetadata, types::Role};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use suites::sdk;
use testkit::doubles::faults::Fault;
use testkit::doubles::grafana::{AMP_PLUGIN, Amp, Grafana};
use testkit::doubles::managed_grafana::{ManagedGrafana, WORKSPACE_ID};
use testkit::doubles::response_url::ResponseUrl;
use testkit::doubles::sigv4;
use testkit::lambda::REGION;

const URL: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/ws-1";
const KEY: &str = "glsa_admin";

async fn grafana(major: u32) -> Grafana {
    let amp = Amp {
        url: URL.into(),
        region: REGION.into(),
        role_may_query: true,
    };
    let grafana = Grafana::start(major, amp).await.unwrap();
    let later = SystemTime::now() + Duration::from_secs(60);
    grafana.tokens().add(KEY, true, later);
    grafana.tokens().add("glsa_viewer", false, later);
    grafana.tokens().add("glsa_old", true, SystemTime::now());
    grafana
}

async fn call(grafana: &Grafana, request: &str, body: &Value) -> (u16, Value) {
    call_with(grafana, request, body, KEY).await
}

async fn call_with(grafana: &Grafana, request: &str, body: &Value, key: &str) -> (u16, Value) {
    let (method, path) = request.split_once(' ').unwrap();
    let response = reqwest::Client::new()
        .request(
            Method::from_bytes(method.as_bytes()).unwrap(),
            grafana.url() + path,
        )
        .bearer_auth(key)
        .body(body.to_string())
        .send()
        .await
        .unwrap();
    let status = response.status().as_u16();
    (
        status,
        serde_json::from_slice(&response.bytes().await.unwrap()).unwrap(),
    )
}

fn source(uid: &str, extra: &Value) -> Value {
    let mut source = json!({
        "uid": uid, "name": format!("source {uid}"), "type": AMP_PLUGIN, "access": "proxy",
        "url": URL, "isDefault": true,
        "jsonData": {
            "sigV4Auth": true, "sigV4AuthType": "ec2_iam_role", "sigV4Region": REGION,
        },
    });
    for (name, value) in extra.as_object().unwrap() {
        source[name] = value.clone();
    }
    source
}

#[tokio::test]
async fn grafana_lets_live_administrators_in_and_nobody_else() {
    let grafana = grafana(12).await;
    for (key, status, message) in [
        ("glsa_nobody", 401, "Invalid API key"),
        ("glsa_old", 401, "Expired API key"),
        ("glsa_viewer", 403, "You'll need additional permissions"),
    ] {
        let answer = call_with(&grafana, "GET /api/datasources", &json!({}), key).await;
        assert_eq!(answer.0, status, "{key}");
        assert!(
            answer.1["message"].as_str().unwrap().starts_with(message),
            "{answer:?}"
        );
    }
    assert_eq!(
        call(&grafana, "GET /api/datasources", &json!({})).await,
        (200, json!([]))
    );
}

#[tokio::test]
async fn grafana_refuses_what_its_commands_refuse() {
    let grafana = grafana(12).await;
    for (what, body) in [
        ("no type", source("a", &json!({"type": ""}))),
        ("no name", source("a", &json!({"name": ""}))),
        ("no access", source("a", &json!({"access": ""}))),
        (
            "text for a flag",
            source("a", &json!({"isDefault": "true"})),
        ),
        ("text for jsonData", source("a", &json!({"jsonData": "{}"}))),
        ("uid with a blank", source("a b", &json!({}))),
        ("long uid", source(&"u".repeat(41), &json!({}))),
        (
            "long url",
            source("a", &json!({"url": format!("{URL}{}", "x".repeat(255))})),
        ),
        ("long name", source("a", &json!({"name": "n".repeat(191)}))),
        ("not a url", source("a", &json!({"url": "aps"}))),
    ] {
        assert_eq!(
            call(&grafana, "POST /api/datasources", &body).await.0,
            400,
            "{what}"
        );
    }
    assert!(grafana.sources().is_empty());
}

#[tokio::test]
async fn grafana_has_one_source_of_a_name_or_uid_and_one_default() {
    let grafana = grafana(12).await;
    let (status, added) = call(
        &grafana,
        "POST /api/datasources",
        &source("a", &json!({"isDefault": false})),
    )
    .await;
    assert_eq!(
        (status, &added["datasource"]["isDefault"]),
        (200, &json!(true)),
        "the first one"
    );
    for body in [
        source("a", &json!({"name": "x"})),
        source("b", &json!({"name": "source a"})),
    ] {
        let (status, answer) = call(&grafana, "POST /api/datasources", &body).await;
        assert_eq!(status, 409);
        assert!(
            answer["message"]
                .as_str()
                .unwrap()
                .contains("already exists")
        );
    }
    call(&grafana, "POST /api/datasources", &source("b", &json!({}))).await;
    assert_eq!(grafana.defaults(), ["b"]);
    assert_eq!(
        call(&grafana, "DELETE /api/datasources/uid/b", &json!({}))
            .await
            .0,
        200
    );
    assert_eq!(grafana.defaults(), [""; 0], "nobody steps in");
    assert_eq!(
        call(&grafana, "DELETE /api/datasources/uid/b", &json!({}))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn grafana_replaces_all_but_secure_fields() {
    let grafana = grafana(12).await;
    let secure = json!({"jsonData": {"a": 1}, "secureJsonData": {"password": "p"}});
    call(&grafana, "POST /api/datasources", &source("a", &secure)).await;
    let mut body = source("a", &json!({"jsonData": {"b": 2}, "version": 1}));
    body.as_object_mut().unwrap().remove("isDefault");
    assert_eq!(
        call(&grafana, "PUT /api/datasources/uid/a", &body).await.0,
        200
    );
    let now = grafana.source("a").unwrap();
    assert_eq!(
        (&now["jsonData"], &now["isDefault"]),
        (&json!({"b": 2}), &json!(false))
    );
    assert_eq!(
        (&now["secureJsonData"], &now["version"]),
        (&json!({"password": "p"}), &json!(2))
    );
    let (_, seen) = call(&grafana, "GET /api/datasources/uid/a", &json!({})).await;
    assert_eq!(
        (&seen["secureJsonFields"], seen.get("secureJsonData")),
        (&json!({"password": true}), None)
    );

    let (status, answer) = call(&grafana, "PUT /api/datasources/uid/a", &body).await;
    assert_eq!(status, 409, "an old version");
    assert!(
        answer["message"]
            .as_str()
            .unwrap()
            .contains("by someone else")
    );
    body["uid"] = json!("moved");
    body["version"] = json!(2);
    assert_eq!(
        call(&grafana, "PUT /api/datasources/uid/a", &body).await.0,
        200
    );
    assert!(grafana.source("a").is_none() && grafana.source("moved").is_some());
}

#[tokio::test]
async fn grafana_protects_provisioned_sources() {
    let grafana = grafana(12).await;
    grafana.add(&source("a", &json!({"readOnly": true})));
    for method in ["PUT", "DELETE"] {
        let request = format!("{method} /api/datasources/uid/a");
        assert_eq!(
            call(&grafana, &request, &source("a", &json!({}))).await.0,
            403,
            "{method}"
        );
    }
}

#[tokio::test]
async fn grafana_13_has_no_endpoints_by_number() {
    for (major, expected) in [(9, 200), (12, 200), (13, 404)] {
        let grafana = grafana(major).await;
        grafana.add(&source("a", &json!({"type": "prometheus"})));
        let (status, _) = call(&grafana, "GET /api/datasources/1", &json!({})).await;
        assert_eq!(status, expected, "{major}");
    }
}

#[tokio::test]
async fn grafana_takes_any_type_and_tells_only_by_the_health_check() {
    for (major, source_type, extra, expected) in [
        (9, "prometheus", json!({}), 200),
        (10, "prometheus", json!({"url": format!("{URL}/")}), 200),
        (12, AMP_PLUGIN, json!({}), 200),
        (13, AMP_PLUGIN, json!({}), 200),
        (10, AMP_PLUGIN, json!({}), 404),
        (12, "prometheus", json!({}), 400),
        (13, "prometheus", json!({}), 400),
        (12, "prometeus", json!({}), 404),
        (12, AMP_PLUGIN, json!({"url": format!("{URL}/api/v1")}), 400),
        (12, AMP_PLUGIN, json!({"sigV4Auth": "true"}), 400),
        (
            12,
            AMP_PLUGIN,
            json!({"sigV4AuthType": "workspace-iam-role"}),
            400,
        ),
        (12, AMP_PLUGIN, json!({"sigV4Region": "us-west-2"}), 400),
    ] {
        let grafana = grafana(major).await;
        let mut body = source("a", &json!({"type": source_type}));
        for (name, value) in extra.as_object().unwrap() {
            match name.as_str() {
                "url" => body["url"] = value.clone(),
                setting => body["jsonData"][setting] = value.clone(),
            }
        }
        assert_eq!(call(&grafana, "POST /api/datasources", &body).await.0, 200);
        let (status, answer) =
            call(&grafana, "GET /api/datasources/uid/a/health", &json!({})).await;
        assert_eq!(status, expected, "{major} {source_type} {extra}: {answer}");
        grafana.set_role_may_query(false);
        let (status, _) = call(&grafana, "GET /api/datasources/uid/a/health", &json!({})).await;
        // That of Grafana 9 asks nothing.
        assert_eq!(status == 200, major == 9, "{major} {source_type}");
    }
}

#[tokio::test]
async fn grafana_sends_queries_by_its_proxy_and_as_a_panel_does() {
    let by_proxy = "GET /api/datasources/proxy/uid/a/api/v1/query?query=1%2B1";
    let as_a_panel = "POST /api/ds/query";
    let query = json!({"from": "now-5m", "to": "now", "queries": [
        {"refId": "A", "datasource": {"uid": "a"}, "expr": "1+1", "instant": true},
    ]});
    for (major, has_proxy) in [(8, false), (9, true), (10, true)] {
        let grafana = grafana(major).await;
        grafana.add(&source("a", &json!({"type": "prometheus"})));
        for may_query in [true, false] {
            grafana.set_role_may_query(may_query);
            let (status, _) = call(&grafana, by_proxy, &json!({})).await;
            let expected = match (has_proxy, may_query) {
                (false, _) => 404,
                (true, true) => 200,
                (true, false) => 403,
            };
            assert_eq!(status, expected, "{major}");
            let (status, answer) = call(&grafana, as_a_panel, &query).await;
            let error = answer["results"]["A"]["error"].as_str().unwrap_or_default();
            assert_eq!(status == 200, may_query, "{major}");
            assert_eq!(error.contains("error: 403"), !may_query, "{error}");
        }
        assert_eq!(call(&grafana, as_a_panel, &json!({})).await.0, 400);
        assert_eq!(grafana.writes(), [""; 0], "a query writes nothing");
    }
}

#[tokio::test]
async fn plugins_are_installed_where_they_are_managed() {
    let grafana = grafana(10).await;
    let install = format!("POST /api/plugins/{AMP_PLUGIN}/install");
    let look = format!("GET /api/plugins/{AMP_PLUGIN}/settings");
    assert_eq!(call(&grafana, &install, &json!({})).await.0, 404);
    grafana.manage_plugins(1);
    for (request, expected) in [(&install, 200), (&look, 404), (&look, 200), (&install, 409)] {
        let (status, _) = call(&grafana, request, &json!({})).await;
        assert_eq!(status, expected, "{request}");
    }
}

#[tokio::test]
async fn a_folder_in_another_one_is_found_by_its_uid_alone() {
    let grafana = grafana(12).await;
    for uid in ["a", "b"] {
        let folder = json!({"uid": uid, "title": uid});
        assert_eq!(call(&grafana, "POST /api/folders", &folder).await.0, 200);
    }
    grafana.move_folder("b", "a");
    let (_, top) = call(&grafana, "GET /api/folders", &json!({})).await;
    assert_eq!(top.as_array().map(Vec::len), Some(1));
    assert_eq!(top[0]["uid"], "a");
    assert_eq!(
        call(&grafana, "GET /api/folders?limit=1&page=2", &json!({}))
            .await
            .1,
        json!([])
    );
    let (status, found) = call(&grafana, "GET /api/folders/b", &json!({})).await;
    assert_eq!((status, &found["title"]), (200, &json!("b")));
    let again = json!({"uid": "b", "title": "c"});
    assert_eq!(call(&grafana, "POST /api/folders", &again).await.0, 409);
}

#[tokio::test]
async fn grafana_knows_its_plugins() {
    let plugin = format!("GET /api/plugins/{AMP_PLUGIN}/settings");
    for (major, expected) in [(9, 404), (10, 404), (12, 200), (13, 200)] {
        let grafana = grafana(major).await;
        assert_eq!(
            call(&grafana, &plugin, &json!({})).await.0,
            expected,
            "{major}"
        );
    }
}

struct Amg {
    double: ManagedGrafana,
    client: Client,
    grafana: Grafana,
}

async fn amg(major: u32) -> Amg {
    let grafana = grafana(major).await;
    let double = ManagedGrafana::start(&grafana).await.unwrap();
    let client = client(&double, "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    Amg {
        double,
        client,
        grafana,
    }
}

fn client(double: &ManagedGrafana, secret: &str) -> Client {
    let keys = sigv4::Credentials {
        secret_access_key: secret.to_owned(),
        ..sigv4::Credentials::example()
    };
    let config = sdk::config(double.url(), REGION, keys, RetryConfig::disabled());
    Client::new(&config)
}

impl Amg {
    async fn account(&self, name: &str) -> Result<String, String> {
        let request = self
            .client
            .create_workspace_service_account()
            .workspace_id(WORKSPACE_ID);
        let answer = request.name(name).grafana_role(Role::Admin).send().await;
        answer
            .map(|answer| answer.id)
            .map_err(|error| error.code().unwrap().to_owned())
    }

    async fn token(&self, account: &str, name: &str, seconds: i32) -> Result<String, String> {
        let request = self.client.create_workspace_service_account_token();
        let request = request
            .workspace_id(WORKSPACE_ID)
            .service_account_id(account)
            .name(name);
        let answer = request.seconds_to_live(seconds).send().await;
        let token = answer.map(|answer| answer.service_account_token.unwrap().key);
        token.map_err(|error| error.code().unwrap().to_owned())
    }

    async fn api_key(&self, name: &str) -> Result<String, String> {
        let request = self
            .client
            .create_workspace_api_key()
            .workspace_id(WORKSPACE_ID);
        let request = request.key_name(name).key_role("ADMIN").seconds_to_live(60);
        let answer = request.send().await;
        answer
            .map(|answer| answer.key)
            .map_err(|error| error.code().unwrap().to_owned())
    }
}

#[tokio::test]
async fn amg_refuses_a_wrong_signature_and_an_unknown_workspace() {
    let amg = amg(12).await;
    let describe = |client: Client, id: &'static str| async move {
        let answer = client.describe_workspace().workspace_id(id).send().await;
        answer
            .map(drop)
            .map_err(|error| error.code().unwrap().to_owned())
    };
    let stranger = client(&amg.double, "wrong");
    assert_eq!(
        describe(stranger, WORKSPACE_ID).await.unwrap_err(),
        "InvalidSignatureException"
    );
    let unknown = describe(amg.client.clone(), "g-ffffffffff").await;
    assert_eq!(unknown.unwrap_err(), "ResourceNotFoundException");
    assert_eq!(describe(amg.client.clone(), WORKSPACE_ID).await, Ok(()));
}

#[tokio::test]
async fn amg_tells_its_states_one_after_the_other() {
    let amg = amg(12).await;
    amg.double.set_statuses(&["CREATING", "ACTIVE"]);
    for expected in ["CREATING", "ACTIVE", "ACTIVE"] {
        let answer = amg
            .client
            .describe_workspace()
            .workspace_id(WORKSPACE_ID)
            .send()
            .await;
        assert_eq!(answer.unwrap().workspace.unwrap().status.as_str(), expected);
    }
    amg.double.set_statuses(&["UPDATING"]);
    assert_eq!(amg.account("a").await.unwrap_err(), "ConflictException");
}

#[tokio::test]
async fn amg_lists_page_by_page() {
    let amg = amg(12).await;
    for name in ["a", "b", "c", "d", "e"] {
        amg.account(name).await.unwrap();
    }
    let request = amg
        .client
        .list_workspace_service_accounts()
        .workspace_id(WORKSPACE_ID);
    let first = request.clone().send().await.unwrap();
    assert!(first.next_token.is_some() && first.service_accounts.len() < 5);
    let all = request
        .into_paginator()
        .items()
        .send()
        .collect::<Result<Vec<_>, _>>()
        .await;
    let names: Vec<String> = all
        .unwrap()
        .into_iter()
        .map(|account| account.name)
        .collect();
    assert_eq!(names, ["a", "b", "c", "d", "e"]);
    assert_eq!(amg.account("c").await.unwrap_err(), "ConflictException");
}

#[tokio::test]
async fn amg_takes_the_tokens_away_with_their_account() {
    let amg = amg(12).await;
    let account = amg.account("a").await.unwrap();
    let key = amg.token(&account, "t", 60).await.unwrap();
    let list = "GET /api/datasources";
    assert_eq!(call_with(&amg.grafana, list, &json!({}), &key).await.0, 200);
    let delete = amg
        .client
        .delete_workspace_service_account()
        .workspace_id(WORKSPACE_ID);
    delete.service_account_id(&account).send().await.unwrap();
    assert_eq!(call_with(&amg.grafana, list, &json!({}), &key).await.0, 401);
    assert_eq!(amg.double.live().tokens, 0);
    assert_eq!(
        amg.token(&account, "t", 60).await.unwrap_err(),
        "ResourceNotFoundException"
    );
}

#[tokio::test]
async fn amg_has_limits() {
    let amg = amg(12).await;
    let account = amg.account("a").await.unwrap();
    for seconds in [0, 2_592_001] {
        let refused = amg.token(&account, "t", seconds).await;
        assert_eq!(refused.unwrap_err(), "ValidationException", "{seconds} s");
    }
    assert_eq!(
        amg.account(&"n".repeat(129)).await.unwrap_err(),
        "ValidationException"
    );
    amg.double.set_quotas(1, 1);
    assert_eq!(
        amg.account("b").await.unwrap_err(),
        "ServiceQuotaExceededException"
    );
    amg.token(&account, "t", 60).await.unwrap();
    assert_eq!(
        amg.token(&account, "u", 60).await.unwrap_err(),
        "ServiceQuotaExceededException"
    );
}

#[tokio::test]
async fn amg_has_api_keys_up_to_grafana_10_and_service_accounts_from_9_on() {
    for (major, accounts, keys) in [
        (8, false, true),
        (9, true, true),
        (10, true, true),
        (12, true, false),
    ] {
        let amg = amg(major).await;
        assert_eq!(amg.account("a").await.is_ok(), accounts, "{major}");
        assert_eq!(amg.api_key("k").await.is_ok(), keys, "{major}");
        if keys {
            assert_eq!(amg.api_key("k").await.unwrap_err(), "ConflictException");
        }
    }
}

#[tokio::test]
async fn faults_come_as_often_as_asked_for() {
    let amg = amg(12).await;
    amg.double
        .faults()
        .inject("CreateWorkspaceServiceAccount", 1, Fault::Status(429));
    amg.double
        .faults()
        .inject("CreateWorkspaceServiceAccount", 1, Fault::StatusAfter(500));
    assert_eq!(amg.account("a").await.unwrap_err(), "ThrottlingException");
    assert_eq!(
        amg.account("a").await.unwrap_err(),
        "InternalServerException"
    );
    assert_eq!(
        amg.account("a").await.unwrap_err(),
        "ConflictException",
        "it was made all the same"
    );
}

#[tokio::test]
async fn the_response_url_takes_what_s3_and_cloudformation_take() {
    let bucket = ResponseUrl::start().await.unwrap();
    let response = json!({
        "Status": "FAILED", "Reason": "r", "PhysicalResourceId": "p", "StackId": "s",
        "RequestId": "q", "LogicalResourceId": "l",
    });
    let but = |name: &str, value: Value| {
        let mut response = response.clone();
        response[name] = value;
        response.to_string()
    };
    let url = bucket.url();
    let unsigned = url.split('?').next().unwrap();
    for (what, url, content_type, body, expected) in [
        (
            "as it should be",
            url.as_str(),
            "",
            response.to_string(),
            200,
        ),
        ("no reason", &url, "", but("Reason", json!("")), 400),
        ("no id", &url, "", but("PhysicalResourceId", json!("")), 400),
        ("no such status", &url, "", but("Status", json!("OK")), 400),
        (
            "too long",
            &url,
            "",
            but("Reason", json!("r".repeat(4096))),
            400,
        ),
        (
            "content type",
            &url,
            "application/json",
            response.to_string(),
            403,
        ),
        ("no signature", unsigned, "", response.to_string(), 403),
    ] {
        let put = reqwest::Client::new()
            .put(url)
            .header("content-type", content_type);
        let answer = put.body(body).send().await.unwrap();
        assert_eq!(
            answer.status(),
            StatusCode::from_u16(expected).unwrap(),
            "{what}"
        );
    }
    assert_eq!(bucket.accepted(), [response]);
    assert_eq!(bucket.attempts(), 7);
}

fn dashboard(uid: &str, extra: &Value) -> Value {
    let mut dashboard = json!({"uid": uid, "title": format!("dashboard {uid}"), "version": 0});
    for (name, value) in extra.as_object().unwrap() {
        dashboard[name] = value.clone();
    }
    json!({"dashboard": dashboard, "folderUid": "", "message": "mine", "overwrite": false})
}

#[tokio::test]
async fn grafana_saves_a_dashboard_over_the_version_it_has_alone() {
    let grafana = grafana(12).await;
    let save = "POST /api/dashboards/db";
    let (status, saved) = call(&grafana, save, &dashboard("a", &json!({"own": 1}))).await;
    assert_eq!((status, &saved["version"]), (200, &json!(1)));
    let (status, answer) = call(&grafana, save, &dashboard("a", &json!({}))).await;
    assert_eq!(
        (status, &answer["status"]),
        (412, &json!("version-mismatch"))
    );
    let mut second = dashboard("a", &json!({"version": 1}));
    assert_eq!(call(&grafana, save, &second).await.0, 200);
    assert_eq!(
        call(&grafana, save, &second).await.0,
        412,
        "it is version 2"
    );
    second["overwrite"] = json!(true);
    assert_eq!(call(&grafana, save, &second).await.0, 200);

    let path = "GET /api/dashboards/uid/a";
    let (_, found) = call(&grafana, path, &json!({})).await;
    assert_eq!(found["dashboard"]["version"], 3);
    assert_eq!(found["meta"]["folderUid"], "");
    assert_eq!(
        call(&grafana, "GET /api/dashboards/uid/b", &json!({}))
            .await
            .0,
        404
    );
}

#[tokio::test]
async fn grafana_refuses_dashboards_that_it_cannot_place() {
    let grafana = grafana(10).await;
    let save = "POST /api/dashboards/db";
    let mut nowhere = dashboard("a", &json!({}));
    nowhere["folderUid"] = json!("nowhere");
    for (what, status, body) in [
        ("no such folder", 400, nowhere),
        ("no title", 400, dashboard("a", &json!({"title": " "}))),
        ("long uid", 400, dashboard(&"u".repeat(41), &json!({}))),
        ("an id of nobody", 404, dashboard("a", &json!({"id": 7}))),
        ("no dashboard", 400, json!({"folderUid": ""})),
    ] {
        assert_eq!(call(&grafana, save, &body).await.0, status, "{what}");
    }
    call(&grafana, save, &dashboard("a", &json!({"title": "same"}))).await;
    let namesake = dashboard("b", &json!({"title": "same"}));
    let (status, answer) = call(&grafana, save, &namesake).await;
    assert_eq!((status, &answer["status"]), (412, &json!("name-exists")));
}

#[tokio::test]
async fn grafana_tells_versions_as_a_list_up_to_10_and_then_as_a_page() {
    for (major, pointer) in [(10, ""), (12, "/versions")] {
        let grafana = grafana(major).await;
        call(
            &grafana,
            "POST /api/dashboards/db",
            &dashboard("a", &json!({})),
        )
        .await;
        let (_, answer) = call(&grafana, "GET /api/dashboards/uid/a/versions", &json!({})).await;
        let versions = answer.pointer(pointer).unwrap();
        assert_eq!(versions[0]["message"], "mine", "Grafana {major}: {answer}");
    }
}

#[tokio::test]
async fn grafana_has_one_folder_of_a_uid_and_counts_what_is_in_it() {
    let grafana = grafana(10).await;
    let add = "POST /api/folders";
    let folder = json!({"uid": "f", "title": "Folder"});
    assert_eq!(call(&grafana, add, &folder).await.0, 200);
    for body in [
        json!({"uid": "f", "title": "Other"}),
        json!({"uid": "g", "title": "Folder"}),
    ] {
        assert_eq!(call(&grafana, add, &body).await.0, 409, "{body}");
    }
    assert_eq!(
        call(&grafana, add, &json!({"uid": "h", "title": ""}))
            .await
            .0,
        400
    );
    let mut inside = dashboard("a", &json!({}));
    inside["folderUid"] = json!("f");
    call(&grafana, "POST /api/dashboards/db", &inside).await;
    let (_, counts) = call(&grafana, "GET /api/folders/f/counts", &json!({})).await;
    assert_eq!(counts["dashboard"], 1);
    grafana.put_into_folder("f");
    assert_eq!(
        call(&grafana, "DELETE /api/folders/f", &json!({})).await.0,
        400
    );
    assert_eq!(
        call(&grafana, "DELETE /api/folders/g", &json!({})).await.0,
        404
    );
}
