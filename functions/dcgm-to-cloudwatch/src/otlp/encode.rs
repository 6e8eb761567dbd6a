//! Points as OTLP's `ExportMetricsServiceRequest` in protobuf.
//!
//! Written by hand, which needs no crate and no tree of owned texts: prost's code took eight times as long. The tests
//! read it back with OpenTelemetry's own schema.
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use super::point::Points;
use super::protobuf::{field_len, fixed64, message, text};
use super::series::Series;

/// Name of the instrumentation scope.
const SCOPE: &str = "dcgm-to-cloudwatch";

/// Upper bounds of the bytes around all metrics, and of those of a metric besides its name and points.
pub(crate) const REQUEST_BYTES: usize = 64;
pub(crate) const METRIC_BYTES: usize = 32;

/// Bytes of a point's time and value.
const SAMPLE_BYTES: usize = 18;

/// The body of one request. Points of one metric should follow each other.
///
/// The length of a message stands before it, so all lengths are summed up first.
pub(crate) fn encode(points: &[Points<'_>]) -> Vec<u8> {
    let metrics = points.chunk_by(|a, b| a.series.is_same(&b.series));
    let metrics: Vec<_> = metrics.map(Metric::of).collect();
    let scope = field_len(SCOPE.len());
    let lengths = metrics.iter().map(|metric| field_len(metric.len()));
    let scope_metrics = field_len(scope) + lengths.sum::<usize>();
    let resource_metrics = field_len(scope_metrics);

    let mut body = Vec::with_capacity(field_len(resource_metrics));
    message(&mut body, 1, resource_metrics);
    message(&mut body, 2, scope_metrics);
    message(&mut body, 1, scope);
    text(&mut body, 1, SCOPE);
    for metric in &metrics {
        message(&mut body, 2, metric.len());
        metric.encode(&mut body);
    }
    body
}

/// Points of one metric.
struct Metric<'p, 'r> {
    points: &'p [Points<'r>],
    /// Bytes of all points.
    gauge_len: usize,
}

impl<'p, 'r> Metric<'p, 'r> {
    fn of(points: &'p [Points<'r>]) -> Self {
        let lengths = points
            .iter()
            .map(|points| points.count() * point_len(points));
        Self {
            points,
            gauge_len: lengths.sum(),
        }
    }

    fn len(&self) -> usize {
        let Series { name, unit, .. } = self.points[0].series;
        let unit = if unit.is_empty() {
            0
        } else {
            field_len(unit.len())
        };
        field_len(name.len()) + unit + field_len(self.gauge_len)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let Series { name, unit, .. } = self.points[0].series;
        text(out, 1, name);
        // A default value is left out: https://protobuf.dev/programming-guides/proto3/#default
        if !unit.is_empty() {
            text(out, 3, unit);
        }
        message(out, 5, self.gauge_len);
        for points in self.points {
            let labels = &points.labels.encoded;
            for (at, value) in points.iter() {
                message(out, 1, SAMPLE_BYTES + labels.len());
                // Before time and value they compress faster and better. Any order is allowed:
                // https://protobuf.dev/programming-guides/encoding/#order
                out.extend_from_slice(labels);
                fixed64(out, 3, (at as u64 * 1_000_000).to_le_bytes());
                fixed64(out, 4, value.to_le_bytes());
            }
        }
    }
}

