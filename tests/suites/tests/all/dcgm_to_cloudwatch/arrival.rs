//! Samples that reach AMP late: each is published once, or counted and told.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use testkit::doubles::dcgm_exporter::{Field, MigInstance, Node};
use testkit::lambda::Function;
use testkit::oracle::{Oracle, Tally, published};
use testkit::pipeline::{Pipeline, minute, rfc3339, scheduled};
use testkit::real::prometheus::every;
use testkit::real::remote_write::Request;

const SCRAPE: Duration = Duration::from_secs(15);
const MINUTE: Duration = Duration::from_secs(60);

/// A cluster whose samples arrive as the test says, and whose minutes go by as fast as they are run.
struct World {
    pipeline: Pipeline,
    first: SystemTime,
    fields: Vec<Field>,
}

impl World {
    async fn new() -> Result<Self> {
        let world = Self {
            pipeline: Pipeline::receiving().await?,
            first: minute(50),
            fields: Field::published().to_vec(),
        };
        world.pipeline.set_watermark(&rfc3339(world.first));
        Ok(world)
    }

    async fn function(&self) -> Result<Function> {
        self.pipeline.marking_function(&[]).await
    }

    fn at(&self, minutes: f64) -> SystemTime {
        self.first + MINUTE.mul_f64(minutes)
    }

    /// These nodes' samples between two minutes arrive.
    async fn arrive(&self, nodes: &[Node], from: f64, to: f64) -> Result<()> {
        let mut request = Request::default();
        let times = every(SCRAPE, self.at(from), self.at(to));
        for node in nodes {
            request.load(node, &self.fields, &times);
        }
        let sent = request.send(&self.pipeline.prometheus.url()).await;
        sent.with_context(|| format!("{from} to {to}"))
    }

    /// The run whose newest minute is that one.
    async fn run(&self, function: &Function, minute: u32) -> Result<Value> {
        let payload = scheduled(self.first + minute * MINUTE)?;
        function.invoke(payload).await?.reply()
    }

    /// What CloudWatch holds of the first so many minutes, against what AMP holds.
    async fn tally(&self, minutes: u32) -> Result<Tally> {
        let span = self.first..self.first + minutes * MINUTE;
        let mut oracle = Oracle::new(span, MINUTE);
        oracle.add_stored(&self.pipeline.prometheus.url()).await?;
        let found = published(&self.pipeline.cloudwatch.datums());
        Ok(Tally::of(&oracle.expected(), &found))
    }

    async fn assert_every_sample_once(&self, minutes: u32) -> Result<()> {
        let tally = self.tally(minutes).await?;
        assert!(tally.expected > 0);
        let whole = Tally {
            found: tally.expected,
            expected: tally.expected,
            ..Tally::default()
        };
        assert_eq!(tally, whole);
        Ok(())
    }
}

/// A node whose GPUs are all in MIG instances: DCGM has no utilisation of those.
fn sliced(index: u32) -> Node {
    let slices = (0..8).map(|gpu| {
        let profile = "1g.18gb".to_owned();
        (gpu, MigInstance { profile, id: 1 })
    });
    Node {
        mig: slices.collect(),
        ..Node::p5en(index)
    }
}

#[tokio::test]
async fn a_backlog_waits_whichever_field_is_missing() -> Result<()> {
    for missing in ["DCGM_FI_DEV_GPU_UTIL", "DCGM_FI_DEV_FB_FREE"] {
        let mut world = World::new().await?;
        world.fields.retain(|field| field.name != missing);
        let nodes = [sliced(0), Node::p5en(1)];
        let function = world.function().await?;
        // Half of the backlog is in, and ends in the middle of a minute.
        world.arrive(&nodes, 0.0, 14.5).await?;
        let reply = world.run(&function, 29).await?;
        assert_eq!(reply["watermark"], rfc3339(world.at(13.0)), "{missing}");
        world.arrive(&nodes, 14.5, 33.0).await?;
        let reply = world.run(&function, 29).await?;
        assert_eq!(reply["watermark"], rfc3339(world.at(30.0)), "{missing}");
        world.assert_every_sample_once(30).await?;
    }
    Ok(())
}

/// Prometheus sends by several shards, each with its own series and at its own pace.
#[tokio::test]
async fn a_field_that_is_behind_the_others_is_waited_for() -> Result<()> {
    let mut world = World::new().await?;
    let node = [Node::p5en(0)];
    let (fast, slow) = (world.fields[..5].to_vec(), world.fields[5..].to_vec());
    let function = world.function().await?;
    for minute in 2..8 {
        let now = f64::from(minute) + 2.0;
        world.fields = fast.clone();
        world.arrive(&node, now - 1.0, now).await?;
        world.fields = slow.clone();
        world.arrive(&node, now - 4.0, now - 3.0).await?;
        let reply = world.run(&function, minute).await?;
        // As far as samples 60 s younger have come.
        let whole = (now - 5.0).max(0.0);
        assert_eq!(reply["watermark"], rfc3339(world.at(whole)), "{reply}");
    }
    Ok(())
}

#[tokio::test]
async fn a_writer_minutes_behind_the_other_loses_nothing() -> Result<()> {
    try_join_all([1.5, 2.0, 3.0, 7.0].map(lose_nothing_to_a_writer_behind)).await?;
    Ok(())
}

