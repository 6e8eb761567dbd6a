//! Distributions as PutMetricData's datums.

use serde_json::{Value, json};

use super::limits::{MAX_VALUES, STANDARD_RESOLUTION_SECONDS, VALUES};
use crate::due::period::{Period, rfc3339};
use crate::gpu::metric::GPUS_REPORTING;
use crate::gpu::rollup::{DimensionSet, Distribution, PeriodReadings, Subject};
use crate::gpu::unit::Unit;

/// A datum whose names are borrowed, so that a request is cheap to keep until it is accepted.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Datum<'r> {
    /// `MetricName`.
    pub(crate) metric: &'r str,
    /// `Unit`.
    pub(crate) unit: Unit,
    /// Its start is the `Timestamp`.
    pub(crate) period: Period,
    /// Its [`dimensions`] are the `Dimensions`.
    pub(crate) subject: Subject<'r>,
    /// `Values` and `Counts`.
    pub(crate) values: Vec<(f64, u32)>,
}

/// All datums of a period, built one at a time: a period of 10,000 nodes has half a million.
pub(crate) fn datums<'r>(
    readings: &PeriodReadings<'r>,
    sets: &[DimensionSet],
) -> impl Iterator<Item = Datum<'r>> + Send + use<'r> {
    let period = readings.period;
    let gpus = readings.gpus();
    let reporting = (gpus > 0).then(|| Datum {
        metric: GPUS_REPORTING,
        unit: Unit::Count,
        period,
        subject: Subject::Cluster,
        values: vec![(gpus as f64, 1)],
    });
    let measured = readings.distributions(sets).flat_map(move |distribution| {
        let Distribution {
            metric,
            subject,
            mut values,
        } = distribution;
        std::iter::from_fn(move || {
            let values = match values.len().saturating_sub(MAX_VALUES) {
                0 => std::mem::take(&mut values),
                over => values.split_off(over),
            };
            (!values.is_empty()).then_some(Datum {
                metric: &metric.name,
                unit: metric.unit,
                period,
                subject,
                values,
            })
        })
    });
    reporting.into_iter().chain(measured)
}

impl Datum<'_> {
    /// 1 if CloudWatch shall store the datum by the second.
    pub(crate) fn storage_resolution(&self) -> Option<i32> {
        let seconds = self.period.end - self.period.start;
        (seconds < STANDARD_RESOLUTION_SECONDS).then_some(1)
    }

    /// `Values`, `Counts`.
    pub(crate) fn values_and_counts(&self) -> (Vec<f64>, Vec<f64>) {
        debug_assert!(self.values.iter().all(|(value, _)| VALUES.contains(value)));
        self.values
            .iter()
            .map(|(value, count)| (*value, f64::from(*count)))
            .unzip()
    }

    /// The datum in PutMetricData's JSON form.
    pub(crate) fn to_json(&self) -> Value {
        let dimensions: Vec<Value> = dimensions(self.subject)
            .map(|(name, value)| json!({"Name": name, "Value": value}))
            .collect();
        let (values, counts) = self.values_and_counts();
        let mut json = json!({
            "MetricName": self.metric,
            "Dimensions": dimensions,
            "Timestamp": rfc3339(self.period.start),
            "Unit": self.unit.name(),
            "Values": values,
            "Counts": counts,
        });
        if let Some(resolution) = self.storage_resolution() {
            json["StorageResolution"] = resolution.into();
        }
        json
    }

    /// Number of samples in it.
    pub(super) fn samples(&self) -> usize {
        self.values.iter().map(|(_, count)| *count as usize).sum()
    }

    /// Upper bound of its bytes in CBOR: 9 for a number, its length and 3 for a text.
    pub(super) fn size(&self) -> usize {
        const FIELDS: usize = 128;
        let dimensions: usize = dimensions(self.subject)
            .map(|(name, value)| 24 + name.len() + value.len())
            .sum();
        FIELDS + self.metric.len() + dimensions + 2 * 9 * self.values.len()
    }
}

/// Name and value of each dimension.
pub(super) fn dimensions(subject: Subject<'_>) -> impl Iterator<Item = (&'static str, &str)> {
    let (instance, gpu, gpu_instance) = match subject {
        Subject::Cluster => ("", "", ""),
        Subject::Instance(id) => (id, "", ""),
        Subject::Gpu(gpu) => (&*gpu.instance_id, &*gpu.gpu, &*gpu.gpu_instance),
    };
    [
        ("InstanceId", instance),
        ("GPU", gpu),
        ("GPUInstance", gpu_instance),
    ]
    .into_iter()
    .filter(|(_, value)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use aws_sdk_cloudwatch::types::StandardUnit;

    use super::*;

    #[test]
    fn short_periods_are_high_resolution() {
        let resolution = |seconds| {
            let datum = Datum {
                metric: "GPUUtilization",
                unit: Unit::Percent,
                period: Period {
                    start: 0,
                    end: seconds,
                },
                subject: Subject::Cluster,
                values: vec![(1.0, 1)],
            };
            datum.storage_resolution()
        };
        assert_eq!([1, 5, 30].map(resolution), [Some(1); 3]);
        assert_eq!([60, 300].map(resolution), [None; 2]);
    }

    #[test]
    fn our_units_are_cloudwatch_s() {
        let mut ours = Unit::names().to_vec();
        let mut theirs = StandardUnit::values().to_vec();
        ours.sort_unstable();
        theirs.sort_unstable();
        assert_eq!(ours, theirs);
    }
}
