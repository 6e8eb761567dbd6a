//! Makes an Amazon Managed Service for Prometheus (AMP) workspace the default data source of an
//! Amazon Managed Grafana (AMG) workspace, with CloudWatch, dashboards and people beside it where
//! asked, so that Grafana is ready on first login.
//!
//! A run is one story: the event says what is asked ([`custom_resource`] for CloudFormation, else a
//! manual run) and [`config`] for which workspaces; [`identity_center`] knows who the people are;
//! [`workspace`] waits until Grafana can answer; [`roles`] brings about what [`people`] decides;
//! [`credential`] lends an administrator's token for the length of the work; [`sources`] writes what
//! [`data_source`] and [`cloudwatch_source`] decide from what [`grafana`] has, [`folder`] what
//! [`dashboard`] decides; [`health`] proves that it works. [`deadline`] keeps time for giving the
//! credential back and answering CloudFormation.

pub mod cloudwatch_source;
pub mod config;
pub mod credential;
pub mod custom_resource;
pub mod dashboard;
pub mod data_source;
pub mod deadline;
pub mod error;
pub mod folder;
pub mod grafana;
pub mod handler;
pub mod health;
pub mod identity_center;
pub mod people;
pub mod plugin;
pub mod reconcile;
pub mod report;
pub mod roles;
pub mod secret;
mod service_account;
pub mod sources;
mod value;
pub mod workspace;
