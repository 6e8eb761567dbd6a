//! `dcgm-to-cloudwatch` with everything around it: a real Prometheus holding a history, AMP's
//! gateway before it, the strict CloudWatch and Parameter Store behind.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::Value;

use crate::doubles::amp_gateway::{AmpGateway, Options};
use crate::doubles::cloudwatch::CloudWatch;
use crate::doubles::parameter_store::ParameterStore;
use crate::lambda::{Function, bootstrap};
use crate::real::prometheus::{self, History, Prometheus};

/// The function's own name, by which binary and events are found.
pub const FUNCTION: &str = "dcgm-to-cloudwatch";

/// The name of the cluster that it publishes.
pub const CLUSTER: &str = "p5en";

/// The parameter with the watermark.
pub const WATERMARK: &str = "/pcluster-infra/dcgm-to-cloudwatch/watermark";

/// The parts, running.
#[derive(Debug)]
pub struct Pipeline {
    /// What AMP holds.
    pub prometheus: Prometheus,
    /// AMP.
    pub amp: AmpGateway,
    /// CloudWatch.
    pub cloudwatch: CloudWatch,
    /// Parameter Store, without a watermark until one is set or written.
    pub parameters: ParameterStore,
}

impl Pipeline {
    /// Starts the parts, Prometheus with this history.
    pub async fn start(history: History) -> anyhow::Result<Self> {
        Self::with(prometheus::Options {
            history: vec![history],
            ..Default::default()
        })
        .await
    }

    /// Starts the parts, Prometheus without a sample but ready to be sent some, an hour late at most.
    pub async fn receiving() -> anyhow::Result<Self> {
        Self::with(prometheus::Options {
            remote_write_receiver: true,
            ..Default::default()
        })
        .await
    }

    async fn with(options: prometheus::Options) -> anyhow::Result<Self> {
        let prometheus = Prometheus::start(options).await?;
        let amp = AmpGateway::start(prometheus.url(), Options::default()).await?;
        Ok(Self {
            prometheus,
            amp,
            cloudwatch: CloudWatch::start().await?,
            parameters: ParameterStore::start().await?,
        })
    }

    /// Starts the built function with the defaults of its configuration, but for `changes`.
    pub async fn function(&self, changes: &[(&str, &str)]) -> anyhow::Result<Function> {
        let mut environment = BTreeMap::from([
            ("AMP_WORKSPACE_URL", self.amp.workspace_url().to_owned()),
            ("AWS_ENDPOINT_URL_CLOUDWATCH", self.cloudwatch.url()),
            ("CLUSTER_NAME", CLUSTER.to_owned()),
        ]);
        environment.extend(
            changes
                .iter()
                .map(|(name, value)| (*name, (*value).to_owned())),
        );
        Function::start(bootstrap(FUNCTION)?, environment).await
    }

    /// The same for a function that keeps a watermark.
    pub async fn marking_function(&self, changes: &[(&str, &str)]) -> anyhow::Result<Function> {
        let own = [
            ("WATERMARK_PARAMETER", WATERMARK),
            ("AWS_ENDPOINT_URL_SSM", self.parameters.url()),
        ];
        self.function(&[&own[..], changes].concat()).await
    }

    /// Where the next run goes on.
    pub fn watermark(&self) -> Option<String> {
        self.parameters.get(WATERMARK)
    }

    /// Sets that, to a time or to anything else.
    pub fn set_watermark(&self, value: &str) {
        self.parameters.set(WATERMARK, value);
    }
}

/// The start of the minute that began `ago` minutes before the current one.
pub fn minute(ago: u64) -> SystemTime {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
        / 60;
    UNIX_EPOCH + Duration::from_secs((now - ago) * 60)
}

/// A time in the form of RFC 3339.
pub fn rfc3339(time: SystemTime) -> String {
    DateTime::<Utc>::from(time).to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// One of the function's example events, with some of its fields set anew.
pub fn event(name: &str, fields: &[(&str, String)]) -> anyhow::Result<Vec<u8>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../events")
        .join(FUNCTION)
        .join(name)
        .with_extension("json");
    let mut event: Value = serde_json::from_slice(&std::fs::read(file)?)?;
    for (field, value) in fields {
        event[*field] = value.clone().into();
    }
    Ok(serde_json::to_vec(&event)?)
}

/// EventBridge Scheduler's event, for the run that publishes the minute from `start` with the
/// default settle time.
pub fn scheduled(start: SystemTime) -> anyhow::Result<Vec<u8>> {
    event(
        "scheduler",
        &[("time", rfc3339(start + Duration::from_secs(120)))],
    )
}
