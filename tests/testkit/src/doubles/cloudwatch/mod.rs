//! A CloudWatch that refuses what CloudWatch refuses.
//!
//! It takes PutMetricData as the SDKs and the AWS CLI send it (`rpc-v2-cbor` or `x-amz-json-1.0`,
//! gzip or not), holds every documented limit, stores what it accepts, and reads it back by
//! ListMetrics, GetMetricStatistics and GetMetricData. Like CloudWatch it never aggregates over
//! dimensions: a query without dimensions reads the metric that was published without dimensions.
//!
//! Beside that it takes points by OpenTelemetry's protocol (`otlp`), which can be read back as they are held.
//!
//! It is stricter than CloudWatch where the documentation leaves a choice, so that what passes here
//! passes there: a field it does not know is an error, the 1 MB limit counts the unpacked body in
//! decimal bytes. It does not recompute the signatures of SDKs, has no metric math, and shows data at once.

mod api;
mod failure;
mod limits;
mod otlp;
mod reads;
mod server;
mod statistics;
mod store;
mod wire;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use crate::doubles::faults::{ANY, lock};
use crate::doubles::server::Server;

pub use api::StatisticSet;
pub use failure::Failure;
pub use otlp::{Export, OtlpFailure, Point, SeriesKey};
pub use store::Datum;

/// One PutMetricData request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PutRequest {
    /// How many datums it carried, 0 where the body could not be read.
    pub datums: usize,
    /// Length of the body on the wire.
    pub wire_bytes: usize,
    /// Length of the body after gzip.
    pub decoded_bytes: usize,
    /// Whether the body was gzip.
    pub gzip: bool,
    /// What CloudWatch answered.
    pub outcome: Outcome,
}

/// The end of a PutMetricData request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Every datum was stored.
    Accepted,
    /// No datum was stored.
    Refused(Failure),
}

/// A running CloudWatch. Clones share it; it stops when the last one is dropped.
#[derive(Clone)]
pub struct CloudWatch {
    server: Arc<Server>,
    state: Arc<Mutex<server::State>>,
}

impl CloudWatch {
    /// Starts on a free loopback port.
    pub async fn start() -> anyhow::Result<Self> {
        let state = Arc::<Mutex<server::State>>::default();
        let server = Server::route(server::router(Arc::clone(&state))).await?;
        Ok(Self {
            server: Arc::new(server),
            state,
        })
    }

    /// The value for `AWS_ENDPOINT_URL_CLOUDWATCH` and `aws --endpoint-url`.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url()
    }

    /// Every accepted datum, in order of arrival.
    #[must_use]
    pub fn datums(&self) -> Vec<Datum> {
        self.state().store.datums().to_vec()
    }

    /// Every PutMetricData request, accepted or not, in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<PutRequest> {
        self.state().requests.clone()
    }

    /// Every OTLP request, accepted or not, in order of arrival.
    #[must_use]
    pub fn exports(&self) -> Vec<Export> {
        self.state().otlp.exports()
    }

    /// Every sample that came by OTLP, by series and time in milliseconds.
    #[must_use]
    pub fn otlp_samples(&self) -> BTreeMap<SeriesKey, BTreeMap<i64, f64>> {
        self.state().otlp.samples()
    }

    /// Unit of each metric that came by OTLP.
    #[must_use]
    pub fn otlp_units(&self) -> BTreeMap<String, String> {
        self.state().otlp.units()
    }

    /// How many samples came by OTLP that were there already.
    #[must_use]
    pub fn otlp_copies(&self) -> usize {
        self.state().otlp.copies()
    }

    /// Points that came by OTLP where another value was already. The first one stays.
    #[must_use]
    pub fn otlp_conflicts(&self) -> Vec<Point> {
        self.state().otlp.conflicts()
    }

    /// Answers the next `times` OTLP requests that are rightly signed with a failure.
    pub fn fail_next_export(&self, times: usize, failure: OtlpFailure) {
        self.state().otlp.fail_next(times, failure);
    }

    /// Refuses, from now on, every OTLP request that holds a point this is true for.
    pub fn refuse_exports_with(&self, holds: impl Fn(&Point) -> bool + Send + 'static) {
        self.state().otlp.refuse_with(holds);
    }

    /// Rejects, from now on, every point this is true for, and takes the others of the request.
    pub fn reject_points(&self, is_unwanted: impl Fn(&Point) -> bool + Send + 'static) {
        self.state().otlp.reject(is_unwanted);
    }

    /// Answers the next `times` PutMetricData requests with a failure.
    pub fn fail_next(&self, times: usize, failure: Failure) {
        self.state().failures.inject(ANY, times, failure);
    }

    /// Answers, from now on, every request that holds a datum this is true for with a failure.
    pub fn fail_when(&self, holds: impl Fn(&Datum) -> bool + Send + 'static, failure: Failure) {
        self.state().refused.push((Box::new(holds), failure));
    }

    /// Ends all failures asked for.
    pub fn recover(&self) {
        let mut state = self.state();
        state.failures.clear();
        state.refused.clear();
        state.otlp.recover();
    }

    /// Lets every call take this long.
    pub fn set_delay(&self, delay: Duration) {
        self.state().delay = delay;
    }

    /// Stops the clock that timestamps are held against; without it that is the system's.
    pub fn set_now(&self, now: SystemTime) {
        self.state().now = Some(now);
    }

    fn state(&self) -> MutexGuard<'_, server::State> {
        lock(&self.state)
    }
}

impl fmt::Debug for CloudWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CloudWatch")
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}
