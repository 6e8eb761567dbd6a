//! An AMP workspace: checks the SigV4 signature, then asks a real Prometheus.
