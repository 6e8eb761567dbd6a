//! The watermark: what runs that failed or were missed leave to the next one.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use testkit::doubles::cloudwatch;
use testkit::doubles::dcgm_exporter::{Field, Node};
use testkit::doubles::faults::Fault;
use testkit::doubles::parameter_store::Failure;
use testkit::lambda::{Function, Outcome};
use testkit::pipeline::{Pipeline, WATERMARK, event, minute, rfc3339, scheduled};
use testkit::real::prometheus::{History, every};

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);

struct Setting {
    nodes: Vec<Node>,
    first: SystemTime,
    pipeline: Pipeline,
}

/// Two nodes' load in the minutes told, counted from the first.
async fn setting(minutes: &[u32]) -> Result<Setting> {
    let nodes = vec![Node::p5en(0), Node::p5en(1)];
    let first = minute(200);
    let times: Vec<SystemTime> = minutes
        .iter()
        .flat_map(|index| {
            every(
                SCRAPE,
                first + *index * MINUTE,
                first + (index + 1) * MINUTE,
            )
        })
        .collect();
    let pipeline = Pipeline::start(History::of(&nodes, &times)?).await?;
    Ok(Setting {
        nodes,
        first,
        pipeline,
    })
}

impl Setting {
    async fn function(&self, changes: &[(&str, &str)]) -> Result<Function> {
        self.pipeline.marking_function(changes).await
    }

    /// The run that is due when minute `index` has settled.
    async fn run(&self, function: &Function, index: u32) -> Result<Outcome> {
        function
            .invoke(scheduled(self.first + index * MINUTE)?)
            .await
    }

    fn mark(&self, minutes: u32) -> String {
        rfc3339(self.first + minutes * MINUTE)
    }

    /// The minutes CloudWatch holds samples of GPUs of, counted from the first, each with how
    /// often it holds all that were scraped.
    fn copies(&self) -> BTreeMap<u64, f64> {
        let scraped = (self.nodes.len() * 8 * 6 * 4) as f64;
        let mut copies = BTreeMap::new();
        let datums = self.pipeline.cloudwatch.datums();
        for datum in datums.iter().filter(|datum| datum.dimensions.len() == 2) {
            let time = Duration::from_millis(datum.timestamp_ms.unsigned_abs());
            let since = (SystemTime::UNIX_EPOCH + time).duration_since(self.first);
            let minute = since.unwrap_or_default().as_secs() / 60;
            let samples: f64 = datum.values.iter().map(|(_, count)| count).sum();
            *copies.entry(minute).or_default() += samples / scraped;
        }
        copies
            .iter()
            .map(|(minute, copies): (&u64, &f64)| (*minute, (copies * 1e9).round() / 1e9))
            .collect()
    }

    /// Holds that a run dealt with that many periods, and left the watermark after these minutes.
    #[track_caller]
    fn assert_reply(&self, reply: &Value, count: usize, minutes: u32) {
        let told = (periods(reply), &reply["watermark"]);
        assert_eq!(told, (count, &json!(self.mark(minutes))), "{reply}");
    }

    /// Holds that CloudWatch has each sample of these minutes once, and of no others.
    #[track_caller]
    fn assert_published_once(&self, minutes: impl IntoIterator<Item = u64>) {
        let once: BTreeMap<u64, f64> = minutes.into_iter().map(|minute| (minute, 1.0)).collect();
        assert_eq!(self.copies(), once);
    }
}

fn periods(reply: &Value) -> usize {
    reply["periods"].as_array().map_or(0, Vec::len)
}

#[tokio::test]
async fn each_run_goes_on_where_the_last_one_ended() -> Result<()> {
    let setting = setting(&[0, 1, 2, 3, 4, 5]).await?;
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    setting.assert_reply(&reply, 1, 1);
    let reply = setting.run(&function, 5).await?.reply()?;
    setting.assert_reply(&reply, 5, 6);
    assert_eq!(setting.pipeline.watermark(), Some(setting.mark(6)));
    setting.assert_published_once(0..6);
    Ok(())
}

