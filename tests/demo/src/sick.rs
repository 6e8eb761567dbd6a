//! A GPU falls ill and recovers: from its exporter by way of the rules and Alert Manager to a queue.

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;
use testkit::doubles::dcgm_exporter::{DcgmExporter, Field};
use testkit::real::alertmanager::Alertmanager;
use testkit::real::events::{Events, QUEUE};
use testkit::real::ministack::MiniStack;
use testkit::real::rules::SPEED;
use testkit::world::{STACK, World};
use tokio::time::{Duration, Instant};

use crate::{aws, screen::Screen};

/// Not that of the broken sensor, as a reboot mends all of a node.
const NODE: usize = 0;
const GPU: u32 = 3;

/// A GPU that has fallen off the bus.
const XID: &str = "79";

/// Only a failure takes so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whether the queue got one event of the fault, and one of its end.
pub(crate) async fn tell(world: &World, screen: &Screen) -> anyhow::Result<bool> {
    let (account, ministack) = (&world.account, &world.account.ministack);
    screen.heading("A GPU falls ill, and recovers")?;
    screen.note(format!(
        "A real Alertmanager, started as the stack's output says; it and the rules are {SPEED} times as fast"
    ))?;
    let command = account.output(STACK, "AlertManagerDefinition").await?;
    let words: Vec<_> = command.split(' ').collect();
    let ["python3", script, arguments @ ..] = &words[..] else {
        bail!("the output AlertManagerDefinition is no command: {command}");
    };
    screen.command(&aws::typed("python3", &words[1..]))?;
    let definition = account.script(script, arguments).await?;
    let (sns, credentials) = (ministack.url(), MiniStack::credentials());
    let alertmanager = Alertmanager::start(&definition, &sns, &credentials, SPEED).await?;
    world.prometheus.send_alerts_to(&alertmanager.address())?;
    let topic = account.output(STACK, "GpuEventsTopicArn").await?;
    let create = ["sqs", "create-queue", "--queue-name", QUEUE];
    screen.command(&aws::typed("aws", &create))?;
    let events = Events::subscribe(ministack, &topic).await?;
    screen.command(&aws::typed("aws", &events.subscription()))?;

    let node = &world.nodes[NODE];
    fall_ill(node)?;
    let who = format!("GPU {GPU} of {}", node.node().instance_id);
    screen.say("")?;
    screen.say(format!("  {who} reports XID {XID}"))?;
    screen.command(&aws::typed("aws", &events.reception()))?;
    let firing = next(world, &events, &alertmanager, screen).await?;

    node.reboot();
    screen.say("")?;
    screen.say(format!("  {} is rebooted", node.node().instance_id))?;
    screen.command(&aws::typed("aws", &events.reception()))?;
    let resolved = next(world, &events, &alertmanager, screen).await?;

    screen.say("")?;
    let id = node.node().instance_id.as_str();
    let agrees = [(&firing, "firing"), (&resolved, "resolved")]
        .into_iter()
        .all(|(event, state)| is_of(event, id, state));
    let text = format!("{who} by name, to be rebooted; and its all-clear");
    screen.verdict(agrees, "GPU events", text)?;
    Ok(agrees)
}

fn fall_ill(node: &DcgmExporter) -> anyhow::Result<()> {
    let field = Field::named("DCGM_FI_DEV_XID_ERRORS").context("a field of every exporter")?;
    let labels = format!(r#"err_code="{XID}",err_msg="GPU has fallen off the bus""#);
    node.print_labelled(field, GPU, &labels, XID);
    Ok(())
}

/// The next event, shown as it arrived.
async fn next(
    world: &World,
    events: &Events,
    alertmanager: &Alertmanager,
    screen: &Screen,
) -> anyhow::Result<Value> {
    let began = Instant::now();
    loop {
        let log = || alertmanager.log();
        ensure!(began.elapsed() < PATIENCE, "no event: {}", log());
        let arrived = events.receive(&world.account.ministack).await?;
        if let Some(event) = arrived.into_iter().next() {
            screen.block(&serde_json::to_string_pretty(&event)?)?;
            return Ok(event);
        }
        let seconds = began.elapsed().as_secs();
        screen.progress(
            (seconds / 5) as i64,
            &format!("{seconds:>2} s, no event yet"),
        )?;
    }
}

fn is_of(event: &Value, instance_id: &str, state: &str) -> bool {
    let gpu = GPU.to_string();
    let expected = [
        ("instanceId", instance_id),
        ("gpu", &gpu),
        ("state", state),
        ("reason", &format!("XID {XID}")),
        ("action", "reboot_node"),
    ];
    expected.iter().all(|(key, value)| event[key] == **value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_event_of_another_gpu_is_not_the_one() {
        let mut event = json!({
            "instanceId": "i-1", "gpu": "3", "state": "firing", "reason": "XID 79", "action": "reboot_node",
        });
        assert!(is_of(&event, "i-1", "firing"));
        assert!(!is_of(&event, "i-1", "resolved"));
        event["gpu"] = json!("4");
        assert!(!is_of(&event, "i-1", "firing"));
    }
}
