//! Amazon Managed Grafana's control plane.