#[tokio::test]
async fn a_duplicate_or_an_older_event_publishes_nothing_again() -> Result<()> {
    let setting = setting(&[0, 1, 2]).await?;
    let function = setting.function(&[]).await?;
    setting.run(&function, 0).await?.reply()?;
    setting.run(&function, 2).await?.reply()?;
    let before = setting.pipeline.cloudwatch.requests().len();
    for index in [2, 1, 0] {
        let reply = setting.run(&function, index).await?.reply()?;
        setting.assert_reply(&reply, 0, 3);
    }
    assert_eq!(setting.pipeline.cloudwatch.requests().len(), before);
    Ok(())
}

#[tokio::test]
async fn the_watermark_waits_for_data_that_comes_late() -> Result<()> {
    // Nothing in minutes 1 and 2, as while remote_write is down.
    let setting = setting(&[0, 3]).await?;
    let function = setting.function(&[]).await?;
    setting.run(&function, 0).await?.reply()?;
    let reply = setting.run(&function, 2).await?.reply()?;
    setting.assert_reply(&reply, 2, 1);
    assert_eq!(reply["lagSeconds"], 180);
    let reply = setting.run(&function, 3).await?.reply()?;
    setting.assert_reply(&reply, 3, 4);
    setting.assert_published_once([0, 3]);
    Ok(())
}

#[tokio::test]
async fn catch_up_is_bounded() -> Result<()> {
    let setting = setting(&(0..190).collect::<Vec<_>>()).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting
        .function(&[("MAX_CATCH_UP_SECONDS", "1800")])
        .await?;
    let reply = setting.run(&function, 189).await?.reply()?;
    assert_eq!((periods(&reply), &reply["complete"]), (30, &json!(true)));
    setting.assert_published_once(160..190);
    let gap = format!(
        "{} to {} is further back",
        setting.mark(0),
        setting.mark(160)
    );
    assert_eq!(
        function.log().matches(&gap).count(),
        1,
        "{}",
        function.log()
    );
    // One query for the newest sample, then a range of 1 period, of 4, 16 and the rest: four times six
    // queries, and one for what the rules say.
    assert_eq!(setting.pipeline.amp.requests().len(), 29);
    Ok(())
}

#[tokio::test]
async fn three_hours_missed_are_filled_in_by_one_run() -> Result<()> {
    let setting = setting(&(0..180).collect::<Vec<_>>()).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 179).await?.reply()?;
    setting.assert_reply(&reply, 180, 180);
    setting.assert_published_once(0..180);
    Ok(())
}

#[tokio::test]
async fn a_watermark_that_says_nothing_is_told_and_set_anew() -> Result<()> {
    let future = rfc3339(minute(0) + 10 * MINUTE);
    let rows = [
        (None, "no watermark yet"),
        (Some("never"), "is no RFC 3339 time"),
        (Some(future.as_str()), "lies in the future"),
    ];
    for (value, complaint) in rows {
        let setting = setting(&[0, 1]).await?;
        if let Some(value) = value {
            setting.pipeline.set_watermark(value);
        }
        let function = setting.function(&[]).await?;
        let reply = setting.run(&function, 1).await?.reply()?;
        setting.assert_reply(&reply, 1, 2);
        assert!(function.log().contains(complaint), "{}", function.log());
    }
    Ok(())
}

#[tokio::test]
async fn a_new_stack_s_watermark_is_no_complaint() -> Result<()> {
    let setting = setting(&[0]).await?;
    setting.pipeline.set_watermark("none");
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    setting.assert_reply(&reply, 1, 1);
    assert!(!function.log().contains("WARN"), "{}", function.log());
    Ok(())
}

