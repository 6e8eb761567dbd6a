//! Datums to data points: periods, statistics, percentiles.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::store::Datum;

const HOUR_MS: i64 = 3600 * 1000;
const DAY_MS: i64 = 24 * HOUR_MS;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Statistic {
    SampleCount,
    Average,
    Sum,
    Minimum,
    Maximum,
    Percentile(f64),
}

impl FromStr for Statistic {
    type Err = String;

    /// "Specify values between p0.0 and p100." The other extended statistics (tm, wm, pr, ...) are
    /// not here.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "SampleCount" => Ok(Self::SampleCount),
            "Average" => Ok(Self::Average),
            "Sum" => Ok(Self::Sum),
            "Minimum" => Ok(Self::Minimum),
            "Maximum" => Ok(Self::Maximum),
            _ => text
                .strip_prefix('p')
                .filter(|p| p.starts_with(|c: char| c.is_ascii_digit()))
                .and_then(|p| p.parse().ok())
                .filter(|p| (0.0..=100.0).contains(p))
                .map(Self::Percentile)
                .ok_or_else(|| format!("The value {text} for parameter Statistic is invalid.")),
        }
    }
}

/// What a set of datums adds up to. Datums of one metric and time add to each other, as in
/// CloudWatch.
#[derive(Debug, Default)]
pub(super) struct Aggregate {
    sample_count: f64,
    sum: f64,
    minimum: Option<f64>,
    maximum: Option<f64>,
    values: Vec<(f64, f64)>,
    /// Some samples are known by their totals only.
    incomplete: bool,
}

impl Aggregate {
    fn add(&mut self, datum: &Datum) {
        for &(value, count) in &datum.values {
            self.add_samples(count, value * count, value, value);
            self.values.push((value, count));
        }
        if let Some(set) = datum.statistics {
            self.add_samples(set.sample_count, set.sum, set.minimum, set.maximum);
            self.values.push((set.minimum, set.sample_count));
            // "you can only retrieve percentile statistics for this data if [...] The Min and the
            // Max values of the statistic set are equal."
            self.incomplete |= set.minimum != set.maximum;
        }
    }

    fn add_samples(&mut self, count: f64, sum: f64, minimum: f64, maximum: f64) {
        self.sample_count += count;
        self.sum += sum;
        self.minimum = Some(self.minimum.map_or(minimum, |m| m.min(minimum)));
        self.maximum = Some(self.maximum.map_or(maximum, |m| m.max(maximum)));
    }

    pub(super) fn value(&self, statistic: Statistic) -> Option<f64> {
        match statistic {
            Statistic::SampleCount => Some(self.sample_count),
            Statistic::Average => Some(self.sum / self.sample_count),
            Statistic::Sum => Some(self.sum),
            Statistic::Minimum => self.minimum,
            Statistic::Maximum => self.maximum,
            Statistic::Percentile(percent) => self.percentile(percent),
        }
    }

    /// The nearest rank: the smallest value that at least this percentage of the samples do not
    /// exceed, each value weighing its count. CloudWatch does not publish its own algorithm; expect
    /// it to differ by an interpolation between neighbours.
    ///
    /// "Percentile statistics are not available for metrics when any of the metric values are
    /// negative numbers."
    fn percentile(&self, percent: f64) -> Option<f64> {
        if self.incomplete || self.minimum? < 0.0 {
            return None;
        }
        let mut values = self.values.clone();
        values.sort_by(|a, b| a.0.total_cmp(&b.0));
        let rank = percent * self.sample_count / 100.0;
        let mut up_to = 0.0;
        let reached = values.iter().find(|(_, count)| {
            up_to += count;
            up_to >= rank
        });
        // The counts, added up in another order, may end a rounding error short of the rank.
        reached.map(|&(value, _)| value).or(self.maximum)
    }
}

