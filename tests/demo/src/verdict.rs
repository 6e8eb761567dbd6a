//! What agrees and what does not, line by line.

use std::{collections::BTreeSet, io};

use serde_json::Value;
use testkit::account::Account;
use testkit::doubles::amp_gateway::AmpGateway;
use testkit::oracle::{COUNTED_BY_RULES, GPUS_REPORTING, Metric, Oracle, Statistic};

use crate::{
    clock::{PERIOD, Span},
    live::Logged,
    proof::{self, PERIODS, ReadBack, described},
    reply::Reply,
    screen::{Screen, grouped},
};

/// How many differences are shown.
const SHOWN: usize = 10;

/// Every number, in both lengths of period.
pub(crate) fn numbers(oracle: &Oracle, found: &ReadBack, screen: &Screen) -> io::Result<bool> {
    let mut all_agree = true;
    for period in PERIODS {
        let comparison = proof::compare(oracle, found, period);
        let (numbers, differences) = (comparison.numbers, &comparison.differences);
        let agrees = numbers > 0 && differences.is_empty();
        all_agree &= agrees;
        let differ = grouped(differences.len());
        let text = format!("{} numbers, {differ} differ", grouped(numbers));
        screen.verdict(agrees, &format!("--period {period}"), text)?;
        for difference in differences.iter().take(SHOWN) {
            screen.note(format!("  {difference}"))?;
        }
    }
    Ok(all_agree)
}

/// No metric is missing, and none is there that nobody wants.
pub(crate) async fn list(
    account: &Account,
    namespace: &str,
    oracle: &Oracle,
    screen: &Screen,
) -> anyhow::Result<bool> {
    let words = ["list-metrics", "--namespace", namespace];
    let answer = account.aws_metrics(&words).await?;
    let metrics = answer["Metrics"].as_array();
    let listed: BTreeSet<_> = metrics.into_iter().flatten().map(listed).collect();
    let expected: BTreeSet<_> = oracle.metrics().into_iter().collect();
    // The first run may be too early for the rules.
    let counted = COUNTED_BY_RULES.map(Metric::of_cluster).into();
    let may_be_there = expected.union(&counted).cloned().collect();
    let missing: Vec<_> = expected.difference(&listed).map(described).collect();
    let unknown: Vec<_> = listed.difference(&may_be_there).map(described).collect();
    let agrees = missing.is_empty() && unknown.is_empty();
    let (all, without, beyond) = (listed.len(), missing.len(), unknown.len());
    let text = format!("{all} metrics, {without} missing, {beyond} unknown");
    screen.verdict(agrees, "list-metrics", text)?;
    for (metrics, what) in [(missing, "missing"), (unknown, "unknown")] {
        for metric in metrics.iter().take(SHOWN) {
            screen.note(format!("  {what}: {metric}"))?;
        }
    }
    Ok(agrees)
}

fn listed(metric: &Value) -> Metric {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let dimensions = metric["Dimensions"].as_array().into_iter().flatten();
    let dimensions =
        dimensions.map(|dimension| (text(&dimension["Name"]), text(&dimension["Value"])));
    Metric {
        name: text(&metric["MetricName"]),
        dimensions: dimensions.collect(),
    }
}

/// Every period of `live` tells of all GPUs.
pub(crate) fn reporting(
    gpus: usize,
    found: &ReadBack,
    live: Span,
    screen: &Screen,
) -> io::Result<bool> {
    let metric = Metric::of_cluster(GPUS_REPORTING);
    let points = found.points(&metric, Statistic::Average, PERIOD);
    let agrees = live
        .periods()
        .all(|start| points.get(&start) == Some(&(gpus as f64)));
    let not = if agrees { "" } else { "not " };
    let text = format!("{not}{gpus} in every period of the live minute");
    screen.verdict(agrees, GPUS_REPORTING, text)?;
    Ok(agrees)
}

/// What is no number was dropped, counted, and nothing else was.
pub(crate) fn dropped(
    served: u64,
    by_hand: &Reply,
    scheduled: &Logged,
    screen: &Screen,
) -> io::Result<bool> {
    let dropped = scheduled.dropped().unwrap_or_default();
    let agrees = served > 0 && served == dropped && by_hand.dropped.is_empty();
    let text =
        format!("{served} NaN served, {dropped} samples dropped, all of them by the schedule");
    screen.verdict(agrees, "dropped", text)?;
    Ok(agrees)
}

/// AMP refused no request.
pub(crate) fn signatures(amp: &AmpGateway, screen: &Screen) -> io::Result<bool> {
    let requests = amp.requests();
    let refused = requests.iter().filter(|one| one.refusal.is_some()).count();
    let agrees = !requests.is_empty() && refused == 0;
    let text = format!("{} requests to AMP, {refused} refused", requests.len());
    screen.verdict(agrees, "SigV4", text)?;
    Ok(agrees)
}

/// Both runs did all that was due.
pub(crate) fn complete(by_hand: &Reply, scheduled: &Logged, screen: &Screen) -> io::Result<bool> {
    let agrees = by_hand.complete && scheduled.is_complete();
    screen.verdict(
        agrees,
        "complete",
        "both runs published every period that was due",
    )?;
    Ok(agrees)
}
