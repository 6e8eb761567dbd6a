//! What a run tells its log beyond the reply, for whoever looks for the reason of a gap or an alarm.

use std::collections::BTreeSet;

use crate::due::period::rfc3339;
use crate::gpu::dropped::DropReason;
use crate::gpu::identity::Fleet;
use crate::run::Run;

/// Number of names that a log line lists.
const MAX_NAMES: usize = 3;
/// Number of findings that a run logs, a line each.
const MAX_FINDINGS: usize = 100;

impl Run<'_> {
    /// Warns of every GPU and node that the rules find sick, missing or slow in the newest period.
    pub(super) async fn warn_of_findings(&self) {
        let Some(moment) = self.found_at.filter(|_| self.trigger.backfill.is_none()) else {
            return;
        };
        let source = &self.function.clients.source;
        let findings = match source.findings(moment, self.side_query_end()).await {
            Ok(findings) => findings,
            Err(error) => return tracing::warn!("the log lacks what the rules found: {error:?}"),
        };
        for finding in findings.iter().take(MAX_FINDINGS) {
            tracing::warn!(
                instance_id = finding.instance_id,
                gpu = finding.gpu,
                uuid = finding.uuid,
                reason = finding.reason,
                severity = finding.severity,
                action = finding.action,
                "{finding}"
            );
        }
        let more = findings.len().saturating_sub(MAX_FINDINGS);
        if more > 0 {
            tracing::warn!("{more} more findings; Grafana's dashboard GPU health lists all");
        }
    }

    /// Warns of metrics that the GPUs do not have, once in each process, and names what they have instead.
    pub(super) async fn warn_of_absent(&mut self) {
        let absent = self.absent.take().into_iter().flatten();
        self.report.absent = absent.map(str::to_owned).collect();
        if !self.function.is_news(&self.report.absent) {
            return;
        }
        let source = &self.function.clients.source;
        let unknown = source.unknown_names(self.trigger.now, self.side_query_end());
        let unknown = unknown.await.unwrap_or_default();
        let join = |names: &BTreeSet<String>| {
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            names.join(", ")
        };
        let others = match join(&unknown) {
            none if none.is_empty() => "none".to_owned(),
            others => others,
        };
        tracing::warn!(
            "no series of {}: is the field in the exporter's counters file? Its other fields: {others}",
            join(&self.report.absent),
        );
    }

    /// Counts samples that came after their period was published.
    pub(super) async fn count_late(&mut self) {
        if !self.moves_watermark() {
            return;
        }
        let Some((periods, samples)) = self.function.audit().next(self.trigger.now) else {
            return;
        };
        let count = self
            .function
            .clients
            .source
            .count(&periods, self.side_query_end());
        let count = match count.await {
            Ok(count) => count,
            Err(error) => return tracing::debug!("late samples are not counted: {error:?}"),
        };
        let late = count.saturating_sub(samples);
        if late > 0 {
            self.report.dropped.add(DropReason::Late, late as usize);
            tracing::warn!(
                "{late} samples of {} to {} reached AMP after these periods were published, and are \
                 not in CloudWatch: raise SETTLE_SECONDS to how late they come",
                rfc3339(periods.start),
                rfc3339(periods.end),
            );
        }
    }

    /// Warns of time that no run has looked at and none will.
    pub(super) fn warn_of_a_gap(&self) {
        let cadence = &self.function.config.cadence;
        if let Some((from, to)) = self.progress.gap(cadence.period_seconds) {
            tracing::warn!(
                "{} to {} is further back than MAX_CATCH_UP_SECONDS or the 14 days CloudWatch takes, \
                 and no run has looked at it: what CloudWatch still takes of it can be published by a \
                 backfill",
                rfc3339(from),
                rfc3339(to),
            );
        }
    }
}

pub(super) fn warn_of_aliases(aliases: &BTreeSet<(u32, u32)>, fleet: &Fleet) {
    let Some((kept, other)) = aliases.first() else {
        return;
    };
    let name = |gpu: u32| &fleet.gpu(gpu).instance_id;
    let is_merged = !fleet.has_instance_id(*other);
    tracing::warn!(
        "{} GPUs report under two names at once, such as {} as {} and as {}: {}",
        aliases.len(),
        fleet.uuid(*kept),
        name(*kept),
        name(*other),
        if is_merged {
            "they are published under the first; is a node scraped twice?"
        } else {
            "both are published, though a GPU can be in one instance only"
        },
    );
}

/// The first few names, and how many more there are.
pub(super) fn list(names: &[&str]) -> String {
    let listed = &names[..names.len().min(MAX_NAMES)];
    match names.len() - listed.len() {
        0 => listed.join(", "),
        more => format!("{} and {more} more", listed.join(", ")),
    }
}
