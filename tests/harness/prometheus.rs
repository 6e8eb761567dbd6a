//! A real Prometheus process.