/// A range of time cut into periods.
///
/// The periods start at the start time, rounded down as documented, so that
/// `--start-time 23:18 --period 3600` answers with 23:18, 00:18, ... as the user guide shows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    pub(super) start_ms: i64,
    pub(super) end_ms: i64,
    pub(super) period_ms: i64,
    retained: bool,
}

impl Window {
    /// Start, end and period in the rules of
    /// <https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_GetMetricStatistics.html>.
    pub(super) fn new(
        start_ms: i64,
        end_ms: i64,
        period: i64,
        now_ms: i64,
    ) -> Result<Self, String> {
        if start_ms == end_ms {
            return Err("The parameter StartTime must not equal parameter EndTime.".into());
        }
        if start_ms > end_ms {
            return Err("The parameter StartTime must be less than the parameter EndTime.".into());
        }
        let is_short = [1, 5, 10, 20, 30].contains(&period);
        if !is_short && (period < 60 || period % 60 != 0) {
            return Err(format!(
                "The parameter Period must be 1, 5, 10, 20, 30 or a multiple of 60, not {period}."
            ));
        }
        let finest = finest_period(now_ms - start_ms);
        let rounding_ms = 1000 * if is_short { period } else { finest.max(60) };
        Ok(Self {
            start_ms: start_ms.div_euclid(rounding_ms) * rounding_ms,
            end_ms,
            period_ms: period * 1000,
            retained: period % finest == 0,
        })
    }

    /// How many data points can lie in it.
    pub(super) fn periods(&self) -> i64 {
        (self.end_ms - self.start_ms) / self.period_ms
    }

    /// The datums by the start of their period and by their unit.
    pub(super) fn aggregate<'a>(
        &self,
        datums: impl Iterator<Item = &'a Datum>,
    ) -> BTreeMap<(i64, &'a str), Aggregate> {
        let mut periods = BTreeMap::<_, Aggregate>::new();
        for datum in datums.filter(|datum| self.holds(datum)) {
            let since_ms = datum.stored_ms() - self.start_ms;
            let period_ms = self.start_ms + since_ms / self.period_ms * self.period_ms;
            let period = periods.entry((period_ms, datum.unit.as_str()));
            period.or_default().add(datum);
        }
        periods
    }

    /// Start inclusive, end exclusive. Periods under a minute see high-resolution datums only.
    fn holds(&self, datum: &Datum) -> bool {
        self.retained
            && (self.start_ms..self.end_ms).contains(&datum.stored_ms())
            && (self.period_ms >= 60_000 || datum.storage_resolution == 1)
    }
}

/// The seconds that a period must be a multiple of to see data of this age: "If the StartTime
/// parameter specifies a time stamp that is greater than 3 hours ago, you must specify the period as
/// follows or no data points in that time range is returned".
fn finest_period(age_ms: i64) -> i64 {
    match age_ms {
        _ if age_ms <= 3 * HOUR_MS => 1,
        _ if age_ms <= 15 * DAY_MS => 60,
        _ if age_ms <= 63 * DAY_MS => 300,
        _ => 3600,
    }
}

#[cfg(test)]
mod tests {
    use super::super::api::StatisticSet;
    use super::*;

    const NOW_MS: i64 = 1_800_000_000_000;

    fn datum(timestamp_ms: i64, values: &[(f64, f64)]) -> Datum {
        Datum {
            namespace: "N".into(),
            name: "M".into(),
            dimensions: BTreeMap::new(),
            timestamp_ms,
            values: values.to_vec(),
            statistics: None,
            unit: "None".into(),
            storage_resolution: 60,
        }
    }

    fn aggregate(datums: &[Datum]) -> Aggregate {
        let mut aggregate = Aggregate::default();
        datums.iter().for_each(|datum| aggregate.add(datum));
        aggregate
    }

