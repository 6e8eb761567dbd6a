//! All that CloudWatch's OTLP endpoint accepts, in one place.
//! <https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch-OTLPEndpoint.html>
//!
//! The age of samples has the limit of PutMetricData. Labels stay far below theirs (150 labels, 40 KB and
//! 1,024 characters a value): a point has four, whose values may be CloudWatch dimensions.

/// Points of one request.
pub(crate) const MAX_POINTS: usize = 1_000;

/// Bytes of one request before compression: 1 MB, less 1 % in case the service counts in another way.
pub(crate) const MAX_BYTES: usize = 990_000;

/// Requests under way at once. 8 of them at 20 ms each are 400 a second; the quota of an account and
/// region is 500.
pub(crate) const PARALLEL_REQUESTS: usize = 8;

/// Regions of the commercial partition that have no endpoint.
const REGIONS_WITHOUT: [&str; 3] = ["il-central-1", "me-central-1", "me-south-1"];

/// First parts of the regions of other partitions. None has an endpoint.
const PARTITIONS_WITHOUT: [&str; 5] = ["cn-", "us-gov-", "us-iso", "eu-iso", "eusc-"];

/// Whether a region has an endpoint, as far as is known.
pub(crate) fn has_endpoint(region: &str) -> bool {
    !REGIONS_WITHOUT.contains(&region)
        && !PARTITIONS_WITHOUT
            .iter()
            .any(|partition| region.starts_with(partition))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commercial_regions_have_an_endpoint_and_not_all() {
        for region in [
            "us-east-1",
            "eu-central-1",
            "ap-southeast-5",
            "mx-central-1",
        ] {
            assert!(has_endpoint(region), "{region}");
        }
        for region in [
            "il-central-1",
            "me-south-1",
            "me-central-1",
            "cn-north-1",
            "us-gov-west-1",
            "us-iso-east-1",
        ] {
            assert!(!has_endpoint(region), "{region}");
        }
    }
}
