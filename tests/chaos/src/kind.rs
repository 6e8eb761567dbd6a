//! How each kind of fault is brought about and ended, and the world it needs.

use std::time::Duration;

use testkit::doubles::amp_gateway;
use testkit::doubles::cloudwatch::{self, OtlpFailure};
use testkit::doubles::dcgm_exporter::Node;
use testkit::doubles::faults::Fault;
use testkit::doubles::parameter_store::Failure;

use crate::fault::HURRY;
use crate::world::{MINUTE, World};

/// How often something fails that fails until it recovers.
const ALWAYS: usize = 100_000;
const SKEW: Duration = Duration::from_secs(600);
/// Enough for five requests of 1,000 datums a minute: 84 × 48 metrics.
const NODES_FOR_FIVE_REQUESTS: u32 = 84;
/// Enough for two.
const NODES_FOR_TWO_REQUESTS: u32 = 24;
/// Minutes that are published before a fault.
pub(crate) const QUIET: u32 = 1;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    AmpDown,
    AmpFails(fn() -> amp_gateway::Failure),
    AmpSlow,
    AmpHuge,
    BacklogLate,
    BacklogInParts,
    CloudWatchFails(fn() -> serde_json::Value),
    OneRequestFails,
    NoWatermarkRead,
    NoWatermarkWritten,
    NoWatermarkWrittenFreshProcess,
    Killed,
    CredentialsExpired,
    ClockSlow,
    ClockFast,
    EventsEarly,
    EventsLate,
    OtlpFails(OtlpFailure),
    OtlpAnswerLost,
    OtlpRejects,
    KilledSendingOtlp,
}

/// What kind of world a fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Setting {
    /// Two nodes whose samples are all there.
    Plain,
    /// The same, with microburst before CloudWatch, which takes long to start.
    BehindProxy,
    /// Two nodes whose GPUs are sent by OTLP.
    Otlp,
    /// One that suits no other fault.
    OfItsOwn,
}

impl Kind {
    /// The world it can happen to.
    pub(crate) fn setting(self) -> Setting {
        match self {
            Kind::CloudWatchFails(_) => Setting::BehindProxy,
            Kind::OtlpFails(_) | Kind::OtlpAnswerLost | Kind::OtlpRejects => Setting::Otlp,
            Kind::OneRequestFails
            | Kind::Killed
            | Kind::KilledSendingOtlp
            | Kind::BacklogLate
            | Kind::BacklogInParts
            | Kind::EventsEarly => Setting::OfItsOwn,
            _ => Setting::Plain,
        }
    }

    /// That world, when so many minutes are going to be run.
    pub(crate) async fn world(self, minutes: u32) -> anyhow::Result<World> {
        let (nodes, arrived) = match self {
            Kind::OneRequestFails => (NODES_FOR_FIVE_REQUESTS, minutes * MINUTE),
            Kind::Killed | Kind::KilledSendingOtlp => (NODES_FOR_TWO_REQUESTS, minutes * MINUTE),
            Kind::BacklogLate | Kind::BacklogInParts => (2, QUIET * MINUTE),
            Kind::EventsEarly => (2, QUIET * MINUTE + MINUTE / 2),
            _ => (2, minutes * MINUTE),
        };
        let mut world = World::start(nodes, arrived).await?;
        if self.setting() == Setting::BehindProxy {
            world.proxy_cloudwatch().await?;
        }
        world.sends_otlp =
            self.setting() == Setting::Otlp || matches!(self, Kind::KilledSendingOtlp);
        Ok(world)
    }

    /// Brings it about.
    pub(crate) async fn begin(self, world: &mut World, seed: u64) -> anyhow::Result<()> {
        let (amp, cloudwatch) = (&world.pipeline.amp, &world.pipeline.cloudwatch);
        let parameters = world.pipeline.parameters.faults();
        let broken = Fault::Status(Failure::InternalServerError);
        match self {
            Kind::AmpDown => world.pipeline.prometheus.stop().await?,
            Kind::AmpFails(failure) => amp.fail_next(ALWAYS, failure()),
            Kind::AmpSlow => amp.set_delay(2 * HURRY),
            Kind::CloudWatchFails(how) => {
                let proxy = world.proxy()?;
                proxy.fail("cloudwatch", "PutMetricData", how()).await?;
            }
            Kind::OneRequestFails => {
                let failure = cloudwatch::Failure::InternalServiceError;
                cloudwatch.fail_when(is_in_one_request, failure);
            }
            Kind::NoWatermarkRead => parameters.inject_always("GetParameter", broken),
            Kind::NoWatermarkWritten | Kind::NoWatermarkWrittenFreshProcess => {
                parameters.inject_always("PutParameter", broken);
            }
            Kind::Killed | Kind::KilledSendingOtlp => {
                world.replace_function();
                world.killer = Some(fastrand::Rng::with_seed(seed));
            }
            // A slow clock signs what is too old by the services' clocks.
            Kind::ClockSlow => {
                amp.set_clock_fast(SKEW);
                world.pipeline.parameters.set_clock_fast(SKEW);
            }
            Kind::ClockFast => {
                amp.set_clock_slow(SKEW);
                world.pipeline.parameters.set_clock_slow(SKEW);
            }
            Kind::EventsEarly => world.ahead = SKEW,
            Kind::EventsLate => world.behind = SKEW,
            Kind::OtlpFails(failure) => cloudwatch.fail_next_export(ALWAYS, failure),
            Kind::OtlpAnswerLost => {
                cloudwatch.fail_next_export(1, OtlpFailure::StoredButUnavailable);
            }
            Kind::OtlpRejects => cloudwatch.reject_points(is_temperature_of_one_gpu),
            Kind::AmpHuge | Kind::BacklogLate | Kind::BacklogInParts | Kind::CredentialsExpired => {
            }
        }
        Ok(())
    }

