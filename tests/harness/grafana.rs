//! Grafana's HTTP API.
