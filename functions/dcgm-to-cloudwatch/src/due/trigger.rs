//! What an event asks for, and what time is "now".

use aws_lambda_events::eventbridge::EventBridgeEvent;
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::period::{Cadence, MAX_PERIODS, Periods};

/// CloudWatch takes nothing that an older event asks for.
const MAX_AGE: TimeDelta = TimeDelta::days(14);
const MAX_BACKFILL: TimeDelta = TimeDelta::hours(24);
/// EventBridge Scheduler replaces this keyword by the time. An EventBridge rule with the same input does
/// not, nor do emulators of AWS.
const UNFILLED_TIME: &str = "<aws.scheduler.scheduled-time>";

const ACCEPTED: &str = r#"accepted are an EventBridge event, no payload, {}, {"start":"<RFC 3339>","end":"<RFC 3339>"}, and with the last three "dryRun":true"#;

/// What started a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// By EventBridge.
    Scheduled,
    /// By hand.
    Manual,
    /// By hand, for given periods.
    Backfill,
}

/// What an event asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    /// What started the run.
    pub(crate) mode: Mode,
    /// Compute and report, but publish nothing.
    pub(crate) dry_run: bool,
    /// The time that counts as "now", in seconds since the epoch.
    pub(crate) now: i64,
    /// The periods a backfill names.
    pub(crate) backfill: Option<Periods>,
}

/// The payload has none of the accepted forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}; {ACCEPTED}")]
pub(crate) struct InvalidEvent(String);

/// A run by hand.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ByHand {
    start: Option<Value>,
    end: Option<Value>,
    dry_run: Option<Value>,
}

impl Trigger {
    /// Reads a payload that arrived at `clock`. Periods before `oldest`, in seconds since the epoch, can
    /// no longer be published.
    ///
    /// # Errors
    /// Names the field that is wrong, and the accepted forms.
    pub(crate) fn read(
        payload: Value,
        clock: DateTime<Utc>,
        oldest: i64,
        cadence: &Cadence,
    ) -> Result<Self, InvalidEvent> {
        let is_scheduled = ["detail-type", "source", "time"]
            .iter()
            .any(|key| payload.get(key).is_some());
        if is_scheduled {
            scheduled(payload, clock)
        } else {
            by_hand(payload, clock, oldest, cadence)
        }
    }
}

fn scheduled(mut payload: Value, clock: DateTime<Utc>) -> Result<Trigger, InvalidEvent> {
    if payload["time"] == UNFILLED_TIME {
        payload["time"] = clock.to_rfc3339().into();
    }
    let event: EventBridgeEvent<Value> = serde_json::from_value(payload)
        .map_err(|error| InvalidEvent(format!("not an EventBridge event: {error}")))?;
    let time = event
        .time
        .ok_or_else(|| InvalidEvent("the EventBridge event has no time".to_owned()))?;
    if time < clock - MAX_AGE {
        return Err(InvalidEvent(format!("time {time} is over 14 days ago")));
    }
    Ok(Trigger {
        mode: Mode::Scheduled,
        dry_run: false,
        now: time.timestamp(),
        backfill: None,
    })
}

fn by_hand(
    payload: Value,
    clock: DateTime<Utc>,
    oldest: i64,
    cadence: &Cadence,
) -> Result<Trigger, InvalidEvent> {
    let ByHand {
        start,
        end,
        dry_run,
    } = match payload {
        Value::Null => ByHand::default(),
        Value::Object(_) => {
            serde_json::from_value(payload).map_err(|error| InvalidEvent(error.to_string()))?
        }
        other => {
            return Err(InvalidEvent(format!(
                "the payload {other} is no JSON object"
            )));
        }
    };
    let dry_run = match dry_run {
        None => false,
        Some(Value::Bool(dry_run)) => dry_run,
        Some(other) => return Err(InvalidEvent(format!("dryRun {other} is not true or false"))),
    };
    let now = clock.timestamp();
    let (start, end) = match (start, end) {
        (None, None) => {
            return Ok(Trigger {
                mode: Mode::Manual,
                dry_run,
                now,
                backfill: None,
            });
        }
        (Some(start), Some(end)) => (time("start", &start)?, time("end", &end)?),
        (None, Some(_)) => return Err(InvalidEvent("start is missing beside end".to_owned())),
        (Some(_), None) => return Err(InvalidEvent("end is missing beside start".to_owned())),
    };
    let periods = cadence.covering(start, end);
    let refused = if start >= end {
        Some("start is not before end".to_owned())
    } else if end - start > MAX_BACKFILL.num_seconds() {
        Some("from start to end it is over 24 h; ask for the days one by one".to_owned())
    } else if periods.len() > MAX_PERIODS {
        let count = periods.len();
        Some(format!(
            "from start to end there are {count} periods, and a reply has room for {MAX_PERIODS}; ask \
             for a part of them"
        ))
    } else if periods.start < oldest {
        let why = "start is over 14 days ago, less the 15 minutes that a run may take: CloudWatch \
                   takes nothing older";
        Some(why.to_owned())
    } else if periods.end > now {
        Some("end falls into a period that is not over yet".to_owned())
    } else {
        None
    };
    match refused {
        Some(why) => Err(InvalidEvent(why)),
        None => Ok(Trigger {
            mode: Mode::Backfill,
            dry_run,
            now,
            backfill: Some(periods),
        }),
    }
}

