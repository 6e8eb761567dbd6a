//! The world as the rehearsal uses it: a step that fails is a failed test.

use std::ops::Deref;
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::Value;
use testkit::doubles::dcgm_exporter::Node;
use testkit::world::{self, put_stack};

pub(crate) use testkit::world::{CLUSTER, STACK};

/// Of a stack, beyond those that every stack gets here.
type Parameters<'a> = &'a [(&'a str, &'a str)];

pub(crate) struct World(world::World);

impl Deref for World {
    type Target = world::World;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl World {
    /// Everything but the stack, which is packaged.
    pub(crate) async fn start() -> Self {
        let nodes = vec![Node::p5en(1), Node::p5en(2)];
        let world = world::World::start(nodes, Vec::new()).await.unwrap();
        world.account.package().await.unwrap();
        Self(world)
    }

    /// The documents' own command, with what MiniStack needs in addition.
    pub(crate) async fn deploy_documented(&self) {
        let documented = [
            ("MonitoringType", "amp+amg"),
            ("VPCName", "pcluster-vpc"),
            ("PrimarySubnetAZ", "us-east-2a"),
            ("CreateNatGateway", "false"),
        ];
        let template = "parallelcluster-infrastructure.yaml";
        let state = self.put(template, "create-stack", &documented).await;
        let log = self.account.ministack.log();
        assert_eq!(state.as_deref(), Some("CREATE_COMPLETE"), "{log}");
    }

    /// The monitoring alone; the error is the state the stack ended in.
    pub(crate) async fn create_monitoring(&self, parameters: Parameters<'_>) -> Result<(), String> {
        self.put_monitoring("create-stack", "CREATE_COMPLETE", parameters)
            .await
    }

    pub(crate) async fn update_monitoring(&self, parameters: Parameters<'_>) -> Result<(), String> {
        self.put_monitoring("update-stack", "UPDATE_COMPLETE", parameters)
            .await
    }

    async fn put_monitoring(
        &self,
        verb: &str,
        wanted: &str,
        more: Parameters<'_>,
    ) -> Result<(), String> {
        match self.put("monitoring.yaml", verb, more).await {
            Some(state) if state == wanted => Ok(()),
            state => Err(state.unwrap_or_default()),
        }
    }

    async fn put(&self, template: &str, verb: &str, more: Parameters<'_>) -> Option<String> {
        let parameters = [&[("SettleSeconds", "0")], more].concat();
        let words = put_stack(verb, template, &parameters);
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        self.account.change(STACK, &words).await.unwrap()
    }

    /// One of make's targets for operators, on this stack.
    pub(crate) async fn make(&self, target: &str, more: &[&str]) -> String {
        let stack = format!("STACK={STACK}");
        let words = [target, &stack, "REGION=us-east-2"];
        let printed = self.account.make(&[&words[..], more].concat()).await;
        printed.unwrap()
    }

    pub(crate) async fn aws(&self, arguments: &[&str]) -> Value {
        self.account.aws(arguments).await.unwrap()
    }

    /// Invokes a function as the documents do: by hand, without payload.
    pub(crate) async fn invoke(&self, function: &str) -> Value {
        self.account.invoke(function, None).await.unwrap()
    }

    pub(crate) async fn dashboard(&self, name: &str) -> Value {
        let read = ["cloudwatch", "get-dashboard", "--dashboard-name", name];
        let body = [&read[..], &["--query", "DashboardBody"]].concat();
        serde_json::from_str(self.aws(&body).await.as_str().unwrap()).unwrap()
    }

    pub(crate) async fn metrics(&self) -> Vec<Value> {
        let namespace = format!("ParallelCluster/{CLUSTER}/GPU");
        let list = ["list-metrics", "--namespace", &namespace];
        let found = self.account.aws_metrics(&list).await.unwrap();
        found["Metrics"].as_array().unwrap().clone()
    }

    /// The documents' `get-metric-statistics`: without dimensions, over the last ten minutes.
    pub(crate) async fn statistics(&self, metric: &str, statistic: &str) -> Vec<f64> {
        let namespace = format!("ParallelCluster/{CLUSTER}/GPU");
        let [start, end] = last_ten_minutes();
        let ask = ["get-metric-statistics", "--namespace", &namespace];
        let metric = ["--metric-name", metric, "--statistics", statistic];
        let over = ["--start-time", &start, "--end-time", &end, "--period", "60"];
        let ask = [&ask[..], &metric, &over].concat();
        let found = self.account.aws_metrics(&ask).await.unwrap();
        let points = found["Datapoints"].as_array().unwrap();
        points
            .iter()
            .map(|point| point[statistic].as_f64().unwrap())
            .collect()
    }

    /// What GetMetricData answers a query of one line.
    pub(crate) async fn cloudwatch_data(&self, query: &Value) -> Vec<Value> {
        let [start, end] = last_ten_minutes();
        let query = query.to_string();
        let ask = ["get-metric-data", "--metric-data-queries", &query];
        let over = ["--start-time", &start, "--end-time", &end];
        let ask = [&ask[..], &over].concat();
        let found = self.account.aws_metrics(&ask).await.unwrap();
        let results = found["MetricDataResults"][0]["Values"].as_array();
        results.unwrap().clone()
    }
}

#[expect(clippy::disallowed_methods, reason = "people ask from their own clock")]
fn last_ten_minutes() -> [String; 2] {
    let now = Utc::now();
    // The period that a scheduled run has just published may be younger than the clock's minute.
    [
        now - Duration::from_secs(600),
        now + Duration::from_secs(60),
    ]
    .map(|time| time.to_rfc3339_opts(SecondsFormat::Secs, true))
}