    /// Brings about what differs from run to run.
    pub(crate) async fn before_run(
        self,
        world: &mut World,
        run: u32,
        runs: u32,
    ) -> anyhow::Result<()> {
        let amp = &world.pipeline.amp;
        match self {
            Kind::AmpHuge => {
                let packed = !run.is_multiple_of(2);
                amp.recover();
                amp.fail_next(1, amp_gateway::Failure::Mebibytes { count: 200, packed });
            }
            // In the middle of a minute, and before the last run of those without.
            Kind::BacklogInParts if run + 1 == runs => {
                let half = (QUIET + runs / 2) * MINUTE + MINUTE / 2;
                world.arrive(half).await?;
            }
            Kind::NoWatermarkWrittenFreshProcess => world.replace_function(),
            Kind::CredentialsExpired => expire(world, run),
            _ => {}
        }
        Ok(())
    }

    /// Ends it, when that many minutes are going to be run in all.
    pub(crate) async fn end(self, world: &mut World, minutes: u32) -> anyhow::Result<()> {
        let (amp, cloudwatch) = (&world.pipeline.amp, &world.pipeline.cloudwatch);
        match self {
            Kind::AmpDown => world.pipeline.prometheus.restart().await?,
            Kind::AmpFails(_) | Kind::AmpHuge => amp.recover(),
            Kind::AmpSlow => amp.set_delay(Duration::ZERO),
            Kind::BacklogLate | Kind::BacklogInParts => world.arrive(minutes * MINUTE).await?,
            Kind::CloudWatchFails(_) => {
                let failed = world.proxy()?.recover().await?;
                anyhow::ensure!(failed > 0, "microburst let every call pass");
            }
            Kind::OneRequestFails
            | Kind::OtlpFails(_)
            | Kind::OtlpAnswerLost
            | Kind::OtlpRejects => cloudwatch.recover(),
            Kind::NoWatermarkRead
            | Kind::NoWatermarkWritten
            | Kind::NoWatermarkWrittenFreshProcess => world.pipeline.parameters.faults().clear(),
            Kind::Killed | Kind::KilledSendingOtlp => world.killer = None,
            Kind::CredentialsExpired => {
                world.pipeline.parameters.faults().clear();
                amp.recover();
                cloudwatch.recover();
            }
            Kind::ClockSlow | Kind::ClockFast => {
                amp.set_clock_fast(Duration::ZERO);
                world.pipeline.parameters.set_clock_fast(Duration::ZERO);
            }
            Kind::EventsEarly => {
                world.ahead = Duration::ZERO;
                world.arrive(minutes * MINUTE).await?;
            }
            Kind::EventsLate => world.behind = Duration::ZERO,
        }
        Ok(())
    }
}

/// They expire before the first call of a run, before the next, or before the last.
fn expire(world: &World, run: u32) {
    let (amp, cloudwatch) = (&world.pipeline.amp, &world.pipeline.cloudwatch);
    let (parameters, expired) = (world.pipeline.parameters.faults(), Failure::ExpiredToken);
    parameters.clear();
    amp.recover();
    match run % 3 {
        0 => parameters.inject_always("GetParameter", Fault::Status(expired)),
        1 => amp.fail_next(ALWAYS, amp_gateway::Failure::Status(403)),
        _ => cloudwatch.fail_when(|_| true, cloudwatch::Failure::ExpiredToken),
    }
}

/// One datum of a minute, which is in one of its requests.
fn is_in_one_request(datum: &cloudwatch::Datum) -> bool {
    let node = Node::p5en(NODES_FOR_FIVE_REQUESTS / 2);
    let dimension = |name: &str| datum.dimensions.get(name).map(String::as_str);
    datum.name == "GPUTemperature"
        && dimension("InstanceId") == Some(&node.instance_id)
        && dimension("GPU") == Some("0")
}

fn is_temperature_of_one_gpu(point: &cloudwatch::Point) -> bool {
    let (name, labels) = &point.series;
    name == "DCGM_FI_DEV_GPU_TEMP"
        && labels.get("instance_id") == Some(&Node::p5en(0).instance_id)
        && labels.get("gpu").is_some_and(|gpu| gpu == "3")
}
