//! What is made once and serves every run: configuration, clients, and the memory of earlier runs.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::cloudwatch::client::Client;
use crate::config::Config;
use crate::due::audit::Audit;
use crate::otlp;
use crate::prometheus::source::Source;
use crate::watermark::Watermark;

/// What the function speaks to.
#[derive(Debug)]
pub(crate) struct Clients {
    pub(crate) source: Source,
    pub(crate) cloudwatch: Client,
    /// Takes the readings of each GPU by OTLP.
    pub(crate) detail: Option<otlp::client::Client>,
    pub(crate) watermark: Option<Watermark>,
}

/// The function: configuration and clients, made once.
#[derive(Debug)]
pub struct Function {
    pub(crate) config: Config,
    pub(crate) clients: Clients,
    /// What this process published lately.
    audit: Mutex<Audit>,
    /// Absent metrics that the log has named already.
    absent: Mutex<BTreeSet<String>>,
}

impl Function {
    /// The function, ready for its first run.
    pub(crate) fn new(config: Config, clients: Clients) -> Self {
        Self {
            config,
            clients,
            audit: Mutex::default(),
            absent: Mutex::default(),
        }
    }

    /// The record of what was published lately.
    pub(crate) fn audit(&self) -> MutexGuard<'_, Audit> {
        self.audit.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the log has not named these absent metrics yet, or names others.
    pub(crate) fn is_news(&self, absent: &BTreeSet<String>) -> bool {
        let known = self.absent.lock();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        let is_news = !absent.is_subset(&known);
        known.clone_from(absent);
        is_news
    }
}
