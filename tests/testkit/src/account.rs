//! An AWS account as the stack meets it: MiniStack, and doubles of what that has not: AMP, AMG,
//! Identity Center and CloudWatch's limits. The real AWS CLI speaks to all of them.

use std::ffi::OsStr;
use std::path::Path;
use std::{fs, io};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use tokio::process::Command;

use crate::doubles::amp_gateway::{self, AmpGateway};
use crate::doubles::cloudwatch::CloudWatch;
use crate::doubles::grafana::{Amp, Grafana};
use crate::doubles::identity_center::IdentityCenter;
use crate::doubles::managed_grafana::ManagedGrafana;
use crate::lambda::{REGION, bootstrap};
use crate::project::{repository, tool};
use crate::real::ministack::MiniStack;
use crate::real::process;

/// The AMP workspace that is there before the stack is.
pub const AMP_WORKSPACE_ID: &str = "ws-1f3a6c1e-2b4d-4c8a-9e0f-5d7b3a9c8e10";

const BUCKET: &str = "packages";

/// A running account; dropping it ends it, and what is deployed in it.
#[derive(Debug)]
pub struct Account {
    /// CloudFormation, Lambda and all that is not named below.
    pub ministack: MiniStack,
    /// Where metrics go.
    pub cloudwatch: CloudWatch,
    /// The Grafana of the workspace.
    pub grafana: Grafana,
    /// The workspace.
    pub amg: ManagedGrafana,
    /// The organisation's people.
    pub identity_center: IdentityCenter,
    /// The other workspace, whose samples a Prometheus holds.
    pub amp: AmpGateway,
}

impl Account {
    /// Starts an account whose AMP workspace has the samples of the Prometheus at this address.
    ///
    /// # Errors
    /// A part does not start, and says why.
    pub async fn start(prometheus_url: impl Into<String>) -> anyhow::Result<Self> {
        let workspace = amp_gateway::Options {
            workspace_id: AMP_WORKSPACE_ID.to_owned(),
            region: REGION.to_owned(),
            credentials: MiniStack::credentials(),
        };
        let amp = AmpGateway::start(prometheus_url, workspace).await?;
        let grafana = Grafana::start(12, data_source_target()).await?;
        let amg = ManagedGrafana::start_for(&grafana, MiniStack::credentials()).await?;
        let identity_center = IdentityCenter::start(MiniStack::credentials()).await?;
        let cloudwatch = CloudWatch::start().await?;
        let (amp_url, _) = amp
            .workspace_url()
            .split_once("/workspaces/")
            .context("the address of a workspace")?;
        let endpoints = [
            ("AWS_ENDPOINT_URL_AMP", amp_url.to_owned()),
            ("AWS_ENDPOINT_URL_GRAFANA", amg.url()),
            ("AWS_ENDPOINT_URL_SSO_ADMIN", identity_center.url()),
            ("AWS_ENDPOINT_URL_IDENTITYSTORE", identity_center.url()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", cloudwatch.url()),
        ];
        Ok(Self {
            ministack: MiniStack::start(endpoints).await?,
            cloudwatch,
            grafana,
            amg,
            identity_center,
            amp,
        })
    }

    /// Adds a Grafana workspace with a Grafana of its own.
    ///
    /// # Errors
    /// No free port.
    pub async fn add_grafana(&self, workspace_id: &str) -> anyhow::Result<Grafana> {
        let grafana = Grafana::start(12, data_source_target()).await?;
        self.amg.add_workspace(workspace_id, &grafana);
        Ok(grafana)
    }

    /// Packages the built functions and the templates, as `make package` does.
    ///
    /// # Errors
    /// In the words of `package.py`.
    pub async fn package(&self) -> anyhow::Result<()> {
        self.aws(&["s3", "mb", &format!("s3://{BUCKET}")]).await?;
        let function = bootstrap("dcgm-to-cloudwatch")?;
        let build = function.ancestors().nth(2).and_then(Path::to_str);
        let build = build.context("the folder of the built functions")?;
        let output = self.file("");
        let arguments = ["--bucket", BUCKET, "--build", build, "--output", &output];
        self.script("infra/package.py", &arguments).await?;
        Ok(())
    }

    /// Runs the AWS CLI and gives back what it printed, parsed where it is JSON.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn aws(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        self.ministack.aws(arguments).await
    }