    #[test]
    fn percentiles_are_the_nearest_rank_of_the_weighted_values() {
        let ten: Vec<_> = (1..=10).map(|n| (f64::from(n), 1.0)).collect();
        let heavy = [(1.0, 90.0), (2.0, 9.0), (3.0, 1.0)];
        for (values, percent, expected) in [
            (&ten[..], 0.0, 1.0),
            (&ten[..], 10.0, 1.0),
            (&ten[..], 10.1, 2.0),
            (&ten[..], 50.0, 5.0),
            (&ten[..], 90.0, 9.0),
            (&ten[..], 91.0, 10.0),
            (&ten[..], 100.0, 10.0),
            (&heavy[..], 90.0, 1.0),
            (&heavy[..], 90.5, 2.0),
            (&heavy[..], 99.0, 2.0),
            (&heavy[..], 99.9, 3.0),
        ] {
            let found = aggregate(&[datum(NOW_MS, values)]).percentile(percent);
            assert_eq!(found, Some(expected), "p{percent} of {values:?}");
        }
    }

    #[test]
    fn a_negative_value_or_a_spread_statistic_set_has_no_percentile() {
        let negative = aggregate(&[datum(NOW_MS, &[(-1.0, 1.0), (5.0, 9.0)])]);
        assert_eq!(negative.percentile(90.0), None);
        assert_eq!(negative.value(Statistic::Average), Some(4.4));

        let mut spread = datum(NOW_MS, &[]);
        spread.statistics = Some(StatisticSet {
            sample_count: 4.0,
            sum: 10.0,
            minimum: 1.0,
            maximum: 4.0,
        });
        let spread = aggregate(&[spread]);
        assert_eq!(spread.percentile(50.0), None);
        assert_eq!(spread.value(Statistic::Average), Some(2.5));
        assert_eq!(spread.value(Statistic::Maximum), Some(4.0));
    }

    #[test]
    fn datums_of_one_time_add_up() {
        let twice = aggregate(&[datum(NOW_MS, &[(2.0, 3.0)]), datum(NOW_MS, &[(8.0, 1.0)])]);
        assert_eq!(twice.value(Statistic::SampleCount), Some(4.0));
        assert_eq!(twice.value(Statistic::Sum), Some(14.0));
        assert_eq!(twice.value(Statistic::Minimum), Some(2.0));
        assert_eq!(twice.value(Statistic::Maximum), Some(8.0));
    }

    #[test]
    fn periods_start_at_the_start_time_rounded_down_to_the_minute() {
        let window = Window::new(NOW_MS - 3_580_000, NOW_MS, 120, NOW_MS).unwrap();
        assert_eq!(window.start_ms, NOW_MS - 3_600_000);
        let datums = [
            datum(NOW_MS - 3_600_000, &[(1.0, 1.0)]),
            datum(NOW_MS - 3_481_000, &[(1.0, 1.0)]),
            datum(NOW_MS - 3_480_000, &[(1.0, 1.0)]),
            datum(NOW_MS, &[(1.0, 1.0)]),
        ];
        let counts: Vec<_> = window
            .aggregate(datums.iter())
            .into_iter()
            .map(|((start_ms, _), aggregate)| (start_ms - NOW_MS, aggregate.sample_count))
            .collect();
        assert_eq!(counts, [(-3_600_000, 2.0), (-3_480_000, 1.0)]);
    }

    #[test]
    fn a_period_finer_than_what_is_kept_sees_nothing() {
        let mut fine = datum(NOW_MS - 4 * HOUR_MS, &[(1.0, 1.0)]);
        fine.storage_resolution = 1;
        for (age_ms, period, expected) in [
            (4 * HOUR_MS, 30, 0),
            (4 * HOUR_MS, 60, 1),
            (16 * DAY_MS, 60, 0),
            (16 * DAY_MS, 300, 1),
            (64 * DAY_MS, 300, 0),
            (64 * DAY_MS, 3600, 1),
        ] {
            let window = Window::new(NOW_MS - age_ms, NOW_MS, period, NOW_MS).unwrap();
            let found = window.aggregate([&fine].into_iter()).len();
            assert_eq!(found, expected, "period {period} from {age_ms} ms ago");
        }
    }
}
