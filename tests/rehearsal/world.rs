//! All that the stack meets: AWS, the workspaces, the nodes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{SecondsFormat, Utc};
use harness::amp_gateway::{self, AmpGateway};
use harness::cloudwatch::CloudWatch;
use harness::dcgm_exporter::{DcgmExporter, Node, scrape_config};
use harness::grafana::{Amp, Grafana};
use harness::lambda::{REGION, bootstrap};
use harness::managed_grafana::{ManagedGrafana, WORKSPACE_ID};
use harness::ministack::{MiniStack, tool};
use harness::prometheus::{self, Prometheus};
use serde_json::Value;
use tempfile::TempDir;

/// The name in the documents, which other names are made of.
pub(crate) const STACK: &str = "pcluster-infra";
pub(crate) const CLUSTER: &str = "p5en";
pub(crate) const AMP_WORKSPACE_ID: &str = "ws-1f3a6c1e-2b4d-4c8a-9e0f-5d7b3a9c8e10";

const BUCKET: &str = "packages";
const SCRAPE_INTERVAL: Duration = Duration::from_secs(1);

pub(crate) struct World {
    pub(crate) ministack: MiniStack,
    pub(crate) cloudwatch: CloudWatch,
    pub(crate) grafana: Grafana,
    pub(crate) amg: ManagedGrafana,
    folder: TempDir,
    _amp: AmpGateway,
    _prometheus: Prometheus,
    _nodes: Vec<DcgmExporter>,
}

impl World {
    /// Everything but the stack, which is packaged.
    pub(crate) async fn start() -> Self {
        let nodes = vec![
            DcgmExporter::start(Node::p5en(1)).await.unwrap(),
            DcgmExporter::start(Node::p5en(2)).await.unwrap(),
        ];
        let prometheus = Prometheus::start(prometheus::Options {
            config: scrape_config(&nodes, SCRAPE_INTERVAL),
            ..prometheus::Options::default()
        });
        let prometheus = prometheus.await.unwrap();
        let workspace = amp_gateway::Options {
            workspace_id: AMP_WORKSPACE_ID.to_owned(),
            region: REGION.to_owned(),
            credentials: MiniStack::credentials(),
        };
        let amp = AmpGateway::start(prometheus.url(), workspace)
            .await
            .unwrap();
        let grafana = Grafana::start(12, data_source_target()).await.unwrap();
        let amg = ManagedGrafana::start_for(&grafana, MiniStack::credentials())
            .await
            .unwrap();
        let cloudwatch = CloudWatch::start().await.unwrap();
        let (amp_url, _) = amp.workspace_url().split_once("/workspaces/").unwrap();
        let endpoints = [
            ("AWS_ENDPOINT_URL_AMP", amp_url.to_owned()),
            ("AWS_ENDPOINT_URL_GRAFANA", amg.url()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch.url()),
        ];
        let world = Self {
            ministack: MiniStack::start(endpoints).await.unwrap(),
            cloudwatch,
            grafana,
            amg,
            folder: TempDir::new().unwrap(),
            _amp: amp,
            _prometheus: prometheus,
            _nodes: nodes,
        };
        world.package().await;
        world
    }

    async fn package(&self) {
        self.aws(&["s3", "mb", &format!("s3://{BUCKET}")]).await;
        let function = bootstrap("dcgm-to-cloudwatch").unwrap();
        let build = function.ancestors().nth(2).unwrap().to_str().unwrap();
        let output = self.folder.path().to_str().unwrap();
        self.script(
            "infra/package.py",
            &["--bucket", BUCKET, "--build", build, "--output", output],
        )
        .await;
    }

    /// The documents' own command, with what MiniStack needs in addition.
    pub(crate) async fn deploy_documented(&self) {
        let template = self.template("parallelcluster-infrastructure.yaml");
        let documented = [
            "cloudformation",
            "create-stack",
            "--stack-name",
            STACK,
            "--template-body",
            &template,
            "--capabilities",
            "CAPABILITY_NAMED_IAM",
            "--parameters",
            "ParameterKey=MonitoringType,ParameterValue=amp+amg",
            "ParameterKey=VPCName,ParameterValue=pcluster-vpc",
            "ParameterKey=PrimarySubnetAZ,ParameterValue=us-east-2a",
            "ParameterKey=CreateNatGateway,ParameterValue=false",
        ];
        let parameters = existing_workspaces();
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        self.aws(&[&documented, &parameters[..]].concat()).await;
        let state = self.ministack.settled(STACK).await.unwrap();
        assert_eq!(
            state.as_deref(),
            Some("CREATE_COMPLETE"),
            "{}",
            self.ministack.log()
        );
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
        let template = self.template("monitoring.yaml");
        let command = [
            "cloudformation",
            verb,
            "--stack-name",
            STACK,
            "--template-body",
            &template,
        ];
        let capability = ["--capabilities", "CAPABILITY_NAMED_IAM", "--parameters"];
        let parameters = existing_workspaces();
        let parameters: Vec<_> = parameters.iter().map(String::as_str).collect();
        self.aws(&[&command[..], &capability, &parameters, more].concat())
            .await;
        match self.ministack.settled(STACK).await.unwrap() {
            Some(state) if state == wanted => Ok(()),
            state => Err(state.unwrap_or_default()),
        }
    }

