//! Points as OTLP's `ExportMetricsServiceRequest` in protobuf.
//!
//! Written by hand: it needs no crate, and for 192,000 points 11 ms where prost's code needs 85, as that first
//! builds a tree of owned texts. The tests read it back with OpenTelemetry's own schema.
//! <https://github.com/open-telemetry/opentelemetry-proto/tree/main/opentelemetry/proto>

use super::point::Point;

/// Name of the instrumentation scope.
const SCOPE: &str = "dcgm-to-cloudwatch";

/// Wire types of protobuf. <https://protobuf.dev/programming-guides/encoding/>
const FIXED_64: u8 = 1;
const LENGTH_DELIMITED: u8 = 2;

/// Bytes of a point besides its labels, and of a label besides its texts: tags, lengths (of up to two bytes
/// each for what is shorter than 16 KiB), time and value.
const POINT_BYTES: usize = 24;
const LABEL_BYTES: usize = 12;
/// Bytes of a metric besides its name, and of what is around all metrics.
const METRIC_BYTES: usize = 32;
const REQUEST_BYTES: usize = 64;

/// The body of one request. Points of one metric, and of one GPU in it, should follow each other.
pub(crate) fn encode(cluster: &str, points: &[Point<'_>]) -> Vec<u8> {
    let mut body = Vec::with_capacity(max_bytes(cluster, points));
    message(&mut body, 1, |resource_metrics| {
        message(resource_metrics, 2, |scope_metrics| {
            message(scope_metrics, 1, |scope| text(scope, 1, SCOPE));
            for of_metric in points.chunk_by(|a, b| a.series == b.series) {
                message(scope_metrics, 2, |metric| {
                    encode_metric(metric, cluster, of_metric);
                });
            }
        });
    });
    body
}

fn encode_metric(metric: &mut Vec<u8>, cluster: &str, points: &[Point<'_>]) {
    let series = points[0].series;
    text(metric, 1, series.name);
    // A default value is left out: https://protobuf.dev/programming-guides/proto3/#default
    if !series.unit.is_empty() {
        text(metric, 3, series.unit);
    }
    message(metric, 5, |gauge| {
        let mut labels = Vec::new();
        for of_gpu in points.chunk_by(|a, b| std::ptr::eq(a.gpu, b.gpu)) {
            labels.clear();
            encode_labels(&mut labels, cluster, &of_gpu[0]);
            for point in of_gpu {
                tag(gauge, 1, LENGTH_DELIMITED);
                varint(gauge, labels.len() + 18);
                fixed64(gauge, 3, (point.at as u64 * 1_000_000).to_le_bytes());
                fixed64(gauge, 4, point.value.to_le_bytes());
                gauge.extend_from_slice(&labels);
            }
        }
    });
}

fn encode_labels(labels: &mut Vec<u8>, cluster: &str, point: &Point<'_>) {
    for (name, value) in point.labels(cluster) {
        message(labels, 7, |label| {
            text(label, 1, name);
            message(label, 2, |any| text(any, 1, value));
        });
    }
}

/// Upper bound of the bytes of a request.
pub(crate) fn max_bytes(cluster: &str, points: &[Point<'_>]) -> usize {
    let mut before = None;
    let points = points
        .iter()
        .map(|point| max_bytes_after(before.replace(point), cluster, point));
    REQUEST_BYTES + points.sum::<usize>()
}

/// Upper bound of the bytes that a point adds to those `before` it.
pub(crate) fn max_bytes_after(
    before: Option<&Point<'_>>,
    cluster: &str,
    point: &Point<'_>,
) -> usize {
    let labels = point.labels(cluster);
    let labels: usize = labels
        .map(|(name, value)| LABEL_BYTES + name.len() + value.len())
        .sum();
    let metric = match before {
        Some(before) if before.series == point.series => 0,
        _ => METRIC_BYTES + point.series.name.len(),
    };
    POINT_BYTES + labels + metric
}

fn message(out: &mut Vec<u8>, field: u8, write: impl FnOnce(&mut Vec<u8>)) {
    tag(out, field, LENGTH_DELIMITED);
    let start = out.len();
    write(out);
    let mut length = Vec::with_capacity(5);
    varint(&mut length, out.len() - start);
    out.splice(start..start, length);
}

fn text(out: &mut Vec<u8>, field: u8, text: &str) {
    tag(out, field, LENGTH_DELIMITED);
    varint(out, text.len());
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
            prop_assert!(body.len() <= max_bytes(&cluster, &points));
            prop_assert_eq!(decode(&body), expected(&cluster, &points));
        }
    }
}
