//! The doubles are as strict as what they stand for, and the Lambda driver ends as Lambda does.

mod amp_gateway;
mod cloudwatch;
mod dcgm_exporter;
mod grafana;
mod identity_center;
mod lambda_runtime;
