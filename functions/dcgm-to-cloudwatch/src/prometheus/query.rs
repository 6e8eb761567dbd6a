//! The PromQL queries.
//!
//! `FIELD{matchers}[range]` as an instant query returns raw samples with their own times. An instant vector
//! would have the time of the evaluation, and would repeat a dead node's last value for five minutes. A
//! fleet that is too large for one reply is queried by GPU index ([`Shard`]).

use crate::due::arrival::{PATIENCE_SECONDS, STEP_SECONDS};
use crate::due::period::Periods;
use crate::gpu::metric::Metric;

/// A part of the fleet: a PromQL label matcher and a comma, or nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shard(&'static str);

impl Shard {
    /// All GPUs.
    pub(crate) const WHOLE: [Self; 1] = [Self("")];
    /// By the index that a GPU has on its node. Every series is in exactly one of these shards, whatever
    /// its labels.
    pub(crate) const BY_GPU: [Self; 9] = [
        Self(r#"gpu="0","#),
        Self(r#"gpu="1","#),
        Self(r#"gpu="2","#),
        Self(r#"gpu="3","#),
        Self(r#"gpu="4","#),
        Self(r#"gpu="5","#),
        Self(r#"gpu="6","#),
        Self(r#"gpu="7","#),
        Self(r#"gpu!~"[0-7]","#),
    ];
}

/// A PromQL query with its evaluation times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Query {
    /// `query` or `query_range`, the end of the API's path.
    pub(super) call: &'static str,
    /// The call's parameters; the first is the PromQL text.
    pub(super) form: Vec<(&'static str, String)>,
    /// Whether shorter ranges can ask for the same.
    pub(super) is_divisible: bool,
}

/// Prometheus's default lookback for a series' newest sample.
const LOOKBACK_SECONDS: i64 = 300;

impl Query {
    /// The raw samples of one field over `periods`.
    pub(crate) fn samples(
        field: &str,
        Shard(shard): Shard,
        matchers: &str,
        periods: &Periods,
    ) -> Self {
        let seconds = periods.end - periods.start;
        let query = format!("{field}{{{shard}{matchers}}}[{seconds}s]");
        Self {
            call: "query",
            form: vec![("query", query), ("time", last_moment(periods))],
            is_divisible: periods.len() > 1,
        }
    }

    /// Time of the newest sample of any metric, for each five minutes from `from` to `until`.
    pub(crate) fn newest(metrics: &[Metric], matchers: &str, from: i64, until: i64) -> Self {
        let query = of_all(metrics, "max", |name| {
            format!("timestamp({name}{{{matchers}}})")
        });
        let steps = (until - from + LOOKBACK_SECONDS - 1) / LOOKBACK_SECONDS;
        Self::over(query, until, steps.max(1) - 1, LOOKBACK_SECONDS)
    }

    /// Time of the newest sample of each source's slowest series, evaluated at several moments up to
    /// `until`. Series with the same values of all `labels` are one source.
    pub(crate) fn arrivals(
        metrics: &[Metric],
        matchers: &str,
        labels: &[String],
        until: i64,
    ) -> Self {
        let slowest = format!("min by({})", labels.join(","));
        let query = of_all(metrics, &slowest, |name| {
            format!("timestamp({name}{{{matchers}}})")
        });
        Self::over(query, until, PATIENCE_SECONDS / STEP_SECONDS, STEP_SECONDS)
    }

    /// Number of samples of all metrics over `periods`.
    pub(crate) fn count(metrics: &[Metric], matchers: &str, periods: &Periods) -> Self {
        let seconds = periods.end - periods.start;
        let query = of_all(metrics, "sum", |name| {
            format!("count_over_time({name}{{{matchers}}}[{seconds}s])")
        });
        let moment = last_moment(periods);
        let step = "1".to_owned();
        Self {
            call: "query_range",
            form: vec![
                ("query", query),
                ("start", moment.clone()),
                ("end", moment),
                ("step", step),
            ],
            is_divisible: false,
        }
    }

    /// A query evaluated at `until`, and at `steps` moments before it that are `step` seconds apart.
    fn over(query: String, until: i64, steps: i64, step: i64) -> Self {
        Self {
            call: "query_range",
            form: vec![
                ("query", query),
                ("start", (until - steps * step).to_string()),
                ("end", until.to_string()),
                ("step", step.to_string()),
            ],
            is_divisible: false,
        }
    }

    /// The PromQL text.
    pub(super) fn text(&self) -> &str {
        self.form.first().map_or("", |(_, query)| query)
    }
}

/// `aggregate` over an expression of every metric. PromQL's functions drop the metric's name and refuse
/// series that differ in nothing else. So each metric is aggregated by itself, and then labelled.
fn of_all(metrics: &[Metric], aggregate: &str, expression: impl Fn(&str) -> String) -> String {
    let of_each = metrics.iter().map(|metric| {
        let (name, expression) = (&metric.field, expression(&metric.field));
        format!(r#"label_replace({aggregate}({expression}),"field","{name}","","")"#)
    });
    format!("{aggregate}({})", of_each.collect::<Vec<_>>().join(" or "))
}

/// The evaluation time for a range of `[start, end)`: a millisecond, Prometheus's resolution, before the
/// end. Prometheus 3 excludes the left edge and earlier versions include it; whoever reads the samples
/// drops those before the start.
fn last_moment(periods: &Periods) -> String {
    format!("{}.999", periods.end - 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::metric;
    use crate::gpu::unit::Unit;

    const TWO_MINUTES: Periods = Periods {
        start: 1_700_000_040,
        end: 1_700_000_160,
        length: 60,
    };
    const CLUSTER: &str = "cluster=\"a\"";

    fn form(query: &Query) -> Vec<(&str, &str)> {
        let form = query.form.iter();
        form.map(|(name, value)| (*name, value.as_str())).collect()
    }

    #[test]
    fn asks_for_raw_samples_of_the_whole_range() {
        let [whole] = Shard::WHOLE;
        let query = Query::samples("DCGM_FI_DEV_GPU_UTIL", whole, "", &TWO_MINUTES);
        assert_eq!(
            (query.call, form(&query)),
            (
                "query",
                vec![
                    ("query", "DCGM_FI_DEV_GPU_UTIL{}[120s]"),
                    ("time", "1700000159.999"),
                ]
            )
        );
        let query = Query::samples("X", whole, CLUSTER, &TWO_MINUTES);
        assert_eq!(query.text(), "X{cluster=\"a\"}[120s]");
    }

    #[test]
    fn the_shards_of_a_fleet_are_gpus_by_index_and_the_rest() {
        let queries = Shard::BY_GPU.map(|shard| Query::samples("X", shard, CLUSTER, &TWO_MINUTES));
        for (index, query) in queries[..8].iter().enumerate() {
            let expected = format!("X{{gpu=\"{index}\",cluster=\"a\"}}[120s]");
            assert_eq!(query.text(), expected);
        }
        let rest = "X{gpu!~\"[0-7]\",cluster=\"a\"}[120s]";
        assert_eq!(queries[8].text(), rest);
    }

    #[test]
    fn what_arrives_is_asked_of_all_fields_at_once() {
        let metrics = ["X", "Y"].map(|name| metric::custom(name, name, Unit::None));
        let labels = ["instance_id", "instance"].map(str::to_owned);
        let of_both = |aggregate: &str, before: &str, after: &str| {
            let of_each = ["X", "Y"].map(|name| {
                let series = format!("{before}{name}{{cluster=\"a\"}}{after}");
                format!(r#"label_replace({aggregate}({series}),"field","{name}","","")"#)
            });
            format!("{aggregate}({})", of_each.join(" or "))
        };
        let until = 1_700_000_400;
        let rows = [
            (
                Query::newest(&metrics, CLUSTER, until - 601, until),
                of_both("max", "timestamp(", ")"),
                ["1699999800", "1700000400", "300"],
            ),
            (
                Query::arrivals(&metrics, CLUSTER, &labels, until),
                of_both("min by(instance_id,instance)", "timestamp(", ")"),
                ["1699999800", "1700000400", "150"],
            ),
            (
                Query::count(&metrics, CLUSTER, &TWO_MINUTES),
                of_both("sum", "count_over_time(", "[120s])"),
                ["1700000159.999", "1700000159.999", "1"],
            ),
        ];
        for (query, text, [start, end, step]) in rows {
            let expected = [
                ("query", text.as_str()),
                ("start", start),
                ("end", end),
                ("step", step),
            ];
            assert_eq!(
                (query.call, form(&query)),
                ("query_range", expected.to_vec())
            );
        }
        let within_one_step = Query::newest(&metrics, "", until - 10, until);
        assert_eq!(within_one_step.form[1], ("start", until.to_string()));
    }
}