fn time(field: &str, value: &Value) -> Result<i64, InvalidEvent> {
    value
        .as_str()
        .and_then(|text| DateTime::parse_from_rfc3339(text).ok())
        .map(|time| time.timestamp())
        .ok_or_else(|| {
            let example = "2026-11-22T10:00:00Z";
            InvalidEvent(format!(
                "{field} {value} is no RFC 3339 time such as \"{example}\""
            ))
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CADENCE: Cadence = Cadence {
        period_seconds: 60,
        settle_seconds: 60,
        max_catch_up_seconds: 10_800,
    };

    fn clock() -> DateTime<Utc> {
        "2026-11-22T10:00:30Z".parse().unwrap()
    }

    fn oldest() -> i64 {
        clock().timestamp() - 14 * 86_400 + 900
    }

    fn read(payload: Value) -> Result<Trigger, String> {
        Trigger::read(payload, clock(), oldest(), &CADENCE).map_err(|error| error.to_string())
    }

    fn seconds(time: &str) -> i64 {
        time.parse::<DateTime<Utc>>().unwrap().timestamp()
    }

    #[test]
    fn a_rule_s_and_a_scheduler_s_event_stand_for_their_own_time() {
        for detail in [json!({}), json!("{}")] {
            let event = json!({
                "version": "0", "id": "1", "detail-type": "Scheduled Event",
                "source": "aws.scheduler", "account": "123456789012",
                "time": "2026-11-22T09:58:00Z", "region": "us-east-2",
                "resources": ["arn:aws:scheduler:us-east-2:123456789012:schedule/default/x"],
                "detail": detail,
            });
            assert_eq!(
                read(event),
                Ok(Trigger {
                    mode: Mode::Scheduled,
                    dry_run: false,
                    now: seconds("2026-11-22T09:58:00Z"),
                    backfill: None,
                })
            );
        }
    }

    #[test]
    fn an_event_whose_time_nobody_filled_in_stands_for_the_time_it_arrived() {
        let event = json!({
            "source": "aws.scheduler", "detail-type": "Scheduled Event",
            "time": "<aws.scheduler.scheduled-time>", "detail": {},
        });
        let trigger = read(event).unwrap();
        assert_eq!(
            (trigger.mode, trigger.now),
            (Mode::Scheduled, clock().timestamp())
        );
    }

    #[test]
    fn a_run_by_hand_stands_for_the_time_it_arrived() {
        for (payload, dry_run) in [
            (json!(null), false),
            (json!({}), false),
            (json!({"dryRun": true}), true),
        ] {
            let now = clock().timestamp();
            assert_eq!(
                read(payload),
                Ok(Trigger {
                    mode: Mode::Manual,
                    dry_run,
                    now,
                    backfill: None
                })
            );
        }
    }

    #[test]
    fn a_backfill_names_whole_periods() {
        let trigger = read(json!({
            "start": "2026-11-22T09:00:30+00:00", "end": "2026-11-22T11:01:30+02:00", "dryRun": true,
        }))
        .unwrap();
        let periods = Periods {
            start: seconds("2026-11-22T09:00:00Z"),
            end: seconds("2026-11-22T09:02:00Z"),
            length: 60,
        };
        assert_eq!((trigger.mode, trigger.dry_run), (Mode::Backfill, true));
        assert_eq!(trigger.backfill, Some(periods));
    }

    #[test]
    fn a_backfill_of_more_periods_than_a_reply_can_tell_of_is_refused() {
        let seconds = Cadence {
            period_seconds: 1,
            ..CADENCE
        };
        let payload = json!({"start": "2026-11-21T12:00:00Z", "end": "2026-11-22T00:00:00Z"});
        let error = Trigger::read(payload, clock(), oldest(), &seconds)
            .unwrap_err()
            .to_string();
        assert!(error.contains("43200 periods"), "{error}");
    }

    #[test]
    fn anything_else_is_refused_by_the_field_that_is_wrong() {
        let rows = [
            (
                json!({"start": "yesterday", "end": "today"}),
                "start \"yesterday\" is no RFC 3339",
            ),
            (json!({"start": "2026-11-22T09:00:00Z"}), "end is missing"),
            (json!({"end": "2026-11-22T09:00:00Z"}), "start is missing"),
            (json!({"start": 1, "end": 2}), "start 1 is no RFC 3339"),
            (
                json!({"strat": "2026-11-22T09:00:00Z"}),
                "unknown field `strat`",
            ),
            (
                json!({"dryRun": "yes"}),
                "dryRun \"yes\" is not true or false",
            ),
            (json!([null, null, true]), "no JSON object"),
            (json!("hello"), "no JSON object"),
            (
                json!({"source": "aws.events", "detail-type": "x", "detail": {}}),
                "has no time",
            ),
            (
                json!({"time": "2026-11-22T09:00:00Z"}),
                "not an EventBridge event",
            ),
            (
                json!({"source": "a", "detail-type": "x", "detail": {}, "time": "soon"}),
                "EventBridge",
            ),
            (
                json!({"source": "a", "detail-type": "x", "detail": {}, "time": "2026-11-01T00:00:00Z"}),
                "over 14 days ago",
            ),
            (
                json!({"start": "2026-11-07T09:00:00Z", "end": "2026-11-07T09:01:00Z"}),
                "start is over 14 days ago",
            ),
            (
                json!({"start": "2026-11-20T09:00:00Z", "end": "2026-11-21T09:00:01Z"}),
                "over 24 h",
            ),
            (
                json!({"start": "2026-11-22T09:00:00Z", "end": "2026-11-22T09:00:00Z"}),
                "start is not before end",
            ),
            (
                json!({"start": "2026-11-22T09:59:00Z", "end": "2026-11-22T10:00:10Z"}),
                "not over yet",
            ),
        ];
        for (payload, part) in rows {
            let error = read(payload.clone()).unwrap_err();
            assert!(error.contains(part), "{payload}: {error}");
            assert!(error.contains("accepted are"), "{payload}: {error}");
        }
    }
}
