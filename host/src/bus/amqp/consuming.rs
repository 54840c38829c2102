//! What arrives on the consuming channel, and how and when it is answered.

use super::acks::Acks;
use super::session::{CLOSE_LIMIT, End};
use super::topology::words_of;
use super::{AmqpBus, message_headers, name};
use crate::bus::{Acker, Answer, Incoming, Tally, content};
use crate::event::RawEvent;
use crate::trail::Trail;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::FieldTable;
use lapin::{Channel, Connection, Consumer};
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

/// The start of every consumer tag, by which a broker's listing tells our consumers from others.
const CONSUMER_TAG: &str = "hookline";
/// How long a stop waits for the answers to what is in flight.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);
/// What has arrived is handed on, and answered, this many at once: each turn of the loop sets up all that it
/// waits for anew.
const AT_ONCE: usize = 64;
/// A postponed message goes back to the queue after as long as nothing has been accepted, within these.
const SHORTEST_PUT_OFF: Duration = Duration::from_millis(250);
const LONGEST_PUT_OFF: Duration = Duration::from_secs(30);

/// The consuming channel and what is known of its deliveries.
pub(super) struct Consuming {
    channel: Channel,
    consumer: Consumer,
    acks: Acks,
    /// Given to every acker; the answers of this channel's deliveries and of no other's.
    answering: mpsc::UnboundedSender<(u64, Answer)>,
    answers: mpsc::UnboundedReceiver<(u64, Answer)>,
    /// Decoded messages that the intake has no room for yet.
    held: VecDeque<Incoming>,
    /// When each postponed delivery goes back to the queue.
    put_off: BTreeSet<(Instant, u64)>,
    /// The first postponement since something was accepted.
    trouble_since: Option<Instant>,
    ack_batch: usize,
    ack_flush: Duration,
    /// So many acceptances behind an open delivery are acknowledged one by one, or they would block the window.
    straggler_limit: usize,
    flush_at: Option<Instant>,
}

impl Consuming {
    /// Asks the broker for messages.
    pub(super) async fn begin(bus: &AmqpBus, connection: &Connection) -> lapin::Result<Self> {
        let options = &bus.options;
        let channel = connection.create_channel().await?;
        channel.basic_qos(options.prefetch, BasicQosOptions::default()).await?;
        let tag = format!("{CONSUMER_TAG}-{:08x}", rand::random::<u32>());
        let consumer = channel
            .basic_consume(
                name(&options.queue),
                name(&tag),
                BasicConsumeOptions::default(),
                FieldTable::default(),
            )
            .await?;
        let (answering, answers) = mpsc::unbounded_channel();
        let prefetch = usize::from(options.prefetch);
        Ok(Self {
            channel,
            consumer,
            acks: Acks::default(),
            answering,
            answers,
            held: VecDeque::new(),
            put_off: BTreeSet::new(),
            trouble_since: None,
            // A batch above half of the prefetch would leave the broker with nothing to send meanwhile.
            ack_batch: options.ack_batch.min(prefetch / 2).max(1),
            ack_flush: options.ack_flush,
            straggler_limit: (prefetch / 2).max(1),
            flush_at: None,
        })
    }

    /// Goes on until the stop, or until the connection or the queue has gone.
    pub(super) async fn run(
        mut self,
        bus: &AmqpBus,
        intake: &mpsc::Sender<Incoming>,
        stop: &CancellationToken,
    ) -> End {
        loop {
            match self.step(bus, intake, stop).await {
                Ok(None) => {}
                Ok(Some(End::Stopped)) => {
                    if let Err(error) = self.drain(bus).await {
                        debug!(%error, "the connection failed while stopping");
                    }
                    return End::Stopped;
                }
                Ok(Some(end)) => return end,
                Err(error) => return End::Lost(words_of(&error)),
            }
        }
    }

