//! The built `dcgm-to-cloudwatch` between a real Prometheus and a strict CloudWatch.

mod alarms;
mod arrival;
mod catch_up;
mod generations;
mod migration;
mod otlp;
mod publish;
