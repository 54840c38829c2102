//! Events at a steady rate, on either bus; those that were accepted, by number.

use std::time::Duration;

use lapin::options::{BasicPublishOptions, ExchangeDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, ExchangeKind};
use serde_json::{Value, json};
use tests::Broker;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::books::now_us;
use crate::host::Host;

/// Events go out in groups, this often.
const TICK: Duration = Duration::from_millis(10);

/// One event in so many is one on which every other file fails.
const FAILING: u64 = 100;

fn event(account: &str, n: u64, failing: bool) -> Value {
    let mut event = json!({
        "Event-Category": "versioned", "Event-Name": "any", "Msg-ID": format!("soak-{n}"), "Account-ID": account,
        "N": [n, now_us()],
    });
    if failing && n.is_multiple_of(FAILING) {
        event["Do"] = "panic in odd versions".into();
    }
    event
}

/// Whose numbers an event has, where several send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EventLane {
    /// Counted from 0.
    pub(crate) nth: u64,
    /// Of so many.
    pub(crate) of: u64,
    /// What was posted over a connection that was lost is posted again: the host was stopped for longer than it waits for
    /// a client.
    pub(crate) posts_again: bool,
    /// Whether there are events among them on which every other file fails.
    pub(crate) failing: bool,
}

impl EventLane {
    /// All numbers.
    pub(crate) const ONLY: EventLane = EventLane { nth: 0, of: 1, posts_again: false, failing: false };
}

/// Sends until `stop`; the numbers of what was accepted.
pub(crate) async fn send(
    host: &Host,
    account: &str,
    bus: &str,
    rate: u64,
    lane: EventLane,
    stop: &CancellationToken,
) -> anyhow::Result<Vec<u64>> {
    let group = (rate * TICK.as_millis() as u64 / 1000).max(1);
    let mut tick = interval(Duration::from_secs(group) / u32::try_from(rate.max(1))?);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut accepted = Vec::new();
    let mut next = 1_u64;
    let channel = match bus {
        "amqp" => Some(Broker::shared().channel().await),
        _ => None,
    };
    if let Some(channel) = &channel {
        let options = ExchangeDeclareOptions::default();
        channel.exchange_declare("tests".into(), ExchangeKind::Topic, options, FieldTable::default()).await?;
    }
    while !stop.is_cancelled() {
        tick.tick().await;
        let numbers: Vec<u64> = (next..next + group).map(|n| n * lane.of + lane.nth).collect();
        next += group;
        match &channel {
            None => {
                let events: Vec<Value> = numbers.iter().map(|n| event(account, *n, lane.failing)).collect();
                let mut answer = host.ask("POST", "/events", Some(events.clone().into())).await;
                while answer.is_err() && lane.posts_again && !stop.is_cancelled() {
                    answer = host.ask("POST", "/events", Some(events.clone().into())).await;
                }
                if answer?.0 == 202 {
                    accepted.extend(numbers);
                }
            }
            Some(channel) => {
                let mut confirms = Vec::new();
                for n in &numbers {
                    let body = event(account, *n, lane.failing).to_string();
                    let (options, properties) = (BasicPublishOptions::default(), BasicProperties::default());
                    let properties = properties.with_content_type("application/json".into());
                    let key = "versioned.all".into();
                    confirms.push(
                        channel
                            .basic_publish("tests".into(), key, options, body.as_bytes(), properties)
                            .await?,
                    );
                }
                for confirm in confirms {
                    confirm.await?;
                }
                accepted.extend(numbers);
            }
        }
    }
    Ok(accepted)
}