    pub(crate) async fn delete(&self, stack: &str) {
        self.aws(&["cloudformation", "delete-stack", "--stack-name", stack])
            .await;
        assert_eq!(self.ministack.settled(stack).await.unwrap(), None);
    }

    pub(crate) async fn aws(&self, arguments: &[&str]) -> Value {
        self.ministack.aws(arguments).await.unwrap()
    }

    /// Invokes a function as the documents do: by hand, without payload.
    pub(crate) async fn invoke(&self, function: &str) -> Value {
        let reply = self.folder.path().join("out.json");
        let reply = reply.to_str().unwrap();
        let invoked = self
            .aws(&["lambda", "invoke", "--function-name", function, reply])
            .await;
        let reply = std::fs::read_to_string(reply).unwrap();
        assert!(invoked["FunctionError"].is_null(), "{reply}");
        serde_json::from_str(&reply).unwrap()
    }

    pub(crate) async fn log(&self, group: &str) -> String {
        let read = [
            "logs",
            "filter-log-events",
            "--log-group-name",
            group,
            "--query",
            "events[].message",
        ];
        self.aws(&read).await.to_string()
    }

    pub(crate) async fn dashboard(&self, name: &str) -> Value {
        let read = [
            "cloudwatch",
            "get-dashboard",
            "--dashboard-name",
            name,
            "--query",
            "DashboardBody",
        ];
        let body = self.aws(&read).await;
        serde_json::from_str(body.as_str().unwrap()).unwrap()
    }

    /// Asks the metrics' own CloudWatch.
    pub(crate) async fn cloudwatch_cli(&self, arguments: &[&str]) -> Value {
        let endpoint = self.cloudwatch.url();
        self.aws(&[&["cloudwatch", "--endpoint-url", &endpoint], arguments].concat())
            .await
    }

    /// The documents' `get-metric-statistics`: without dimensions, over the last ten minutes.
    pub(crate) async fn statistics(&self, metric: &str, statistic: &str) -> Vec<f64> {
        let namespace = format!("ParallelCluster/{CLUSTER}/GPU");
        let [start, end] = last_ten_minutes();
        let ask = [
            "get-metric-statistics",
            "--namespace",
            &namespace,
            "--metric-name",
            metric,
        ];
        let over = [
            "--start-time",
            &start,
            "--end-time",
            &end,
            "--period",
            "60",
            "--statistics",
            statistic,
        ];
        let found = self.cloudwatch_cli(&[&ask[..], &over].concat()).await;
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
        let ask = [
            "get-metric-data",
            "--metric-data-queries",
            &query,
            "--start-time",
            &start,
            "--end-time",
            &end,
        ];
        let found = self.cloudwatch_cli(&ask).await;
        found["MetricDataResults"][0]["Values"]
            .as_array()
            .unwrap()
            .clone()
    }

    /// Runs a script of the repository to its successful end and gives back what it printed.
    pub(crate) async fn script(&self, script: &str, arguments: &[&str]) -> String {
        let mut command = self.ministack.command(tool("python3"));
        let output = command
            .arg(repository(script))
            .args(arguments)
            .output()
            .await
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {error}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn template(&self, name: &str) -> String {
        format!("file://{}", self.folder.path().join(name).display())
    }
}

fn existing_workspaces() -> Vec<String> {
    [
        ("AmpWorkspaceId", AMP_WORKSPACE_ID),
        ("GrafanaWorkspaceId", WORKSPACE_ID),
        ("ClusterName", CLUSTER),
        ("ExpectedGpus", "16"),
        ("SettleSeconds", "0"),
    ]
    .map(|(key, value)| format!("ParameterKey={key},ParameterValue={value}"))
    .into()
}

fn data_source_target() -> Amp {
    Amp {
        url: format!("https://aps-workspaces.{REGION}.amazonaws.com/workspaces/{AMP_WORKSPACE_ID}"),
        region: REGION.to_owned(),
        role_may_query: true,
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

pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}
