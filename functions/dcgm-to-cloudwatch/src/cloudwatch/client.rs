//! CloudWatch's client: the SDK's, with bodies that are written and compressed here.

use std::error::Error;

use aws_config::SdkConfig;
use aws_sdk_cloudwatch::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_cloudwatch::config::{Builder, ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_cloudwatch::error::SdkError;
use aws_sdk_cloudwatch::operation::put_metric_data::PutMetricDataError;
use aws_smithy_types::body::SdkBody;

use super::cbor;
use super::datum::Datum;
use super::gzip::Packer;

/// The SDK's own default for `AWS_REQUEST_MIN_COMPRESSION_SIZE_BYTES`.
const MIN_BYTES: u32 = 10_240;

/// gzip's level. Level 1 makes the bodies a fifth larger, and takes a fifteenth less of a run's processor time.
const LEVEL: u32 = 2;

/// A client of CloudWatch.
#[derive(Debug)]
pub(crate) struct Client {
    client: aws_sdk_cloudwatch::Client,
    packer: Packer,
    /// Bodies below this many bytes stay as they are.
    min_bytes: usize,
}

impl Client {
    /// A client with the SDK's configuration.
    pub(crate) fn new(aws: &SdkConfig) -> Self {
        let config = Builder::from(aws).disable_request_compression(true);
        let min_bytes = match aws.disable_request_compression() {
            Some(true) => usize::MAX,
            _ => aws
                .request_min_compression_size_bytes()
                .unwrap_or(MIN_BYTES) as usize,
        };
        Self {
            client: aws_sdk_cloudwatch::Client::from_conf(config.build()),
            packer: Packer::new(LEVEL),
            min_bytes,
        }
    }

    /// Sends one request, and again where the SDK finds that useful.
    ///
    /// # Errors
    /// The SDK's last one.
    pub(super) async fn put(
        &self,
        namespace: &str,
        datums: &[Datum<'_>],
    ) -> Result<(), SdkError<PutMetricDataError>> {
        let mut bytes = cbor::body(namespace, datums);
        let is_packed = bytes.len() >= self.min_bytes;
        if is_packed {
            let packed = self.packer.pack(&bytes);
            bytes = packed.map_err(SdkError::construction_failure)?;
        }
        let body = Body { bytes, is_packed };
        let call = self.client.put_metric_data().customize().interceptor(body);
        call.send().await.map(drop)
    }
}

/// Takes the place of the body that the SDK has written, before it is signed.
#[derive(Debug)]
struct Body {
    bytes: Vec<u8>,
    is_packed: bool,
}

impl Intercept for Body {
    fn name(&self) -> &'static str {
        "Body"
    }

    fn modify_before_retry_loop(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let request = context.request_mut();
        let headers = request.headers_mut();
        headers.insert("content-length", self.bytes.len().to_string());
        if self.is_packed {
            headers.insert("content-encoding", "gzip");
        }
        *request.body_mut() = SdkBody::from(&self.bytes[..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use aws_config::BehaviorVersion;
    use aws_config::retry::RetryConfig;
    use aws_credential_types::Credentials;
    use aws_credential_types::provider::SharedCredentialsProvider;
    use aws_sdk_cloudwatch::config::Region;
    use aws_sdk_cloudwatch::config::interceptors::BeforeTransmitInterceptorContextRef;
    use aws_sdk_cloudwatch::types::{Dimension, MetricDatum, StandardUnit};
    use aws_smithy_types::DateTime;

    use super::*;
    use crate::due::period::Period;
    use crate::gpu::identity::Gpu;
    use crate::gpu::rollup::Subject;
    use crate::gpu::unit::Unit;

    /// Notes the body that would be sent.
    #[derive(Clone, Debug, Default)]
    struct Note(Arc<Mutex<Vec<u8>>>);

    impl Intercept for Note {
        fn name(&self) -> &'static str {
            "Note"
        }

        fn read_before_transmit(
            &self,
            context: &BeforeTransmitInterceptorContextRef<'_>,
            _: &RuntimeComponents,
            _: &mut ConfigBag,
        ) -> Result<(), Box<dyn Error + Send + Sync>> {
            let body = context.request().body().bytes().ok_or("a body in memory")?;
            self.0.lock().unwrap().extend_from_slice(body);
            Err("enough is known".into())
        }
    }

    fn of_the_sdk(datum: &Datum<'_>) -> MetricDatum {
        let dimensions: Vec<Dimension> = super::super::datum::dimensions(datum.subject)
            .map(|(name, value)| Dimension::builder().name(name).value(value).build())
            .collect();
        let (values, counts) = datum.values_and_counts();
        MetricDatum::builder()
            .metric_name(datum.metric)
            .unit(StandardUnit::from(datum.unit.name()))
            .timestamp(DateTime::from_secs(datum.period.start))
            .set_storage_resolution(datum.storage_resolution())
            .set_dimensions((!dimensions.is_empty()).then_some(dimensions))
            .set_values(Some(values))
            .set_counts(Some(counts))
            .build()
    }

    #[tokio::test]
    async fn bodies_are_those_of_the_sdk() {
        let gpu = |instance: &str, gpu_instance: &str| Gpu {
            instance_id: instance.to_owned(),
            gpu: "7".to_owned(),
            gpu_instance: gpu_instance.to_owned(),
        };
        let (whole, slice) = (gpu("i-0123456789abcdef0", ""), gpu(&"x".repeat(1_024), "3"));
        let subjects = [
            Subject::Cluster,
            Subject::Instance(&whole.instance_id),
            Subject::Gpu(&whole),
            Subject::Gpu(&slice),
        ];
        let metric = "M".repeat(255);
        let datums = subjects
            .into_iter()
            .zip([1, 23, 24, 150])
            .zip([60, 5, 300, 1]);
        let datums: Vec<_> = datums
            .map(|((subject, values), seconds)| Datum {
                metric: &metric[..values.min(255)],
                unit: Unit::BytesPerSecond,
                period: Period {
                    start: 1_700_000_040,
                    end: 1_700_000_040 + seconds,
                },
                subject,
                values: (0..values as u32)
                    .map(|value| (f64::from(value) / 8.0, value))
                    .collect(),
            })
            .collect();
        let aws = SdkConfig::builder()
            .behavior_version(BehaviorVersion::v2026_01_12())
            .http_client(startup::sdk_http(reqwest::Client::new()))
            .region(Region::new("us-east-2"))
            .retry_config(RetryConfig::disabled())
            .disable_request_compression(true)
            .credentials_provider(SharedCredentialsProvider::new(Credentials::for_tests()))
            .build();
        for count in 0..=datums.len() {
            let datums = &datums[..count];
            let note = Note::default();
            let call = Client::new(&aws)
                .client
                .put_metric_data()
                .namespace("ParallelCluster/GPU")
                .set_metric_data(Some(datums.iter().map(of_the_sdk).collect()))
                .customize()
                .interceptor(note.clone());
            call.send().await.unwrap_err();
            let sdk_s = note.0.lock().unwrap().clone();
            assert!(!sdk_s.is_empty());
            assert_eq!(cbor::body("ParallelCluster/GPU", datums), sdk_s, "{count}");
        }
    }
}