/// The bytes of each of these points.
pub(crate) fn point_len(points: &Points<'_>) -> usize {
    field_len(SAMPLE_BYTES + points.labels.encoded.len())
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    use opentelemetry_proto::tonic::metrics::v1::metric::Data;
    use opentelemetry_proto::tonic::metrics::v1::number_data_point;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::gpu::identity::Gpu;
    use crate::gpu::reading::Reading;
    use crate::otlp::labels::tests::gpu;
    use crate::otlp::labels::{Labels, labels};
    use crate::otlp::point::tests::{points, points_since, reading};

    /// Name, unit, labels, nanoseconds, value.
    type Decoded = (String, String, Vec<(String, String)>, u64, f64);

    /// Reads a request with OpenTelemetry's schema.
    fn decode(body: &[u8]) -> Vec<Decoded> {
        let request = ExportMetricsServiceRequest::decode(body).unwrap();
        assert_eq!(
            request.encoded_len(),
            body.len(),
            "nothing but known fields"
        );
        let [resource] = request.resource_metrics.try_into().unwrap();
        assert_eq!(resource.resource, None);
        let [scope] = resource.scope_metrics.try_into().unwrap();
        assert_eq!(scope.scope.unwrap().name, SCOPE);
        let mut points = Vec::new();
        for metric in scope.metrics {
            let Some(Data::Gauge(gauge)) = metric.data else {
                panic!("{} is no gauge", metric.name);
            };
            for point in gauge.data_points {
                let Some(number_data_point::Value::AsDouble(value)) = point.value else {
                    panic!("no double");
                };
                let labels = point.attributes.into_iter().map(|label| {
                    let Some(Value::StringValue(value)) = label.value.unwrap().value else {
                        panic!("{} is no text", label.key);
                    };
                    (label.key, value)
                });
                let labels = labels.collect();
                let at = point.time_unix_nano;
                points.push((metric.name.clone(), metric.unit.clone(), labels, at, value));
            }
        }
        points
    }

    fn expected(cluster: &str, points: &[Points<'_>]) -> Vec<Decoded> {
        let decoded = points.iter().flat_map(|points| {
            let labels = labels(cluster, points.labels.gpu);
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            let labels: Vec<_> = labels.collect();
            let Series { name, unit, .. } = points.series;
            points.iter().map(move |(at, value)| {
                let at = at as u64 * 1_000_000;
                (name.to_owned(), unit.to_owned(), labels.clone(), at, value)
            })
        });
        decoded.collect()
    }

    #[test]
    fn opentelemetry_reads_name_unit_labels_time_and_value() {
        let mig = gpu("i-0123456789abcdef0", "7", "3");
        let readings = [reading(15_123, 41.5)];
        let body = encode(&[points(1, &Labels::new("p5en", &mig), &readings)]);
        let labels = [
            ("cluster", "p5en"),
            ("instance_id", "i-0123456789abcdef0"),
            ("gpu", "7"),
            ("GPU_I_ID", "3"),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = (
            "DCGM_FI_DEV_GPU_TEMP".to_owned(),
            "Cel".to_owned(),
            labels.to_vec(),
            1_764_000_015_123_000_000,
            41.5,
        );
        assert_eq!(decode(&body), [expected]);
    }

    #[test]
    fn one_metric_stands_once() {
        let gpus = [gpu("i-0", "0", ""), gpu("i-0", "1", "")];
        let labels = gpus.each_ref().map(|gpu| Labels::new("p5en", gpu));
        let readings = [reading(1, 1.0), reading(2, 2.0)];
        let points = [
            points(0, &labels[0], &readings),
            points(0, &labels[1], &readings),
            points(1, &labels[0], &readings),
        ];
        let request = ExportMetricsServiceRequest::decode(&encode(&points)[..]).unwrap();
        assert_eq!(
            request.resource_metrics[0].scope_metrics[0].metrics.len(),
            2
        );
    }

    fn gpus() -> impl Strategy<Value = Vec<Gpu>> {
        let gpu = ("[ -~]{1,300}", "[0-9]{1,2}", "[0-9]{0,2}")
            .prop_map(|(instance, index, mig)| gpu(&instance, &index, &mig));
        prop::collection::vec(gpu, 1..4)
    }

    /// By rising time.
    fn readings() -> impl Strategy<Value = Vec<Reading>> {
        let value = any::<f64>().prop_filter("a number", |value| !value.is_nan());
        prop::collection::btree_map(any::<u32>(), value, 1..6).prop_map(|values| {
            values
                .into_iter()
                .map(|(at, value)| reading(at, value))
                .collect()
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_within_the_bound(
            cluster in "[A-Za-z0-9-]{1,200}",
            gpus in gpus(),
            origin in 0i64..4_000_000_000_000,
            samples in prop::collection::vec((0usize..3, 0usize..4, readings()), 0..60),
        ) {
            let labels: Vec<_> = gpus.iter().map(|gpu| Labels::new(&cluster, gpu)).collect();
            let points = samples.iter().map(|(metric, of, readings)| {
                points_since(origin, *metric, &labels[of % gpus.len()], readings)
            });
            let points: Vec<_> = points.collect();
            let body = encode(&points);
            prop_assert_eq!(body.len(), body.capacity());
            let lengths = points.iter().map(|points| points.count() * point_len(points));
            let points_len: usize = lengths.sum();
            let metrics = points.chunk_by(|a, b| a.series.is_same(&b.series));
            let metrics = metrics.map(|points| METRIC_BYTES + points[0].series.name.len());
            prop_assert!(body.len() <= REQUEST_BYTES + metrics.sum::<usize>() + points_len);
            prop_assert_eq!(decode(&body), expected(&cluster, &points));
        }
    }
}
