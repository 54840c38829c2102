//! Who sends events to a besieged host: each again, byte for byte, until it is accepted.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use lapin::options::BasicPublishOptions;
use lapin::{BasicProperties, Channel};
use reqwest::StatusCode;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::super::Broker;
use super::books::{Accepted, EventName, Way};

/// Whoever gets no answer for so long asks again.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Events of one sender that may be under way at once.
const UNDER_WAY: usize = 256;

/// Bytes of a bomb when it is unpacked.
const UNPACKED: usize = 15 * 1024 * 1024;

/// Where the host is now.
#[derive(Clone, Debug)]
pub(super) struct Whereabouts {
    pub(super) url: String,
    pub(super) pid: u32,
}

/// What senders know of the host and of its broker, wherever they are.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) host: watch::Receiver<Whereabouts>,
    pub(super) token: String,
    pub(super) broker: String,
    pub(super) queue: String,
    pub(super) stop: CancellationToken,
}

/// Sends events of one account.
pub(super) struct Sender {
    door: Door,
    account: String,
    http: reqwest::Client,
    channel: Mutex<Option<Channel>>,
    pub(super) accepted: Arc<Accepted>,
    /// Those that were refused or broken off, and sent again.
    pub(super) repeated: AtomicU64,
}

impl Sender {
    pub(super) fn new(door: &Door, account: &str) -> Arc<Self> {
        Arc::new(Sender {
            door: door.clone(),
            account: account.to_owned(),
            http: reqwest::Client::new(),
            channel: Mutex::default(),
            accepted: Arc::default(),
            repeated: AtomicU64::new(0),
        })
    }

    /// The event as it is sent, always the same. Ten events of each way and of all accounts share a `Msg-ID`, as those of
    /// a switch do that come within one tick of its clock.
    fn event(&self, name: EventName) -> String {
        let filler = if name.way == Way::Bomb { "x".repeat(UNPACKED) } else { String::new() };
        format!(
            r#"{{"Event-Category":"misbehave","Event-Name":"now","Account-ID":"{}","Msg-ID":"{}","Do":"fire","Say":"{name}","Filler":"{filler}"}}"#,
            self.account,
            1_700_000_000_000_000 + name.number / 10,
        )
    }

    /// Posts them in one body until they are accepted; `false` where the siege ended before.
    pub(super) async fn post(&self, names: &[EventName]) -> bool {
        let events: Vec<String> = names.iter().map(|name| self.event(*name)).collect();
        let body = match events.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(",")),
        };
        while !self.posted(&body).await {
            // Whoever is never told has no claim.
            if self.door.stop.is_cancelled() {
                return false;
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(50)).await;
        }
        self.accepted.add(names.iter().copied());
        true
    }

    async fn posted(&self, body: &str) -> bool {
        let url = format!("{}/events", self.door.host.borrow().url);
        let asked = self.http.post(url).header("x-auth-token", &self.door.token);
        let asked = asked.header("content-type", "application/json").body(body.to_owned());
        let answer = asked.timeout(ANSWER_WITHIN).send().await;
        answer.is_ok_and(|answer| answer.status() == StatusCode::ACCEPTED)
    }

    /// Publishes it, durable and to a durable queue, until the broker has confirmed it; `false` where the siege ended
    /// before.
    pub(super) async fn publish(&self, name: EventName) -> bool {
        let mut body = self.event(name).into_bytes();
        let mut properties =
            BasicProperties::default().with_content_type("application/json".into()).with_delivery_mode(2);
        if name.way == Way::Bomb {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
            encoder.write_all(&body).expect("compressing");
            body = encoder.finish().expect("compressing");
            properties = properties.with_content_encoding("gzip".into());
        }
        while !self.published(&body, &properties).await {
            if self.door.stop.is_cancelled() {
                return false;
            }
            self.repeated.fetch_add(1, Ordering::Relaxed);
            sleep(Duration::from_millis(100)).await;
        }
        self.accepted.add([name]);
        true
    }

    async fn published(&self, body: &[u8], properties: &BasicProperties) -> bool {
        let Some(channel) = self.channel().await else { return false };
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let queue = self.door.queue.as_str();
        let publish = async {
            channel.basic_publish("".into(), queue.into(), options, body, properties.clone()).await?.await
        };
        matches!(timeout(ANSWER_WITHIN, publish).await, Ok(Ok(lapin::Confirmation::Ack(None))))
    }

    async fn channel(&self) -> Option<Channel> {
        let mut channel = self.channel.lock().await;
        if !channel.as_ref().is_some_and(|channel| channel.status().connected()) {
            *channel = timeout(ANSWER_WITHIN, Broker::channel_to(&self.door.broker)).await.ok()?.ok();
        }
        channel.clone()
    }

    /// Sends so many a second in groups of this size until the siege ends, `begins` being told of each before.
    pub(super) async fn keep_sending(
        self: Arc<Self>,
        way: Way,
        rate: u64,
        group: u64,
        begins: impl Fn(EventName) + Send + 'static,
    ) {
        let mut ticks = interval(Duration::from_micros(1_000_000 * group / rate));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
        let mut sending = JoinSet::new();
        let mut next = 0;
        while !self.door.stop.is_cancelled() {
            ticks.tick().await;
            while sending.len() >= UNDER_WAY {
                sending.join_next().await;
            }
            while sending.try_join_next().is_some() {}
            let names: Vec<EventName> = (next..next + group).map(|n| EventName::new(way, n)).collect();
            next += group;
            names.iter().copied().for_each(&begins);
            let sender = Arc::clone(&self);
            sending.spawn(async move { sender.send(&names).await });
        }
        while let Some(sent) = sending.join_next().await {
            sent.expect("a sender");
        }
    }

    /// Sends them once, all of one way.
    pub(super) async fn send(&self, names: &[EventName]) {
        if names.iter().all(|name| name.way == Way::Post) {
            self.post(names).await;
            return;
        }
        for name in names {
            if !self.publish(*name).await {
                return;
            }
        }
    }
}