    /// The next thing that happens. In this order: answers free the broker's window, the intake's room frees
    /// ours, and only when there is nothing else at all is an incomplete batch acknowledged early.
    async fn step(
        &mut self,
        bus: &AmqpBus,
        intake: &mpsc::Sender<Incoming>,
        stop: &CancellationToken,
    ) -> lapin::Result<Option<End>> {
        let flush_at = self.flush_at.unwrap_or_else(Instant::now);
        let put_off_until = self.put_off.first().map_or(flush_at, |(at, _)| *at);
        let idle = self.flush_at.is_some() && self.acks.unanswered() == 0;
        let mut answers = Vec::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Some(End::Stopped)),
            _ = self.answers.recv_many(&mut answers, AT_ONCE) => {
                for (tag, answer) in answers {
                    self.answered(bus, tag, answer).await?;
                }
                self.flush_when_full().await?;
            }
            () = sleep_until(flush_at), if self.flush_at.is_some() => self.flush().await?,
            () = sleep_until(put_off_until), if !self.put_off.is_empty() => self.give_back().await?,
            room = intake.reserve(), if !self.held.is_empty() => match room {
                Ok(room) => {
                    if let Some(message) = self.held.pop_front() {
                        room.send(message);
                    }
                    self.hand_on(intake);
                }
                Err(_) => return Ok(Some(End::IntakeClosed)),
            },
            next = self.consumer.next(), if self.held.is_empty() => {
                let end = self.arrived(bus, next).await?;
                self.hand_on(intake);
                return Ok(end);
            }
            () = std::future::ready(()), if idle => self.flush().await?,
        }
        Ok(None)
    }

    /// What has come, and all that is there behind it.
    async fn arrived(
        &mut self,
        bus: &AmqpBus,
        first: Option<lapin::Result<Delivery>>,
    ) -> lapin::Result<Option<End>> {
        let mut next = Some(first);
        while let Some(arrived) = next {
            let Some(delivery) = arrived else {
                let queue = self.consumer.queue();
                let reason = format!("the broker ended consuming: queue {queue} was deleted or moved");
                return Ok(Some(End::Lost(reason)));
            };
            self.delivered(bus, delivery?).await?;
            next = if self.held.len() < AT_ONCE { self.consumer.next().now_or_never() } else { None };
        }
        Ok(None)
    }

    /// Hands on what the intake has room for. An intake that is closed shows when its room is waited for.
    fn hand_on(&mut self, intake: &mpsc::Sender<Incoming>) {
        while !self.held.is_empty()
            && let Ok(room) = intake.try_reserve()
            && let Some(message) = self.held.pop_front()
        {
            room.send(message);
        }
    }

    async fn delivered(&mut self, bus: &AmqpBus, delivery: Delivery) -> lapin::Result<()> {
        Tally::add(&bus.tally.received, 1);
        let tag = delivery.delivery_tag;
        self.acks.delivered(tag);
        let kind = delivery.properties.content_type().as_ref().map(|text| text.as_str());
        let encoding = delivery.properties.content_encoding().as_ref().map(|text| text.as_str());
        let headers = delivery.properties.headers().as_ref();
        let trail = Trail::begin(message_headers::origin(headers));
        let event = message_headers::cloud_event(headers).and_then(|cloud_event| {
            let body = Bytes::from(delivery.data);
            let body = content::decode(kind, encoding, body, bus.options.event_limit)?;
            Ok(RawEvent { body, cloud_event })
        });
        match event {
            Ok(event) => {
                let acker = Acker::of_session(tag, self.answering.clone());
                self.held.push_back(Incoming { event, acker, trail });
                Ok(())
            }
            Err(reason) => {
                let (exchange, key) = (delivery.exchange.as_str(), delivery.routing_key.as_str());
                trail.failed();
                trail.lines().in_scope(|| debug!(exchange, routing_key = key, "message cannot be read"));
                self.answered(bus, tag, Answer::Refused(reason)).await
            }
        }
    }

    async fn answered(&mut self, bus: &AmqpBus, tag: u64, answer: Answer) -> lapin::Result<()> {
        bus.tally.answered(&answer);
        match answer {
            Answer::Accepted => {
                self.trouble_since = None;
                self.acks.accept(tag);
                self.arm_flush();
                Ok(())
            }
            Answer::Refused(reason) => {
                warn!(queue = self.consumer.queue().as_str(), error = %reason, "message refused");
                self.acks.settled(tag);
                // Acceptances that waited behind this delivery may be covered now.
                self.arm_flush();
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
            }
            Answer::Postponed => {
                let now = Instant::now();
                let since = *self.trouble_since.get_or_insert(now);
                let wait = (now - since).clamp(SHORTEST_PUT_OFF, LONGEST_PUT_OFF);
                self.acks.keep(tag);
                self.put_off.insert((now + wait, tag));
                Ok(())
            }
        }
    }

    async fn flush_when_full(&mut self) -> lapin::Result<()> {
        if self.acks.covered() >= self.ack_batch || self.acks.stragglers() >= self.straggler_limit {
            return self.flush().await;
        }
        Ok(())
    }

    /// Acknowledges what can be with one frame; what stands behind an open delivery only when it is much.
    async fn flush(&mut self) -> lapin::Result<()> {
        self.flush_at = None;
        if let Some(tag) = self.acks.take_up_to() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        if self.acks.stragglers() >= self.straggler_limit {
            self.flush_stragglers().await?;
        }
        Ok(())
    }

    async fn flush_stragglers(&mut self) -> lapin::Result<()> {
        for tag in self.acks.take_stragglers() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: false }).await?;
        }
        Ok(())
    }

    /// Puts those deliveries back on the queue whose time has come.
    async fn give_back(&mut self) -> lapin::Result<()> {
        let now = Instant::now();
        while let Some((_, tag)) = self.put_off.first().copied().filter(|(at, _)| *at <= now) {
            self.put_off.pop_first();
            self.acks.settled(tag);
            self.channel.basic_reject(tag, BasicRejectOptions { requeue: true }).await?;
        }
        self.arm_flush();
        Ok(())
    }

    /// What can be acknowledged waits a little for more to come.
    fn arm_flush(&mut self) {
        if self.flush_at.is_none() && self.acks.covered() > 0 {
            self.flush_at = Some(Instant::now() + self.ack_flush);
        }
    }

    /// No new messages; what is in flight gets its answer to the broker, what is not goes back when the
    /// channel closes.
    async fn drain(mut self, bus: &AmqpBus) -> lapin::Result<()> {
        let tag = self.consumer.tag();
        drop(timeout(CLOSE_LIMIT, self.channel.basic_cancel(tag, Default::default())).await);
        self.held.clear();
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.acks.unanswered() > 0 {
            tokio::select! {
                () = sleep_until(deadline) => {
                    warn!(unanswered = self.acks.unanswered(), "stopping without the answers to some messages");
                    break;
                }
                Some((tag, answer)) = self.answers.recv() => self.answered(bus, tag, answer).await?,
            }
        }
        self.flush().await?;
        self.flush_stragglers().await?;
        // The answer to this says that the broker has heard every acknowledgement before it.
        timeout(CLOSE_LIMIT, self.channel.close(200, name("done"))).await.unwrap_or(Ok(()))
    }
}
