//! Everything that is tested with more than one crate, a folder or file a subject. One program, as many of these
//! tests wait for clocks and services, and only tests of one program run beside each other. They start in the order
//! of their names, and `alerts` takes longest.

mod alerts;
mod dashboards;
mod dcgm_to_cloudwatch;
mod doubles;
mod grafana_datasource_setup;
mod pictures;
mod rehearsal;
mod templates;
