//! Makes an Amazon Managed Service for Prometheus (AMP) workspace the default data source of an
//! Amazon Managed Grafana (AMG) workspace, so that Grafana is ready on first login. Where asked, it
//! also sets up CloudWatch, dashboards and people's roles.
//!
//! A run goes one way. The event says what is asked (`custom_resource` for CloudFormation, otherwise
//! `manual_run`), and [`config`] for which workspaces. `people` looks up who is on the lists, before
//! anything is written. [`workspace`] waits until Grafana can answer. [`credential`] lends an
//! administrator's token for the length of the work: roles (`people`), data sources
//! ([`data_sources`]), dashboards (`dashboards`), and the proof that AMP can be queried
//! (`data_sources::health`). In each of these rooms `plan` decides and is pure, and `apply` acts on
//! [`grafana`] or AMG. `report` tells what was done. [`handler`] is that way as a list of verbs, with
//! `set_up` and `removal` for its two directions; `schedule` reserves time for returning the
//! credential and answering CloudFormation.

mod aws_call;
pub mod config;
pub mod connect;
pub mod credential;
pub mod custom_resource;
mod dashboards;
pub mod data_sources;
pub mod error;
pub mod grafana;
pub mod handler;
mod manual_run;
mod people;
mod reconcile;
mod removal;
mod report;
mod run;
mod schedule;
mod set_up;
pub mod workspace;
