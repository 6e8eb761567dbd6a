//! One period, published: its detail first, then its roll-ups.

use crate::cloudwatch::cost::affordable;
use crate::cloudwatch::datum::datums;
use crate::cloudwatch::publish::{Published, publish};
use crate::cloudwatch::request::requests;
use crate::config::Config;
use crate::due::period::rfc3339;
use crate::error::RunError;
use crate::gpu::rollup::{DimensionSet, PeriodReadings};
use crate::otlp;
use crate::otlp::labels::Labels;
use crate::otlp::point::points;
use crate::otlp::publish::Sent;
use crate::run::Run;

impl<'a> Run<'a> {
    pub(super) async fn publish(&mut self, readings: &PeriodReadings<'_>) -> Result<(), RunError> {
        let period = readings.period;
        self.deadline.doing(format!(
            "publishing the period from {}",
            rfc3339(period.start)
        ));
        if self.report.periods.is_empty() && self.moves_watermark() {
            self.warn_of_a_gap();
        }
        self.found_at = readings.has_findings().then_some(period.end);
        let sets = self.affordable_sets(readings);
        // Sent twice, points are there once; roll-ups count twice. So what fails here is sent again whole, and
        // the roll-ups follow only once it is there.
        let detail = self.send_detail(readings).await?;
        self.report.add_detail(period, detail);
        let published = self.send(readings, sets).await?;
        let is_published = self
            .report
            .add(readings, &published, self.trigger.now - period.end);
        if self.moves_watermark() {
            self.progress
                .looked_at(period, readings.raw_samples, is_published);
        }
        Ok(())
    }

    /// The dimension sets that keep the period under the cap on metrics.
    fn affordable_sets(&mut self, readings: &PeriodReadings<'_>) -> &'a [DimensionSet] {
        let config = &self.function.config;
        let all = &config.dimension_sets;
        let limit = config.max_metrics;
        let fixed = readings.count_fixed_metrics();
        let (sets, metrics) = affordable(all, fixed, |set| readings.count_metrics(set), limit);
        let left_out = &all[..all.len() - sets.len()];
        if !left_out.is_empty() && self.report.degrade(left_out) {
            tracing::warn!("{left_out:?} left out: with them a period is over MAX_METRICS={limit}");
        }
        if readings.samples() > 0 {
            self.report.count_metrics(metrics);
        }
        sets
    }

    /// Sends the readings of each GPU by OTLP, where that is asked for.
    async fn send_detail(&self, readings: &PeriodReadings<'_>) -> Result<Sent, RunError> {
        let Config { otlp, cluster, .. } = &self.function.config;
        let (Some(otlp), Some(client)) = (otlp, &self.function.clients.detail) else {
            return Ok(Sent::default());
        };
        let labels = Labels::of_fleet(cluster, readings.fleet);
        let points = || points(&labels, readings, otlp.interval_ms);
        if self.trigger.dry_run {
            return Ok(otlp::publish::plan(points()));
        }
        otlp::publish::publish(client, points).await
    }

    async fn send(
        &mut self,
        readings: &PeriodReadings<'_>,
        sets: &[DimensionSet],
    ) -> Result<Published, RunError> {
        let datums = datums(readings, sets);
        if !self.trigger.dry_run {
            let namespace = &self.function.config.namespace;
            return publish(
                &self.function.clients.cloudwatch,
                namespace,
                requests(datums),
            )
            .await;
        }
        let mut planned = Published::default();
        let report = &mut self.report;
        for request in requests(datums.inspect(|datum| report.show(datum))) {
            planned.requests += 1;
            planned.datums += request.len() as u64;
        }
        Ok(planned)
    }
}
