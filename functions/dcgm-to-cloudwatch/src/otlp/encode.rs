//! Points as OTLP's `ExportMetricsServiceRequest` in protobuf.
//!
//! Written by hand: it needs no crate, and for 192,000 points 11 ms where prost's code needs 85, as that first
//! builds a tree of owned texts. The tests read it back with OpenTelemetry's own schema.
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use super::point::{Point, by_gpu, by_metric};
use super::series::Series;

/// Name of the instrumentation scope.
const SCOPE: &str = "dcgm-to-cloudwatch";

/// Wire types of protobuf. <https://protobuf.dev/programming-guides/encoding/>
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;

/// Upper bounds of the bytes around all metrics, and of those of a metric besides its name and points.
pub(crate) const REQUEST_BYTES: usize = 64;
pub(crate) const METRIC_BYTES: usize = 32;

/// Bytes of a point's time and value.
const SAMPLE_BYTES: usize = 18;

/// The body of one request. Points of one metric, and of one GPU in it, should follow each other.
///
/// The length of a message stands before it, so all lengths are summed up first.
pub(crate) fn encode(cluster: &str, points: &[Point<'_>]) -> Vec<u8> {
    let scope = field_len(SCOPE.len());
    let lengths = by_metric(points).map(|points| field_len(metric_len(cluster, points)));
    let scope_metrics = field_len(scope) + lengths.sum::<usize>();
    let resource_metrics = field_len(scope_metrics);

    let mut body = Vec::with_capacity(field_len(resource_metrics));
    message(&mut body, 1, resource_metrics);
    message(&mut body, 2, scope_metrics);
    message(&mut body, 1, scope);
    text(&mut body, 1, SCOPE);
    for points in by_metric(points) {
        message(&mut body, 2, metric_len(cluster, points));
        encode_metric(&mut body, cluster, points);
    }
    body
}

fn metric_len(cluster: &str, points: &[Point<'_>]) -> usize {
    let Series { name, unit, .. } = points[0].series;
    let unit = if unit.is_empty() {
        0
    } else {
        field_len(unit.len())
    };
    field_len(name.len()) + unit + field_len(gauge_len(cluster, points))
}

fn encode_metric(out: &mut Vec<u8>, cluster: &str, points: &[Point<'_>]) {
    let Series { name, unit, .. } = points[0].series;
    text(out, 1, name);
    // A default value is left out: https://protobuf.dev/programming-guides/proto3/#default
    if !unit.is_empty() {
        text(out, 3, unit);
    }
    message(out, 5, gauge_len(cluster, points));
    let mut labels = Vec::new();
    for points in by_gpu(points) {
        labels.clear();
        encode_labels(&mut labels, cluster, &points[0]);
        for point in points {
            message(out, 1, SAMPLE_BYTES + labels.len());
            fixed64(out, 3, (point.at as u64 * 1_000_000).to_le_bytes());
            fixed64(out, 4, point.value.to_le_bytes());
            out.extend_from_slice(&labels);
        }
    }
}

fn gauge_len(cluster: &str, points: &[Point<'_>]) -> usize {
    let lengths = by_gpu(points).map(|points| points.len() * point_len(cluster, &points[0]));
    lengths.sum()
}

/// The bytes of a point, whatever its time and value.
pub(crate) fn point_len(cluster: &str, point: &Point<'_>) -> usize {
    let labels = point.labels(cluster);
    let labels = labels.map(|(name, value)| field_len(label_len(name, value)));
    field_len(SAMPLE_BYTES + labels.sum::<usize>())
}

fn encode_labels(out: &mut Vec<u8>, cluster: &str, point: &Point<'_>) {
    for (name, value) in point.labels(cluster) {
        message(out, 7, label_len(name, value));
        text(out, 1, name);
        message(out, 2, field_len(value.len()));
        text(out, 1, value);
    }
}

fn label_len(name: &str, value: &str) -> usize {
    field_len(name.len()) + field_len(field_len(value.len()))
}

/// Bytes of a field whose tag takes one and whose content takes `len`.
fn field_len(len: usize) -> usize {
    let mut bytes = 2;
    let mut rest = len >> 7;
    while rest > 0 {
        bytes += 1;
        rest >>= 7;
    }
    bytes + len
}

/// What stands before a message of `len` bytes.
fn message(out: &mut Vec<u8>, field: u8, len: usize) {
    tag(out, field, LENGTH_DELIMITED);
    varint(out, len);
}

fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    message(out, field, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn fixed64(out: &mut Vec<u8>, field: u8, bytes: [u8; 8]) {
    tag(out, field, FIXED_64);
    out.extend_from_slice(&bytes);
}

/// Fields above 15 would take more than one byte; there are none.
fn tag(out: &mut Vec<u8>, field: u8, wire_type: u8) {
    out.push(field << 3 | wire_type);
}

fn varint(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
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
    use crate::otlp::point::tests::{gpu, point};

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

    fn expected(cluster: &str, points: &[Point<'_>]) -> Vec<Decoded> {
        let decoded = points.iter().map(|point| {
            let labels = point.labels(cluster);
            let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
            (
                point.series.name.to_owned(),
                point.series.unit.to_owned(),
                labels.collect(),
                point.at as u64 * 1_000_000,
                point.value,
            )
        });
        decoded.collect()
    }

    #[test]
    fn opentelemetry_reads_name_unit_labels_time_and_value() {
        let mig = gpu("i-0123456789abcdef0", "7", "3");
        let body = encode("p5en", &[point(1, &mig, 1_764_000_015_123, 41.5)]);
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
        let points = [
            point(0, &gpus[0], 1, 1.0),
            point(0, &gpus[1], 1, 2.0),
            point(1, &gpus[0], 1, 3.0),
        ];
        let request = ExportMetricsServiceRequest::decode(&encode("c", &points)[..]).unwrap();
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

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_within_the_bound(
            cluster in "[A-Za-z0-9-]{1,200}",
            gpus in gpus(),
            samples in prop::collection::vec((0usize..3, 0usize..4, 0i64..4_000_000_000_000, any::<f64>()), 0..300),
        ) {
            let points: Vec<_> = samples
                .iter()
                .filter(|sample| !sample.3.is_nan())
                .map(|(metric, of, at, value)| point(*metric, &gpus[of % gpus.len()], *at, *value))
                .collect();
            let body = encode(&cluster, &points);
            prop_assert_eq!(body.len(), body.capacity());
            let points_len: usize = points.iter().map(|point| point_len(&cluster, point)).sum();
            let metrics = by_metric(&points).map(|points| METRIC_BYTES + points[0].series.name.len());
            prop_assert!(body.len() <= REQUEST_BYTES + metrics.sum::<usize>() + points_len);
            prop_assert_eq!(decode(&body), expected(&cluster, &points));
        }
    }
}
