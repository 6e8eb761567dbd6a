//! All that the stack meets: an account, and the nodes whose samples are in its workspace.

use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use serde_json::Value;
use testkit::account::Account;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Node};
use testkit::real::head_node::HeadNode;
use testkit::real::ministack::MiniStack;
use testkit::real::prometheus::{self, Prometheus};

/// The name in the documents, which other names are made of.
pub(crate) const STACK: &str = "pcluster-infra";
pub(crate) const CLUSTER: &str = "p5en";

pub(crate) struct World {
    pub(crate) account: Account,
    _head_node: HeadNode,
    _workspace: Prometheus,
    _nodes: Vec<DcgmExporter>,
}

impl World {
    /// Everything but the stack, which is packaged.
    pub(crate) async fn start() -> Self {
        let nodes = vec![
            DcgmExporter::start(Node::p5en(1)).await.unwrap(),
            DcgmExporter::start(Node::p5en(2)).await.unwrap(),
        ];
        let workspace = Prometheus::start(prometheus::Options {
            remote_write_receiver: true,
            ..prometheus::Options::default()
        });
        let workspace = workspace.await.unwrap();
        let account = Account::start(workspace.url()).await.unwrap();
        let url = account.amp.workspace_url();
        let head_node = HeadNode::start(&nodes, CLUSTER, url, MiniStack::credentials());
        let head_node = head_node.await.unwrap();
        account.package().await.unwrap();
        Self {
            account,
            _head_node: head_node,
            _workspace: workspace,
            _nodes: nodes,
        }
    }

    /// The documents' own command, with what MiniStack needs in addition.
    pub(crate) async fn deploy_documented(&self) {
        let documented = [
            "ParameterKey=MonitoringType,ParameterValue=amp+amg",
            "ParameterKey=VPCName,ParameterValue=pcluster-vpc",
            "ParameterKey=PrimarySubnetAZ,ParameterValue=us-east-2a",
            "ParameterKey=CreateNatGateway,ParameterValue=false",
        ];
        let template = "parallelcluster-infrastructure.yaml";
        let state = self.put(template, "create-stack", &documented).await;
        let log = self.account.ministack.log();
        assert_eq!(state.as_deref(), Some("CREATE_COMPLETE"), "{log}");
    }

    /// The monitoring alone; the error is the state the stack ended in.
    pub(crate) async fn create_monitoring(&self, parameters: &[&str]) -> Result<(), String> {
        self.put_monitoring("create-stack", "CREATE_COMPLETE", parameters)
            .await
    }

    pub(crate) async fn update_monitoring(&self, parameters: &[&str]) -> Result<(), String> {
        self.put_monitoring("update-stack", "UPDATE_COMPLETE", parameters)
            .await
    }

    async fn put_monitoring(&self, verb: &str, wanted: &str, more: &[&str]) -> Result<(), String> {
        match self.put("monitoring.yaml", verb, more).await {
            Some(state) if state == wanted => Ok(()),
            state => Err(state.unwrap_or_default()),
        }
    }

    async fn put(&self, template: &str, verb: &str, more: &[&str]) -> Option<String> {
        let template = self.account.template(template);
        let command = [verb, "--stack-name", STACK, "--template-body", &template];
        let capability = ["--capabilities", "CAPABILITY_NAMED_IAM", "--parameters"];
        let settings = [
            ("ClusterName", CLUSTER),
            ("ExpectedGpus", "16"),
            ("SettleSeconds", "0"),
        ];
        let parameters = Account::workspaces().into_iter().chain(settings);
        let parameters: Vec<_> = parameters
            .map(|(key, value)| format!("ParameterKey={key},ParameterValue={value}"))
            .collect();
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        let arguments = [&command[..], &capability, &parameters, more].concat();
        self.account.change(STACK, &arguments).await.unwrap()
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
