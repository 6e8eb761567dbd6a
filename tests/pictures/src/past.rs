//! Hours of a cluster's life, for pictures of them: what its nodes showed, what the rules made of it
//! minute by minute, and what the deployed function published of each minute.

mod fleet;
mod rules;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use testkit::account::Account;
use testkit::real::prometheus::Prometheus;
use testkit::real::remote_write::Request;
use testkit::real::rules::resting;
use testkit::world::{CLUSTER, STACK, put_stack};

use self::fleet::Fleet;
use self::rules::Rules;
use crate::aws;
use crate::page::{Dashboard, Page, Sources};

const MINUTE: i64 = 60;

const FUNCTION: &str = "pcluster-infra-dcgm-to-cloudwatch";

/// An account and a workspace that hold the past, and get nothing more.
#[derive(Debug)]
pub struct Past {
    /// Where the stack is deployed.
    pub account: Account,
    /// What AMP holds.
    pub prometheus: Prometheus,
    /// From when on, and until when, in seconds since 1970.
    pub span: (i64, i64),
    client: reqwest::Client,
}

impl Past {
    /// Lives through the last `minutes`.
    ///
    /// # Errors
    /// A part does not start, or refuses what it is asked; it says why.
    pub async fn live(minutes: i64) -> anyhow::Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let end = i64::try_from(now)? / MINUTE * MINUTE;
        let span = (end - minutes * MINUTE, end);
        let prometheus = Prometheus::start(resting(CLUSTER).await?).await?;
        let account = Account::start(prometheus.url()).await?;
        deploy(&account).await?;
        let past = Self {
            account,
            prometheus,
            span,
            client: reqwest::Client::new(),
        };
        past.remember().await?;
        Ok(past)
    }

    /// A page of all dashboards over this past.
    ///
    /// # Errors
    /// There is no port to listen on.
    pub async fn page(&self) -> anyhow::Result<Page> {
        let dashboards = Dashboard::all(&self.account, STACK).await?;
        let seconds = self.span.1 - self.span.0;
        Page::start(
            &dashboards,
            Sources::of(&self.account, &self.prometheus),
            seconds,
            &[],
        )
        .await
    }

    /// Minute by minute, as a Prometheus takes samples in the order of their times.
    async fn remember(&self) -> anyhow::Result<()> {
        let url = self.prometheus.url();
        let fleet = Fleet::until(time(self.span.1));
        let mut rules = Rules::of(&url).await?;
        let (start, end) = self.span;
        for minute in (start..end).step_by(MINUTE as usize) {
            let mut request = Request::default();
            fleet.show(time(minute)..time(minute + MINUTE), &mut request);
            request.send(&url).await?;
            rules.evaluate(minute + MINUTE).await?;
            self.publish(minute).await?;
        }
        Ok(())
    }

    /// The function's run for one minute, and what Lambda would have counted of it then.
    async fn publish(&self, minute: i64) -> anyhow::Result<()> {
        let rfc3339 = |at| testkit::pipeline::rfc3339(time(at));
        let event = json!({"start": rfc3339(minute), "end": rfc3339(minute + MINUTE)});
        let url = self.account.ministack.url();
        let invoke = format!("{url}/2015-03-31/functions/{FUNCTION}/invocations");
        let began = Instant::now();
        let reply = self
            .client
            .post(invoke)
            .body(event.to_string())
            .send()
            .await?;
        let millis = began.elapsed().as_secs_f64() * 1000.0;
        let failed = reply.headers().contains_key("x-amz-function-error");
        let reply = reply.text().await?;
        let log = || self.account.ministack.log();
        ensure!(!failed, "{reply}\n{}", log());
        let reply: Value = serde_json::from_str(&reply).with_context(log)?;
        ensure!(reply["complete"] == true, "{reply}");

        let counted = [
            ("Invocations", 1.0),
            ("Errors", 0.0),
            ("Throttles", 0.0),
            ("Duration", millis),
        ];
        let counted = counted.map(|(name, value)| {
            let dimensions = [json!({"Name": "FunctionName", "Value": FUNCTION})];
            json!({"MetricName": name, "Dimensions": dimensions, "Timestamp": minute, "Value": value})
        });
        let metrics = json!({"Namespace": "AWS/Lambda", "MetricData": counted}).to_string();
        let put = aws::request(&url, aws::CLOUDWATCH, "PutMetricData", metrics);
        put.send().await?.error_for_status()?;
        Ok(())
    }
}

/// The stack, whose schedule sleeps.
async fn deploy(account: &Account) -> anyhow::Result<()> {
    account.package().await?;
    let parameters = [
        ("MonitoringType", "amp+amg"),
        ("ScheduleExpression", "rate(1 day)"),
    ];
    let words = put_stack("create-stack", "monitoring.yaml", &parameters);
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let state = account.change(STACK, &words).await?;
    let deployed = state.as_deref() == Some("CREATE_COMPLETE");
    ensure!(deployed, "{state:?}: {}", account.ministack.log());
    Ok(())
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds.unsigned_abs())
}
