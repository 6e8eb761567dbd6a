//! What can go wrong, for how long, and what a run may end with meanwhile.

use std::time::Duration;

use serde_json::json;
use testkit::doubles::amp_gateway;
use testkit::doubles::cloudwatch::OtlpFailure;

use crate::kind::Kind;

/// Lambda's time limit for a run in a hurry, which may end with one of [`HURRIED_ENDS`] too.
pub(crate) const HURRY: Duration = Duration::from_secs(6);
/// For one that has time for the SDK's five tries, which take up to 15 s, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HURRIED_ENDS: [&str; 2] = ["AmpUnavailable", "OutOfTime"];

/// One kind of fault.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The row of docs/operations.md.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// How many runs it lasts, in the whole form and in the short one.
    runs: [u32; 2],
    /// Lambda's time limit meanwhile.
    pub(crate) time_limit: Duration,
    /// What those runs may end with: an `errorType`, or `complete` for a good reply.
    pub(crate) ends: &'static [&'static str],
    /// Whether samples may be published twice.
    pub(crate) doubles: bool,
    /// Whether the service refuses samples for good, which replies count.
    pub(crate) refuses: bool,
}

/// Every fault.
pub(crate) const FAULTS: &[Fault] = &[
    fault(
        "AMP is down",
        Kind::AmpDown,
        [20, 3],
        HURRY,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP throttles",
        Kind::AmpFails(|| amp_gateway::Failure::Status(429)),
        [20, 3],
        HURRY,
        &["Throttled"],
    ),
    fault(
        "AMP is slow",
        Kind::AmpSlow,
        [3, 1],
        HURRY,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP's replies are cut",
        Kind::AmpFails(|| amp_gateway::Failure::CutMidReply),
        [3, 1],
        HURRY,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP answers garbage",
        Kind::AmpFails(|| amp_gateway::Failure::Garbage),
        [3, 1],
        HURRY,
        &["AmpUnavailable"],
    ),
    fault(
        "AMP answers 200 MB",
        Kind::AmpHuge,
        [2, 2],
        PATIENCE,
        &["AmpUnavailable", "AmpRejected", "complete"],
    ),
    fault(
        "remote_write is down",
        Kind::BacklogLate,
        [20, 3],
        PATIENCE,
        &["complete"],
    ),
    fault(
        "a backlog arrives in parts",
        Kind::BacklogInParts,
        [20, 3],
        PATIENCE,
        &["complete"],
    ),
    fault(
        "CloudWatch throttles",
        Kind::CloudWatchFails(|| json!({"error": {"code": "Throttling", "status": 400}})),
        [3, 1],
        PATIENCE,
        &["Throttled"],
    ),
    fault(
        "CloudWatch answers 500",
        Kind::CloudWatchFails(|| json!({"error": {"code": "InternalServiceFault", "status": 500}})),
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    fault(
        "CloudWatch does not answer",
        Kind::CloudWatchFails(|| json!({"timeout_ms": 60_000})),
        [3, 1],
        HURRY,
        &["OutOfTime"],
    ),
    fault(
        "CloudWatch resets connections",
        Kind::CloudWatchFails(|| json!({"reset": true})),
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    Fault {
        doubles: true,
        ..fault(
            "an answer of CloudWatch is lost",
            Kind::CloudWatchFails(|| json!({"times": 1, "response": {"abort_bytes": 1}})),
            [1, 1],
            PATIENCE,
            &["complete"],
        )
    },
    Fault {
        doubles: true,
        ..fault(
            "CloudWatch takes 4 requests of 5",
            Kind::OneRequestFails,
            [2, 1],
            PATIENCE,
            &["PublishFailed"],
        )
    },
    fault(
        "Parameter Store is down",
        Kind::NoWatermarkRead,
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    fault(
        "Parameter Store can't be written",
        Kind::NoWatermarkWritten,
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    Fault {
        doubles: true,
        ..fault(
            "Parameter Store can't be written, and the process is replaced",
            Kind::NoWatermarkWrittenFreshProcess,
            [3, 2],
            PATIENCE,
            &["PublishFailed"],
        )
    },
    Fault {
        doubles: true,
        ..fault(
            "the function is killed",
            Kind::Killed,
            [50, 5],
            PATIENCE,
            &["Runtime.ExitError", "complete"],
        )
    },
    fault(
        "credentials have expired",
        Kind::CredentialsExpired,
        [3, 3],
        PATIENCE,
        &["AccessDenied", "PublishFailed"],
    ),
    fault(
        "the function's clock is 10 minutes slow",
        Kind::ClockSlow,
        [3, 1],
        HURRY,
        &["PublishFailed"],
    ),
    fault(
        "the function's clock is 10 minutes fast",
        Kind::ClockFast,
        [3, 1],
        HURRY,
        &["PublishFailed"],
    ),
    fault(
        "an event is 10 minutes early",
        Kind::EventsEarly,
        [1, 1],
        PATIENCE,
        &["complete"],
    ),
    fault(
        "events are 10 minutes late",
        Kind::EventsLate,
        [3, 1],
        PATIENCE,
        &["complete"],
    ),
    fault(
        "the OTLP endpoint throttles",
        Kind::OtlpFails(OtlpFailure::Throttled),
        [3, 1],
        PATIENCE,
        &["Throttled"],
    ),
    fault(
        "the OTLP endpoint answers 503",
        Kind::OtlpFails(OtlpFailure::Unavailable),
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    fault(
        "the OTLP endpoint does not answer",
        Kind::OtlpFails(OtlpFailure::StoredButSilent),
        [3, 1],
        HURRY,
        &["OutOfTime"],
    ),
    fault(
        "the OTLP endpoint refuses everything",
        Kind::OtlpFails(OtlpFailure::Invalid),
        [3, 1],
        PATIENCE,
        &["PublishFailed"],
    ),
    fault(
        "an answer of the OTLP endpoint is lost",
        Kind::OtlpAnswerLost,
        [1, 1],
        PATIENCE,
        &["complete"],
    ),
    Fault {
        refuses: true,
        ..fault(
            "the OTLP endpoint rejects some samples",
            Kind::OtlpRejects,
            [3, 1],
            PATIENCE,
            &["complete"],
        )
    },
    Fault {
        doubles: true,
        ..fault(
            "the function is killed while it sends by OTLP",
            Kind::KilledSendingOtlp,
            [50, 5],
            PATIENCE,
            &["Runtime.ExitError", "complete"],
        )
    },
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
        refuses: false,
    }
}

/// How long the faults last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As long as it takes to be sure.
    Whole,
    /// As short as every test run can bear.
    Short,
}

impl Fault {
    /// How many runs it lasts.
    pub(crate) fn runs(&self, form: Form) -> u32 {
        self.runs[form as usize]
    }

    /// Whether a run may end like this.
    pub(crate) fn explains(&self, end: &str) -> bool {
        let is_hurried = self.time_limit == HURRY;
        self.ends.contains(&end) || is_hurried && HURRIED_ENDS.contains(&end)
    }
}
