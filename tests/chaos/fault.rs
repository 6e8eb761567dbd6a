//! What can go wrong, how it is brought about, and what a run may end with meanwhile.

use std::time::Duration;

use harness::amp_gateway;
use harness::cloudwatch;
use harness::dcgm_exporter::Node;
use harness::parameter_store::Failure;
use serde_json::json;

use crate::random::Random;
use crate::world::{MINUTE, World};

/// How often something fails that fails until it recovers.
const ALWAYS: usize = 100_000;
const SKEW: Duration = Duration::from_secs(600);
/// Enough for five requests of 1,000 datums a minute: 84 × 48 metrics.
const NODES_FOR_FIVE_REQUESTS: u32 = 84;
/// Enough for two.
const NODES_FOR_TWO_REQUESTS: u32 = 24;
/// Minutes that are published before anything fails.
pub(crate) const QUIET: u32 = 2;

/// A run that is left waiting ends when this is over.
const SHORT: Duration = Duration::from_secs(3);
/// Five tries of the SDK with its pauses take up to 15 s.
const LONG: Duration = Duration::from_secs(60);

/// One kind of fault.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The row of docs/operations.md.
    pub(crate) name: &'static str,
    kind: Kind,
    /// How many runs it lasts, in the whole form and in the short one.
    runs: [u32; 2],
    /// Lambda's time limit meanwhile.
    pub(crate) time_limit: Duration,
    /// What those runs may end with: an `errorType`, or `complete` for a good reply.
    pub(crate) ends: &'static [&'static str],
    /// Whether samples may be published twice.
    pub(crate) doubles: bool,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
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
}

/// Every fault.
pub(crate) const FAULTS: &[Fault] = &[
    fault(
        "AMP is down",
        Kind::AmpDown,
        [20, 3],
        SHORT,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP throttles",
        Kind::AmpFails(|| amp_gateway::Failure::Status(429)),
        [20, 3],
        SHORT,
        &["Throttled"],
    ),
    fault(
        "AMP is slow",
        Kind::AmpSlow,
        [3, 1],
        SHORT,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP's replies are cut",
        Kind::AmpFails(|| amp_gateway::Failure::CutMidReply),
        [3, 1],
        SHORT,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP answers garbage",
        Kind::AmpFails(|| amp_gateway::Failure::Garbage),
        [3, 1],
        SHORT,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP answers 200 MB",
        Kind::AmpHuge,
        [2, 2],
        LONG,
        &["AmpUnavailable", "AmpRejected"],
    ),
    fault(
        "remote_write is down",
        Kind::BacklogLate,
        [20, 3],
        LONG,
        &["complete"],
    ),
    fault(
        "a backlog arrives in parts",
        Kind::BacklogInParts,
        [20, 3],
        LONG,
        &["complete"],
    ),
    fault(
        "CloudWatch throttles",
        Kind::CloudWatchFails(|| json!({"error": {"code": "Throttling", "status": 400}})),
        [3, 1],
        LONG,
        &["Throttled"],
    ),
    fault(
        "CloudWatch answers 500",
        Kind::CloudWatchFails(|| json!({"error": {"code": "InternalServiceFault", "status": 500}})),
        [3, 1],
        LONG,
        &["PublishFailed"],
    ),
    fault(
        "CloudWatch does not answer",
        Kind::CloudWatchFails(|| json!({"timeout_ms": 60_000})),
        [3, 1],
        SHORT,
        &["OutOfTime"],
    ),
    fault(
        "CloudWatch resets connections",
        Kind::CloudWatchFails(|| json!({"reset": true})),
        [3, 1],
        LONG,
        &["PublishFailed"],
    ),
    Fault {
        doubles: true,
        ..fault(
            "an answer of CloudWatch is lost",
            Kind::CloudWatchFails(|| json!({"times": 1, "response": {"abort_bytes": 1}})),
            [1, 1],
            LONG,
            &["complete"],
        )
    },
    Fault {
        doubles: true,
        ..fault(
            "CloudWatch takes 4 requests of 5",
            Kind::OneRequestFails,
            [2, 1],
            LONG,
            &["PublishFailed"],
        )
    },
    fault(
        "Parameter Store is down",
        Kind::NoWatermarkRead,
        [3, 1],
        LONG,
        &["PublishFailed"],
    ),
    fault(
        "Parameter Store can't be written",
        Kind::NoWatermarkWritten,
        [3, 1],
        LONG,
        &["PublishFailed"],
    ),
    Fault {
        doubles: true,
        ..fault(
            "Parameter Store can't be written, and the process is replaced",
            Kind::NoWatermarkWrittenFreshProcess,
            [3, 2],
            LONG,
            &["PublishFailed"],
        )
    },
    Fault {
        doubles: true,
        ..fault(
            "the function is killed",
            Kind::Killed,
            [50, 8],
            LONG,
            &["Runtime.ExitError", "complete"],
        )
    },
    fault(
        "credentials have expired",
        Kind::CredentialsExpired,
        [3, 3],
        LONG,
        &["AccessDenied", "PublishFailed"],
    ),
    fault(
        "the function's clock is 10 minutes slow",
        Kind::ClockSlow,
        [3, 1],
        SHORT,
        &["PublishFailed"],
    ),
    fault(
        "the function's clock is 10 minutes fast",
        Kind::ClockFast,
        [3, 1],
        SHORT,
        &["PublishFailed"],
    ),
    fault(
        "an event is 10 minutes early",
        Kind::EventsEarly,
        [1, 1],
        LONG,
        &["complete"],
    ),
    fault(
        "events are 10 minutes late",
        Kind::EventsLate,
        [3, 1],
        LONG,
        &["complete"],
    ),
];

