//! The PromQL queries.
//!
//! `FIELD{matchers}[range]` as an instant query returns raw samples with their own times. An instant vector
//! would have the time of the evaluation, and would repeat a dead node's last value for five minutes. A
//! fleet that is too large for one reply is queried by GPU index ([`Shard`]).

use crate::due::arrival::{PATIENCE_SECONDS, STEP_SECONDS};
use crate::due::period::Periods;
use crate::gpu::counter::LOOKBACK_SECONDS;
use crate::gpu::generation::EVIDENCE;
use crate::gpu::metric::{ALWAYS_THERE, Kind, Metric};
use crate::gpu::verdict::FINDINGS;

/// How often AMP's ruler evaluates the rules.
const RULE_SECONDS: i64 = 60;
/// Prometheus answers a range query with 11,000 points of a series at most.
/// <https://github.com/prometheus/prometheus/blob/main/web/api/v1/api.go>
const MAX_POINTS: i64 = 10_000;

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

impl Query {
    /// The raw samples of a metric over `periods`, under any of its names. A counter's begin earlier, so that
    /// its first increase has a base.
    pub(crate) fn samples(
        metric: &Metric,
        shard: Shard,
        matchers: &str,
        periods: &Periods,
    ) -> Self {
        let mut names: Vec<&str> = metric.series.iter().map(|one| one.name.as_str()).collect();
        let mut seconds = periods.end - periods.start;
        if metric.kind != Kind::Gauge {
            names.extend(ALWAYS_THERE);
            seconds += LOOKBACK_SECONDS;
        }
        Self::raw(&names, shard, matchers, seconds, periods)
    }

    /// The series over `periods` that tell the generation of an exporter.
    pub(crate) fn evidence(matchers: &str, periods: &Periods) -> Self {
        let [whole] = Shard::WHOLE;
        let names = EVIDENCE.map(|(name, _)| name);
        Self::raw(
            &names,
            whole,
            matchers,
            periods.end - periods.start,
            periods,
        )
    }

    fn raw(
        names: &[&str],
        Shard(shard): Shard,
        matchers: &str,
        seconds: i64,
        periods: &Periods,
    ) -> Self {
        let query = match names {
            [name] => format!("{name}{{{shard}{matchers}}}[{seconds}s]"),
            names => {
                let names = names.join("|");
                format!("{{__name__=~\"{names}\",{shard}{matchers}}}[{seconds}s]")
            }
        };
        Self {
            call: "query",
            form: vec![("query", query), ("time", last_moment(periods))],
            is_divisible: periods.len() > 1,
        }
    }

    /// What the rules record of a cluster, as known at the end of each minute within `periods`; none where no
    /// minute ends in them. A rule's value counts for three minutes, as the ruler evaluates a minute in the
    /// past. Of a range of over a week not every minute is asked for.
    pub(crate) fn verdicts(metrics: &[Metric], cluster: &str, periods: &Periods) -> Option<Self> {
        let minutes = periods.start.div_euclid(RULE_SECONDS)..periods.end.div_euclid(RULE_SECONDS);
        let count = minutes.end - minutes.start;
        if count == 0 {
            return None;
        }
        let names = metrics.iter().flat_map(|metric| &metric.series);
        let names: Vec<_> = names.map(|one| one.name.as_str()).collect();
        let query = format!("sum by(__name__)({})", last_recorded(&names, cluster));
        let end_of = |minute: i64| format!("{}.999", (minute + 1) * RULE_SECONDS - 1);
        let step = RULE_SECONDS * (1 + count / MAX_POINTS);
        Some(Self {
            call: "query_range",
            form: vec![
                ("query", query),
                ("start", end_of(minutes.start)),
                ("end", end_of(minutes.end - 1)),
                ("step", step.to_string()),
            ],
            is_divisible: periods.len() > 1,
        })
    }

    /// The GPUs and nodes of a cluster that need somebody to act, at a moment.
    pub(crate) fn findings(cluster: &str, moment: i64) -> Self {
        let query = last_recorded(&FINDINGS.map(|(name, _)| name), cluster);
        Self::over(query, moment, 0, 1)
    }

