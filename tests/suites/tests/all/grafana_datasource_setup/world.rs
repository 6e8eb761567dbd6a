//! What the function meets: a workspace, its Grafana, an AMP workspace, a CloudFormation stack.

use std::{fs, path::Path, time::Duration};

use serde_json::{Value, json};
use testkit::doubles::grafana::{Amp, Grafana};
use testkit::doubles::identity_center::IdentityCenter;
use testkit::doubles::managed_grafana::{Live, ManagedGrafana, WORKSPACE_ID};
use testkit::doubles::response_url::ResponseUrl;
use testkit::doubles::sigv4::Credentials;
use testkit::lambda::{Function, Outcome, REGION, bootstrap};

pub(crate) const UID: &str = "amazon-managed-prometheus";
pub(crate) const PLUGIN: &str = testkit::doubles::grafana::AMP_PLUGIN;
/// The AMP workspace of `create.json` and of `update-amp-workspace.json`.
pub(crate) const AMP: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/\
                              ws-1a2b3c4d-0000-4000-8000-000000000000";
pub(crate) const OTHER_AMP: &str = "https://aps-workspaces.us-east-2.amazonaws.com/workspaces/\
                                    ws-5e6f7a8b-0000-4000-8000-000000000000";
pub(crate) const PHYSICAL_ID: &str = "amg/g-0123abcdef/amazon-managed-prometheus";

/// Lambda's time limit where the test is not about time.
const TIME_LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct World {
    pub(crate) grafana: Grafana,
    pub(crate) amg: ManagedGrafana,
    pub(crate) identity_center: IdentityCenter,
    pub(crate) bucket: ResponseUrl,
    pub(crate) function: Function,
}

impl World {
    /// A workspace with Grafana of that major version, where Loki is the default data source.
    pub(crate) async fn new(major: u32) -> Self {
        Self::with_env(major, &[]).await
    }

    pub(crate) async fn with_env(major: u32, env: &[(&'static str, &str)]) -> Self {
        let amp = Amp {
            url: AMP.to_owned(),
            region: REGION.to_owned(),
            role_may_query: true,
        };
        let grafana = Grafana::start(major, amp).await.expect("a free port");
        grafana.add(&json!({
            "uid": "loki", "name": "Loki", "type": "loki", "access": "proxy", "isDefault": true,
            "url": "http://loki:3100", "basicAuth": true, "basicAuthUser": "reader",
            "jsonData": {"maxLines": 500}, "secureJsonData": {"basicAuthPassword": "hunter2"},
        }));
        let amg = ManagedGrafana::start(&grafana).await.expect("a free port");
        let identity_center = IdentityCenter::start(Credentials::example()).await;
        let identity_center = identity_center.expect("a free port");
        let bucket = ResponseUrl::start().await.expect("a free port");
        let function = start(&amg, &identity_center, env).await;
        Self {
            grafana,
            amg,
            identity_center,
            bucket,
            function,
        }
    }

    /// One more execution environment, as Lambda starts one for an invocation at the same time.
    pub(crate) async fn another_function(&self) -> Function {
        start(&self.amg, &self.identity_center, &[]).await
    }

    /// `events/grafana-datasource-setup/<case>.json`, its answer redirected to our bucket.
    pub(crate) fn event(&self, case: &str) -> Value {
        let mut event = event(case);
        if event.get("ResponseURL").is_some() {
            event["ResponseURL"] = json!(self.bucket.url());
        }
        event
    }

    /// Sends a CloudFormation request; the one answer that came of it.
    pub(crate) async fn request(&self, event: &Value) -> Value {
        self.request_within(event, TIME_LIMIT).await
    }

    /// The answer to `events/grafana-datasource-setup/create.json`.
    pub(crate) async fn create(&self) -> Value {
        self.request(&self.event("create")).await
    }

    pub(crate) async fn request_within(&self, event: &Value, time_limit: Duration) -> Value {
        self.request_to(&self.function, event, time_limit).await
    }

    pub(crate) async fn request_to(
        &self,
        function: &Function,
        event: &Value,
        time_limit: Duration,
    ) -> Value {
        let before = self.bucket.accepted().len();
        let outcome = function
            .invoke_with_timeout(event.to_string(), time_limit)
            .await;
        let outcome = outcome.expect("a JSON reply");
        assert!(
            matches!(outcome, Outcome::Reply(_)),
            "{outcome:?}\n{}",
            function.log()
        );
        let answers = self.bucket.accepted().split_off(before);
        let [answer] = answers.as_slice() else {
            panic!("expected one answer: {answers:?}")
        };
        for id in ["StackId", "RequestId", "LogicalResourceId"] {
            assert_eq!(answer[id], event[id], "{answer}");
        }
        answer.clone()
    }

    /// Runs by hand.
    pub(crate) async fn run(&self, payload: &str) -> Outcome {
        let outcome = self.function.invoke_with_timeout(payload, TIME_LIMIT).await;
        outcome.expect("a JSON reply")
    }

    pub(crate) fn assert_no_credential_left(&self) {
        assert_eq!(self.amg.live(), Live::default(), "{}", self.function.log());
    }
}

async fn start(
    amg: &ManagedGrafana,
    identity_center: &IdentityCenter,
    env: &[(&'static str, &str)],
) -> Function {
    let ours = [
        ("AWS_ENDPOINT_URL_GRAFANA", amg.url()),
        ("AWS_ENDPOINT_URL_SSO_ADMIN", identity_center.url()),
        ("AWS_ENDPOINT_URL_IDENTITYSTORE", identity_center.url()),
        ("GRAFANA_WORKSPACE_ID", WORKSPACE_ID.to_owned()),
        ("AMP_WORKSPACE_URL", AMP.to_owned()),
    ];
    let given = env.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let bootstrap = bootstrap("grafana-datasource-setup").expect("a built function");
    Function::start(bootstrap, ours.into_iter().chain(given))
        .await
        .expect("the function starts")
}

pub(crate) fn event(case: &str) -> Value {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../events/grafana-datasource-setup");
    let text = fs::read_to_string(folder.join(format!("{case}.json"))).expect("an event's file");
    serde_json::from_str(&text).expect("JSON")
}

#[track_caller]
pub(crate) fn assert_success(answer: &Value) {
    assert_eq!(answer["Status"], "SUCCESS", "{answer}");
}

/// The reason of a failure, which has stable words first.
#[track_caller]
pub(crate) fn reason<'a>(answer: &'a Value, error_type: &str) -> &'a str {
    assert_eq!(answer["Status"], "FAILED", "{answer}");
    let reason = answer["Reason"].as_str().expect("a reason");
    assert!(reason.starts_with(&format!("{error_type}: ")), "{reason}");
    reason
}
