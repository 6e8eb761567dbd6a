//! Simulated dcgm-exporters.