    /// The names of all DCGM series at a moment, each with a count.
    pub(crate) fn names(matchers: &str, moment: i64) -> Self {
        let query = format!("count by(__name__)({{__name__=~\"DCGM_.+\",{matchers}}})");
        Self::over(query, moment, 0, 1)
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

/// The last values of a cluster's recorded series in the last three minutes.
fn last_recorded(names: &[&str], cluster: &str) -> String {
    let names = names.join("|");
    let seconds = 3 * RULE_SECONDS;
    format!("last_over_time({{__name__=~\"{names}\",cluster=\"{cluster}\"}}[{seconds}s])")
}

/// `aggregate` over an expression of every series name. PromQL's functions drop the name and refuse series
/// that differ in nothing else. So each name is aggregated by itself, and then labelled.
fn of_all(metrics: &[Metric], aggregate: &str, expression: impl Fn(&str) -> String) -> String {
    let names = metrics.iter().flat_map(|metric| &metric.series);
    let of_each = names.map(|series| {
        let (name, expression) = (&series.name, expression(&series.name));
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

    fn custom(name: &str) -> Metric {
        metric::custom(name, name, Unit::None)
    }

    fn form(query: &Query) -> Vec<(&str, &str)> {
        let form = query.form.iter();
        form.map(|(name, value)| (*name, value.as_str())).collect()
    }

    #[test]
    fn asks_for_raw_samples_of_the_whole_range() {
        let [whole] = Shard::WHOLE;
        let query = Query::samples(&custom("X"), whole, "", &TWO_MINUTES);
        assert_eq!(
            (query.call, form(&query)),
            (
                "query",
                vec![("query", "X{}[120s]"), ("time", "1700000159.999")]
            )
        );
        let query = Query::samples(&custom("X"), whole, CLUSTER, &TWO_MINUTES);
        assert_eq!(query.text(), "X{cluster=\"a\"}[120s]");
    }

    #[test]
    fn asks_for_all_names_of_a_metric_and_before_a_counter_s_range() {
        let [whole] = Shard::WHOLE;
        let text = |name, matchers| {
            let metric = metric::find(name).unwrap();
            Query::samples(&metric, whole, matchers, &TWO_MINUTES)
                .text()
                .to_owned()
        };
        assert_eq!(
            text("GPUTemperature", CLUSTER),
            "{__name__=~\"DCGM_FI_DEV_GPU_TEMP|DCGM_FI_DEV_GPU_TEMP_CELSIUS\",cluster=\"a\"}[120s]"
        );
        assert_eq!(
            text("GPUPCIeReplays", ""),
            "{__name__=~\"DCGM_FI_DEV_PCIE_REPLAY_COUNTER|DCGM_FI_DEV_PCIE_REPLAY_TOTAL|\
             DCGM_FI_DEV_GPU_TEMP|DCGM_FI_DEV_GPU_TEMP_CELSIUS\",}[420s]"
        );
    }

    #[test]
    fn asks_what_the_rules_record_at_the_end_of_each_minute() {
        let [counts, ..] = &crate::gpu::verdict::counts()[..] else {
            panic!("there are verdicts");
        };
        let times = |start, end, length| {
            let periods = Periods { start, end, length };
            let query = Query::verdicts(std::slice::from_ref(counts), "a", &periods)?;
            let text = "sum by(__name__)(last_over_time(\
                        {__name__=~\"cluster:gpus_unhealthy\",cluster=\"a\"}[180s]))";
            assert_eq!((query.call, query.text()), ("query_range", text));
            Some([1, 2, 3].map(|index: usize| query.form[index].1.clone()))
        };
        let (start, week) = (1_700_000_040, 7 * 86_400);
        let of = |[start, end, step]: [&str; 3]| Some([start, end, step].map(str::to_owned));
        let rows = [
            (
                (start, start + 120, 60),
                of(["1700000099.999", "1700000159.999", "60"]),
            ),
            (
                (start, start + week, 3_600),
                of(["1700000099.999", "1700604839.999", "120"]),
            ),
            // Periods of 5 seconds: a minute ends in the second half.
            ((start, start + 30, 5), None),
            (
                (start + 30, start + 60, 5),
                of(["1700000099.999", "1700000099.999", "60"]),
            ),
        ];
        for ((start, end, length), expected) in rows {
            assert_eq!(times(start, end, length), expected, "{length}");
        }
    }

    #[test]
    fn the_shards_of_a_fleet_are_gpus_by_index_and_the_rest() {
        let queries =
            Shard::BY_GPU.map(|shard| Query::samples(&custom("X"), shard, CLUSTER, &TWO_MINUTES));
        for (index, query) in queries[..8].iter().enumerate() {
            let expected = format!("X{{gpu=\"{index}\",cluster=\"a\"}}[120s]");
            assert_eq!(query.text(), expected);
        }
        let rest = "X{gpu!~\"[0-7]\",cluster=\"a\"}[120s]";
        assert_eq!(queries[8].text(), rest);
    }

    #[test]
    fn what_arrives_is_asked_of_all_fields_at_once() {
        let metrics = ["X", "Y"].map(custom);
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