/// CloudFormation writes the first value again when a tag of the stack changes.
#[tokio::test]
async fn a_watermark_that_is_reset_is_found_in_its_history() -> Result<()> {
    let setting = setting(&[0, 1, 2, 3]).await?;
    setting.pipeline.set_watermark("none");
    for version in 0..60 {
        let time = setting.first + Duration::from_secs(version);
        setting.pipeline.set_watermark(&rfc3339(time));
    }
    setting.pipeline.set_watermark(&setting.mark(1));
    setting.pipeline.set_watermark("none");
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 3).await?.reply()?;
    setting.assert_reply(&reply, 3, 4);
    setting.assert_published_once(1..4);
    Ok(())
}

#[tokio::test]
async fn a_history_that_cannot_be_read_stops_no_run() -> Result<()> {
    let setting = setting(&[0]).await?;
    setting.pipeline.set_watermark("none");
    let denied = Fault::Status(Failure::AccessDenied);
    let faults = setting.pipeline.parameters.faults();
    faults.inject("GetParameterHistory", 1, denied);
    let function = setting.function(&[]).await?;
    let reply = setting.run(&function, 0).await?.reply()?;
    setting.assert_reply(&reply, 1, 1);
    Ok(())
}

#[tokio::test]
async fn what_cloudwatch_no_longer_takes_is_skipped_and_told() -> Result<()> {
    let node = Node::p5en(0);
    let now = minute(2);
    let day = 24 * 60 * MINUTE;
    let mut history = History::new()?;
    for start in [
        now - 14 * day - 20 * MINUTE,
        now - 13 * day,
        now - 5 * MINUTE,
    ] {
        let times = every(SCRAPE, start, start + 5 * MINUTE);
        let nodes = std::slice::from_ref(&node);
        history.fleet(nodes, &Field::published(), &times, Node::load)?;
    }
    let setting = Setting {
        nodes: vec![node],
        first: now,
        pipeline: Pipeline::start(history).await?,
    };
    let sixteen_days = rfc3339(now - 16 * day);
    setting.pipeline.set_watermark(&sixteen_days);
    let all = [("MAX_CATCH_UP_SECONDS", "1209600")];
    let function = setting.function(&all).await?;
    let payload = scheduled(now - MINUTE)?;
    let reply = function.invoke(payload).await?.reply()?;
    assert_eq!(
        (&reply["complete"], &reply["watermark"], &reply["dropped"]),
        (&json!(true), &json!(rfc3339(now)), &json!({}))
    );
    let requests = setting.pipeline.cloudwatch.requests();
    assert_eq!(requests.len(), 10, "none is refused");
    let log = function.log();
    assert_eq!(
        log.matches(&format!("{sixteen_days} to ")).count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("WARN").count(), 1, "{log}");
    Ok(())
}