const fn fault(
    name: &'static str,
    kind: Kind,
    runs: [u32; 2],
    time_limit: Duration,
    ends: &'static [&'static str],
) -> Fault {
    Fault {
        name,
        kind,
        runs,
        time_limit,
        ends,
        doubles: false,
    }
}

/// How long the faults last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As long as it takes to be sure.
    Whole,
    /// As short as every test run can bear.
    #[cfg(test)]
    Short,
}

impl Fault {
    pub(crate) fn runs(&self, form: Form) -> u32 {
        let [whole, _short] = self.runs;
        match form {
            Form::Whole => whole,
            #[cfg(test)]
            Form::Short => _short,
        }
    }

    /// The world it happens to, when that many minutes are going to be run.
    pub(crate) async fn world(&self, minutes: u32) -> anyhow::Result<World> {
        let (nodes, arrived) = match self.kind {
            Kind::OneRequestFails => (NODES_FOR_FIVE_REQUESTS, minutes * MINUTE),
            Kind::Killed => (NODES_FOR_TWO_REQUESTS, minutes * MINUTE),
            Kind::BacklogLate | Kind::BacklogInParts => (2, QUIET * MINUTE),
            Kind::EventsEarly => (2, QUIET * MINUTE + MINUTE / 2),
            _ => (2, minutes * MINUTE),
        };
        let mut world = World::start(nodes, arrived).await?;
        if matches!(self.kind, Kind::CloudWatchFails(_)) {
            world.proxy_cloudwatch().await?;
        }
        Ok(world)
    }

    /// Brings it about.
    pub(crate) async fn begin(&self, world: &mut World, seed: u64) -> anyhow::Result<()> {
        let (amp, cloudwatch) = (&world.pipeline.amp, &world.pipeline.cloudwatch);
        let failure = Some(Failure::InternalServerError);
        match self.kind {
            Kind::AmpDown => world.pipeline.prometheus.stop().await?,
            Kind::AmpFails(failure) => amp.fail_next(ALWAYS, failure()),
            Kind::AmpSlow => amp.set_delay(2 * self.time_limit),
            Kind::CloudWatchFails(how) => {
                let proxy = world.proxy()?;
                proxy.fail("cloudwatch", "PutMetricData", how()).await?;
            }
            Kind::OneRequestFails => {
                let failure = cloudwatch::Failure::InternalServiceError;
                cloudwatch.fail_when(is_in_one_request, failure);
            }
            Kind::NoWatermarkRead => world.parameters.fail_next("GetParameter", ALWAYS, failure),
            Kind::NoWatermarkWritten | Kind::NoWatermarkWrittenFreshProcess => {
                world.parameters.fail_next("PutParameter", ALWAYS, failure);
            }
            Kind::Killed => {
                world.replace_function();
                world.killer = Some(Random::new(seed));
            }
            // A slow clock signs what is too old by the services' clocks.
            Kind::ClockSlow => {
                amp.set_clock_fast(SKEW);
                world.parameters.set_clock_fast(SKEW);
            }
            Kind::ClockFast => {
                amp.set_clock_slow(SKEW);
                world.parameters.set_clock_slow(SKEW);
            }
            Kind::EventsEarly => world.ahead = SKEW,
            Kind::EventsLate => world.behind = SKEW,
            Kind::AmpHuge | Kind::BacklogLate | Kind::BacklogInParts | Kind::CredentialsExpired => {
            }
        }
        Ok(())
    }

    /// Brings about what differs from run to run.
    pub(crate) async fn before_run(
        &self,
        world: &mut World,
        run: u32,
        runs: u32,
    ) -> anyhow::Result<()> {
        let amp = &world.pipeline.amp;
        match self.kind {
            Kind::AmpHuge => {
                let packed = run % 2 == 0;
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
    pub(crate) async fn end(&self, world: &mut World, minutes: u32) -> anyhow::Result<()> {
        let (amp, cloudwatch) = (&world.pipeline.amp, &world.pipeline.cloudwatch);
        match self.kind {
            Kind::AmpDown => world.pipeline.prometheus.restart().await?,
            Kind::AmpFails(_) | Kind::AmpHuge => amp.recover(),
            Kind::AmpSlow => amp.set_delay(Duration::ZERO),
            Kind::BacklogLate | Kind::BacklogInParts => world.arrive(minutes * MINUTE).await?,
            Kind::CloudWatchFails(_) => {
                let failed = world.proxy()?.recover().await?;
                anyhow::ensure!(failed > 0, "microburst let every call pass");
            }
            Kind::OneRequestFails => cloudwatch.recover(),
            Kind::NoWatermarkRead => world.parameters.fail_next("GetParameter", 0, None),
            Kind::NoWatermarkWritten | Kind::NoWatermarkWrittenFreshProcess => {
                world.parameters.fail_next("PutParameter", 0, None);
            }
            Kind::Killed => world.killer = None,
            Kind::CredentialsExpired => {
                world.parameters.fail_next("GetParameter", 0, None);
                amp.recover();
                cloudwatch.recover();
            }
            Kind::ClockSlow | Kind::ClockFast => {
                amp.set_clock_fast(Duration::ZERO);
                world.parameters.set_clock_fast(Duration::ZERO);
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
    let expired = Some(Failure::ExpiredToken);
    world.parameters.fail_next("GetParameter", 0, None);
    amp.recover();
    match run % 3 {
        0 => world.parameters.fail_next("GetParameter", ALWAYS, expired),
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
