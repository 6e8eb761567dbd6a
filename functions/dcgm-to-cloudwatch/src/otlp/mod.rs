//! The second wire to CloudWatch: the readings of each GPU, by OpenTelemetry's protocol (OTLP).
//!
//! CloudWatch charges OTLP by the byte instead of by the metric. Samples are sent as they are, with their
//! own times: they never change, so sending them again changes nothing. A run sends them before the
//! roll-ups, which CloudWatch would count twice.
//!
//! Readings become points (`point`, `series`, `labels`), points become requests (`batch`, `encode`), and these are
//! sent (`client`, `publish`). Everything before `client` is pure.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html>

pub(crate) mod batch;
pub(crate) mod client;
pub(crate) mod encode;
pub(crate) mod endpoint;
pub(crate) mod labels;
pub(crate) mod limits;
pub(crate) mod point;
mod protobuf;
pub(crate) mod publish;
pub(crate) mod reply;
pub(crate) mod series;