#[tokio::test]
async fn dry_runs_and_backfills_leave_the_watermark() -> Result<()> {
    let setting = setting(&[0, 1, 2]).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting.function(&[]).await?;
    let times = [("start", setting.mark(0)), ("end", setting.mark(2))];
    let reply = function.invoke(event("backfill", &times)?).await?.reply()?;
    assert_eq!((periods(&reply), &reply["watermark"]), (2, &Value::Null));
    function.invoke(event("dry-run", &[])?).await?.reply()?;
    assert_eq!(setting.pipeline.parameters.written(), Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn what_a_failed_run_missed_the_next_one_publishes_once() -> Result<()> {
    let setting = setting(&[0, 1, 2, 3]).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting.function(&[]).await?;
    // Minutes 0 and 1 arrive, minute 2 does not.
    let third = setting.first + 2 * MINUTE;
    let third = third.duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    let is_third =
        move |datum: &cloudwatch::Datum| u128::from(datum.timestamp_ms.unsigned_abs()) == third;
    setting
        .pipeline
        .cloudwatch
        .fail_when(is_third, cloudwatch::Failure::AccessDenied);
    let outcome = setting.run(&function, 3).await?;
    outcome.error()?;
    assert_eq!(setting.pipeline.watermark(), Some(setting.mark(2)));
    setting.pipeline.cloudwatch.recover();
    let reply = setting.run(&function, 3).await?.reply()?;
    setting.assert_reply(&reply, 2, 4);
    setting.assert_published_once(0..4);
    Ok(())
}

#[tokio::test]
async fn parameter_store_down_at_the_start_publishes_nothing() -> Result<()> {
    let setting = setting(&[0, 1]).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting.function(&[]).await?;
    let rows = [
        (
            1,
            Failure::AccessDenied,
            "AccessDenied",
            "ssm:GetParameter on parameter",
        ),
        (5, Failure::Throttling, "Throttled", "SSM"),
        (5, Failure::InternalServerError, "PublishFailed", WATERMARK),
    ];
    for (times, failure, expected, part) in rows {
        let faults = setting.pipeline.parameters.faults();
        faults.clear();
        faults.inject("GetParameter", times, Fault::Status(failure));
        let outcome = setting.run(&function, 0).await?;
        let (error_type, message) = outcome.error().with_context(|| format!("{failure:?}"))?;
        assert_eq!(error_type, expected, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(setting.pipeline.cloudwatch.requests(), []);
    setting.run(&function, 1).await?.reply()?;
    setting.assert_published_once([0, 1]);
    Ok(())
}

#[tokio::test]
async fn parameter_store_down_at_the_end_publishes_nothing_twice() -> Result<()> {
    let rows = [
        (
            Fault::Status(Failure::AccessDenied),
            "AccessDenied",
            "ssm:PutParameter on parameter",
        ),
        (Fault::Hang, "OutOfTime", "the watermark is not saved"),
    ];
    for (fault, expected, part) in rows {
        let setting = setting(&[0, 1, 2]).await?;
        setting.pipeline.set_watermark(&setting.mark(0));
        let function = setting.function(&[]).await?;
        setting
            .pipeline
            .parameters
            .faults()
            .inject("PutParameter", 1, fault);
        let payload = scheduled(setting.first)?;
        let outcome = function
            .invoke_with_timeout(payload, Duration::from_secs(6))
            .await?;
        let (error_type, message) = outcome.error().with_context(|| format!("{fault:?}"))?;
        assert_eq!(error_type, expected, "{message}");
        assert!(message.contains(part), "{message}");
        assert_eq!(setting.pipeline.watermark(), Some(setting.mark(0)));
        // The process is warm: it knows what Parameter Store does not.
        setting.run(&function, 2).await?.reply()?;
        assert_eq!(setting.pipeline.watermark(), Some(setting.mark(3)));
        setting.assert_published_once(0..3);
    }
    Ok(())
}

#[tokio::test]
async fn a_run_that_runs_out_of_time_says_how_far_it_came() -> Result<()> {
    let setting = setting(&(0..180).collect::<Vec<_>>()).await?;
    setting.pipeline.set_watermark(&setting.mark(0));
    let function = setting.function(&[]).await?;
    setting
        .pipeline
        .cloudwatch
        .set_delay(Duration::from_millis(150));
    let payload = scheduled(setting.first + 179 * MINUTE)?;
    let outcome = function
        .invoke_with_timeout(payload, Duration::from_secs(8))
        .await?;
    let reply = outcome.reply()?;
    assert_eq!(reply["complete"], false);
    let done = periods(&reply);
    assert!((1..180).contains(&done), "{done} periods");
    assert_eq!(
        setting.pipeline.watermark(),
        reply["watermark"].as_str().map(str::to_owned)
    );
    setting.pipeline.cloudwatch.set_delay(Duration::ZERO);
    let reply = setting.run(&function, 179).await?.reply()?;
    assert_eq!(
        (periods(&reply), &reply["complete"]),
        (180 - done, &json!(true))
    );
    setting.assert_published_once(0..180);
    Ok(())
}