async fn lose_nothing_to_a_writer_behind(minutes: f64) -> Result<()> {
    let world = World::new().await?;
    let (on_time, late) = ([Node::p5en(0), Node::p5en(1)], [Node::p5en(2)]);
    world.arrive(&on_time, 0.0, 1.0).await?;
    world.arrive(&late, 0.0, 2.0).await?;
    for minute in 0..16 {
        let now = f64::from(minute) + 2.0;
        world.arrive(&on_time, now - 1.0, now).await?;
        if now - minutes > 2.0 {
            let from = (now - minutes - 1.0).max(2.0);
            world.arrive(&late, from, now - minutes).await?;
        }
        // Each run is a new process: nothing is remembered but in the parameter.
        let function = world.function().await?;
        world.run(&function, minute).await?;
    }
    world.arrive(&late, 17.0 - minutes, 18.0).await?;
    let function = world.function().await?;
    let reply = world.run(&function, 15).await?;
    assert_eq!(reply["watermark"], rfc3339(world.at(16.0)), "{minutes} min");
    world.assert_every_sample_once(16).await
}

#[tokio::test]
async fn samples_too_late_to_wait_for_are_counted_and_told() -> Result<()> {
    let world = World::new().await?;
    let (on_time, late) = ([Node::p5en(0), Node::p5en(1)], [Node::p5en(2)]);
    let function = world.function().await?;
    world.arrive(&on_time, 0.0, 1.0).await?;
    let mut told = 0;
    for minute in 0..40 {
        let now = f64::from(minute) + 2.0;
        world.arrive(&on_time, now - 1.0, now).await?;
        if now > 12.0 {
            world.arrive(&late, now - 13.0, now - 12.0).await?;
        }
        let reply = world.run(&function, minute).await?;
        assert_eq!(reply["watermark"], rfc3339(world.at(now - 1.0)), "{reply}");
        told += reply["dropped"]["late"].as_u64().unwrap_or_default();
    }
    // The minutes that were audited by then, 15 minutes after their end and five at a time.
    assert_eq!(told, 25 * 4 * 8 * 6);
    let log = function.log();
    assert_eq!(log.matches("raise SETTLE_SECONDS").count(), 5, "{log}");
    let lost = world.tally(25).await?.lost();
    // Each lacks twice, of its GPU and of the cluster; and GPUsReporting is as many as reported.
    assert_eq!(lost, 2 * told + 25);
    Ok(())
}

#[tokio::test]
async fn a_node_that_is_switched_off_holds_nobody_up() -> Result<()> {
    let world = World::new().await?;
    let (stays, goes) = ([Node::p5en(0)], [Node::p5en(1)]);
    let function = world.function().await?;
    world.arrive(&stays, 0.0, 1.0).await?;
    world.arrive(&goes, 0.0, 1.0).await?;
    for minute in 0..6 {
        let now = f64::from(minute) + 2.0;
        world.arrive(&stays, now - 1.0, now).await?;
        if minute < 2 {
            world.arrive(&goes, now - 1.0, now).await?;
        } else if minute == 2 {
            let mut end = Request::default();
            end.end(&goes[0], &world.fields, world.at(3.25));
            end.send(&world.pipeline.prometheus.url()).await?;
        }
        let reply = world.run(&function, minute).await?;
        assert_eq!(reply["watermark"], rfc3339(world.at(now - 1.0)), "{reply}");
    }
    world.assert_every_sample_once(6).await
}

#[tokio::test]
async fn a_writer_that_dies_holds_the_other_up_for_minutes_only() -> Result<()> {
    let world = World::new().await?;
    let (stays, dies) = ([Node::p5en(0)], [Node::p5en(1)]);
    let function = world.function().await?;
    world.arrive(&dies, 0.0, 3.25).await?;
    world.arrive(&stays, 0.0, 1.0).await?;
    let mut longest = 0.0_f64;
    for minute in 0..20 {
        let now = f64::from(minute) + 2.0;
        world.arrive(&stays, now - 1.0, now).await?;
        let reply = world.run(&function, minute).await?;
        longest = longest.max(reply["lagSeconds"].as_f64().unwrap_or_default());
        if minute == 5 {
            let log = function.log();
            let name = &dies[0].instance_id;
            let told = format!("wait for late samples of {name}");
            assert!(log.contains(&told), "{log}");
        }
        if minute > 15 {
            assert_eq!(reply["lagSeconds"], 60, "{reply}");
        }
    }
    assert!((600.0..=900.0).contains(&longest), "{longest} s");
    world.assert_every_sample_once(20).await
}

#[tokio::test]
async fn nodes_asleep_while_the_schedule_runs_are_no_gap() -> Result<()> {
    let world = World::new().await?;
    let bound = [("MAX_CATCH_UP_SECONDS", "600")];
    world.arrive(&[Node::p5en(0)], 0.0, 2.0).await?;
    let mut log = String::new();
    let mut reply = json!(null);
    for minute in 0..40 {
        if minute == 38 {
            world.arrive(&[Node::p5en(0)], 38.0, 41.0).await?;
        }
        // A new process now and then, as Lambda has it.
        let function = world.pipeline.marking_function(&bound).await?;
        reply = world.run(&function, minute).await?;
        log += &function.log();
    }
    assert_eq!(reply["watermark"], rfc3339(world.at(40.0)));
    assert!(!log.contains("WARN"), "{log}");

    // Then the schedule stops for a quarter of an hour: what no run can look at any more is told.
    world.pipeline.set_watermark(&rfc3339(world.at(20.0)));
    let function = world.pipeline.marking_function(&bound).await?;
    for _ in 0..2 {
        world.run(&function, 39).await?;
    }
    let gap = format!("{} to {}", rfc3339(world.at(20.0)), rfc3339(world.at(30.0)));
    let log = function.log();
    assert_eq!(log.matches(&gap).count(), 1, "{log}");
    Ok(())
}
