//! A queue that gets what programs are told of GPUs, as an operator would subscribe one to the topic.

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::real::ministack::MiniStack;

/// The queue's name.
pub const QUEUE: &str = "gpu-events";

/// A queue in the account.
#[derive(Clone, Debug)]
pub struct Events {
    url: String,
    topic: String,
    arn: String,
}

impl Events {
    /// Makes the queue and subscribes it to the topic.
    ///
    /// # Errors
    /// The CLI's own words.
    pub async fn subscribe(ministack: &MiniStack, topic: &str) -> Result<Self> {
        let queue = sqs(ministack, &["create-queue", "--queue-name", QUEUE]).await?;
        let url = text(&queue["QueueUrl"])?;
        let arn = ["--attribute-names", "QueueArn", "--queue-url", &url];
        let arn = sqs(ministack, &[&["get-queue-attributes"][..], &arn].concat()).await?;
        let arn = text(&arn["Attributes"]["QueueArn"])?;
        let topic = topic.to_owned();
        let events = Self { url, topic, arn };
        ministack.aws(&events.subscription()).await?;
        Ok(events)
    }

    /// The arguments of `aws` that subscribed it.
    pub fn subscription(&self) -> Vec<&str> {
        let topic = ["sns", "subscribe", "--topic-arn", &self.topic];
        let queue = ["--protocol", "sqs", "--notification-endpoint", &self.arn];
        [topic, queue].concat()
    }

    /// The arguments of `aws` that receive from it.
    pub fn reception(&self) -> Vec<&str> {
        let receive = ["sqs", "receive-message", "--max-number-of-messages", "10"];
        let wait = ["--wait-time-seconds", "2", "--queue-url", &self.url];
        [&receive[..], &wait].concat()
    }

    /// What has arrived within two seconds, each of them once.
    ///
    /// # Errors
    /// A message is not of SNS, or holds no JSON; or the CLI's own words.
    pub async fn receive(&self, ministack: &MiniStack) -> Result<Vec<Value>> {
        let answer = sqs(ministack, &self.reception()[1..]).await?;
        let (mut events, mut entries) = (Vec::new(), Vec::new());
        for message in answer["Messages"].as_array().into_iter().flatten() {
            let body: Value = serde_json::from_str(&text(&message["Body"])?)?;
            let event = text(&body["Message"])?;
            events.push(serde_json::from_str(&event).with_context(|| event.clone())?);
            entries.push(
                json!({"Id": message["MessageId"], "ReceiptHandle": message["ReceiptHandle"]}),
            );
        }
        if !entries.is_empty() {
            let entries = Value::from(entries).to_string();
            let delete = ["delete-message-batch", "--queue-url", &self.url];
            let deleted = sqs(ministack, &[&delete[..], &["--entries", &entries]].concat()).await?;
            ensure!(
                deleted["Failed"].as_array().is_none_or(Vec::is_empty),
                "{deleted}"
            );
        }
        Ok(events)
    }
}

/// The AWS CLI takes this service's address from its command line only.
async fn sqs(ministack: &MiniStack, words: &[&str]) -> Result<Value> {
    let url = ministack.url();
    let service = ["sqs", "--endpoint-url", &url];
    ministack.aws(&[&service[..], words].concat()).await
}

fn text(answer: &Value) -> Result<String> {
    answer.as_str().context("a text").map(str::to_owned)
}