    /// The same for CloudWatch's metrics. Dashboards and alarms are MiniStack's.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn aws_metrics(&self, arguments: &[&str]) -> anyhow::Result<Value> {
        let mut aws = self.command(tool("aws"));
        let answer = process::printed(aws.arg("cloudwatch").args(arguments)).await?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// A program that finds the AWS CLI; all of AWS leads here, and CloudWatch to its metrics.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = self.ministack.command(program);
        command.env("AWS_ENDPOINT_URL_CLOUDWATCH", self.cloudwatch.url());
        command
    }

    /// Writes a file that leads a shell which reads it to this account: `. <file>`.
    ///
    /// # Errors
    /// The disk is full.
    pub fn environment_file(&self) -> io::Result<String> {
        let mut environment = self.ministack.environment();
        environment.push(("AWS_ENDPOINT_URL_CLOUDWATCH", self.cloudwatch.url()));
        let exports = environment
            .iter()
            .map(|(name, value)| format!("export {name}='{value}'\n"));
        self.write("environment", exports.collect::<String>())?;
        Ok(self.file("environment"))
    }

    /// Runs one of make's targets and gives back what it printed.
    ///
    /// # Errors
    /// The target's own words.
    pub async fn make(&self, words: &[&str]) -> anyhow::Result<String> {
        let mut make = self.ministack.command("make");
        process::printed(make.current_dir(repository("")).args(words)).await
    }

    /// Writes a file for the CLI to read, beside the package.
    ///
    /// # Errors
    /// The disk is full.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> io::Result<()> {
        fs::write(self.file(name), content)
    }

    /// Creates, updates or deletes a stack by `aws cloudformation <arguments>`, and gives the state
    /// it ends in; nothing once it is deleted.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn change(&self, stack: &str, arguments: &[&str]) -> anyhow::Result<Option<String>> {
        self.aws(&[&["cloudformation"], arguments].concat()).await?;
        self.ministack.settled(stack).await
    }

    /// Invokes a function by hand, with this payload or with none.
    ///
    /// # Errors
    /// The function's own, or the CLI's.
    pub async fn invoke(&self, function: &str, payload: Option<&str>) -> anyhow::Result<Value> {
        let reply = self.file("out.json");
        let mut arguments = vec!["lambda", "invoke", "--cli-read-timeout", "910"];
        arguments.extend(["--function-name", function]);
        if let Some(payload) = payload {
            arguments.extend(["--payload", payload]);
        }
        arguments.push(&reply);
        let invoked = self.aws(&arguments).await?;
        let reply = fs::read_to_string(&reply)?;
        ensure!(invoked["FunctionError"].is_null(), "{function}: {reply}");
        Ok(serde_json::from_str(&reply)?)
    }

    /// What a function has logged, a line each.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn log(&self, function: &str) -> anyhow::Result<Vec<String>> {
        let group = format!("/aws/lambda/{function}");
        let read = ["logs", "filter-log-events", "--log-group-name", &group];
        let messages = ["--query", "events[].message"];
        let lines = self.aws(&[&read[..], &messages].concat()).await?;
        serde_json::from_value(lines).context("the answer of filter-log-events")
    }

    /// One of a stack's outputs.
    ///
    /// # Errors
    /// There is no such output.
    pub async fn output(&self, stack: &str, key: &str) -> anyhow::Result<String> {
        let query = format!("Stacks[0].Outputs[?OutputKey=='{key}'].OutputValue | [0]");
        let read = ["cloudformation", "describe-stacks", "--stack-name", stack];
        match self
            .aws(&[&read[..], &["--query", &query]].concat())
            .await?
        {
            Value::String(value) => Ok(value),
            _ => bail!("stack {stack} has no output {key}"),
        }
    }

    /// Runs a script of the repository to its successful end and gives back what it printed.
    ///
    /// # Errors
    /// The script's own words.
    pub async fn script(&self, script: &str, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = self.ministack.command(tool("python3"));
        process::printed(command.arg(repository(script)).args(arguments)).await
    }

    fn file(&self, name: &str) -> String {
        self.ministack.folder().join(name).display().to_string()
    }
}

fn data_source_target() -> Amp {
    Amp {
        url: format!("https://aps-workspaces.{REGION}.amazonaws.com/workspaces/{AMP_WORKSPACE_ID}"),
        region: REGION.to_owned(),
        role_may_query: true,
    }
}
