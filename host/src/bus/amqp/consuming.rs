//! What arrives on the consuming channel, and how and when it is answered.

use super::acks::AckTracker;
use super::arriving::{ArrivingMessage, PackedMessage};
use super::connecting::CLOSE_LIMIT;
use super::names::name;
use super::session_end::{SessionEnd, ended_by};
use super::{AmqpBus, message_headers};
use crate::bus::intake::{EventIntake, IntakeClosed};
use crate::bus::{Acker, Answer, BusTally, SessionAnswer};
use crate::trail::EventContext;
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt};
use lapin::message::Delivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Connection, Consumer};
use std::collections::BTreeSet;
use std::sync::Arc;
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
pub(super) struct BusConsumer {
    channel: Channel,
    consumer: Consumer,
    acks: AckTracker,
    /// Given to every acker; the answers of this channel's deliveries and of no other's.
    answering: mpsc::UnboundedSender<SessionAnswer>,
    answers: mpsc::UnboundedReceiver<SessionAnswer>,
    /// What the intake has no room for yet.
    arriving: ArrivingMessage,
    /// The window of the channel is to have another size.
    resized: bool,
    /// When each postponed delivery goes back to the queue.
    put_off: BTreeSet<(Instant, u64)>,
    /// The first postponement since something was accepted.
    trouble_since: Option<Instant>,
    /// So many acceptances are acknowledged while more answers wait, and so many behind an open delivery one by one, or they
    /// would block the window.
    ack_limit: usize,
}

impl BusConsumer {
    /// Asks the broker for messages.
    pub(super) async fn begin(bus: &AmqpBus, connection: &Connection) -> lapin::Result<Self> {
        let options = &bus.options;
        let channel = connection.create_channel().await?;
        let window = bus.pace.lock().window();
        channel.basic_qos(window, BasicQosOptions::default()).await?;
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
        let prefetch = usize::from(window);
        Ok(Self {
            channel,
            consumer,
            acks: AckTracker::default(),
            answering,
            answers,
            arriving: ArrivingMessage::new(Arc::clone(&options.memory), options.event_limit),
            resized: false,
            put_off: BTreeSet::new(),
            trouble_since: None,
            // More than half of the prefetch would leave the broker with nothing to send meanwhile.
            ack_limit: (prefetch / 2).max(1),
        })
    }

    /// Goes on until the stop, or until the connection or the queue has gone.
    pub(super) async fn run(
        mut self,
        bus: &AmqpBus,
        intake: &EventIntake,
        stop: &CancellationToken,
    ) -> SessionEnd {
        let mut intake = intake.clone();
        loop {
            match self.step(bus, &mut intake, stop).await {
                Ok(None) if self.resized => {
                    return match self.drain(bus).await {
                        Ok(()) => SessionEnd::Resized,
                        Err(error) => ended_by(&error),
                    };
                }
                Ok(None) => {}
                Ok(Some(SessionEnd::Stopped)) => {
                    if let Err(error) = self.drain(bus).await {
                        debug!(%error, "the connection failed while stopping");
                    }
                    return SessionEnd::Stopped;
                }
                Ok(Some(end)) => return end,
                Err(error) => return ended_by(&error),
            }
        }
    }

    /// The next thing that happens. In this order: answers free the broker's window, the intake's room frees ours. What
    /// was answered together, as it was stored together, is acknowledged together.
    async fn step(
        &mut self,
        bus: &AmqpBus,
        intake: &mut EventIntake,
        stop: &CancellationToken,
    ) -> lapin::Result<Option<SessionEnd>> {
        let put_off_until = self.put_off.first().map_or_else(Instant::now, |(at, _)| *at);
        let mut answers = Vec::new();
        tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Some(SessionEnd::Stopped)),
            _ = self.answers.recv_many(&mut answers, AT_ONCE) => {
                for (tag, answer) in answers {
                    self.answered(bus, tag, answer).await?;
                }
                if self.answers.is_empty() || self.acks.covered() >= self.ack_limit {
                    self.flush().await?;
                }
            }
            () = sleep_until(put_off_until), if !self.put_off.is_empty() => self.give_back().await?,
            () = self.arriving.progress(), if self.arriving.is_waiting() => self.arriving.hand_on(intake),
            room = intake.room(), if self.arriving.waits_for_room() => match room {
                Ok(()) => self.arriving.hand_on(intake),
                Err(IntakeClosed) => return Ok(Some(SessionEnd::IntakeClosed)),
            },
            next = self.consumer.next(), if self.arriving.held() == 0 => {
                let end = self.arrived(bus, next)?;
                self.arriving.hand_on(intake);
                return Ok(end);
            }
        }
        Ok(None)
    }

    /// What has come, and all that is there behind it.
    fn arrived(
        &mut self,
        bus: &AmqpBus,
        first: Option<lapin::Result<Delivery>>,
    ) -> lapin::Result<Option<SessionEnd>> {
        let mut next = Some(first);
        while let Some(arrived) = next {
            let Some(delivery) = arrived else {
                let queue = self.consumer.queue();
                let reason = format!("the broker ended consuming: queue {queue} was deleted or moved");
                return Ok(Some(SessionEnd::Lost(reason)));
            };
            self.delivered(bus, delivery?);
            next = if self.arriving.held() < AT_ONCE { self.consumer.next().now_or_never() } else { None };
        }
        Ok(None)
    }

    fn delivered(&mut self, bus: &AmqpBus, delivery: Delivery) {
        BusTally::add(&bus.tally.received, 1);
        let Delivery { delivery_tag: tag, properties, data, .. } = delivery;
        self.acks.delivered(tag);
        self.resized |= bus.pace.lock().arrived(data.len());
        let text = |property: &Option<ShortString>| property.as_ref().map(ToString::to_string);
        let headers = properties.headers().as_ref();
        let (cloud_event, wrong) = match message_headers::cloud_event(headers) {
            Ok(cloud_event) => (cloud_event, None),
            Err(reason) => (None, Some(reason)),
        };
        let packed = PackedMessage {
            content_type: text(properties.content_type()),
            encoding: text(properties.content_encoding()),
            body: Bytes::from(data),
            cloud_event,
            acker: Acker::of_session(tag, self.answering.clone()),
            trail: EventContext::begin(message_headers::origin(headers)),
        };
        match wrong {
            None => self.arriving.add(packed),
            Some(reason) => packed.refuse(reason),
        }
    }

    async fn answered(&mut self, bus: &AmqpBus, tag: u64, answer: Answer) -> lapin::Result<()> {
        bus.tally.answered(&answer);
        self.resized |= bus.pace.lock().answered();
        match answer {
            Answer::Accepted => {
                self.trouble_since = None;
                self.acks.accept(tag);
                Ok(())
            }
            Answer::Refused(reason) => {
                warn!(queue = self.consumer.queue().as_str(), error = %reason, "message refused");
                self.acks.settled(tag);
                self.channel.basic_reject(tag, BasicRejectOptions { requeue: false }).await
            }
            Answer::Postponed | Answer::Unhandled(_) => {
                let now = Instant::now();
                let since = *self.trouble_since.get_or_insert(now);
                let wait = (now - since).clamp(SHORTEST_PUT_OFF, LONGEST_PUT_OFF);
                self.acks.keep(tag);
                self.put_off.insert((now + wait, tag));
                Ok(())
            }
        }
    }

    /// Acknowledges what can be with one frame; what stands behind an open delivery only when it is much.
    async fn flush(&mut self) -> lapin::Result<()> {
        if let Some(tag) = self.acks.take_up_to() {
            self.channel.basic_ack(tag, BasicAckOptions { multiple: true }).await?;
        }
        if self.acks.stragglers() >= self.ack_limit {
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
        // Acceptances that waited behind these may be covered now.
        self.flush().await
    }

    /// No new messages; what is in flight gets its answer to the broker, what is not goes back when the
    /// channel closes.
    async fn drain(mut self, bus: &AmqpBus) -> lapin::Result<()> {
        let tag = self.consumer.tag();
        drop(timeout(CLOSE_LIMIT, self.channel.basic_cancel(tag, Default::default())).await);
        self.arriving.clear();
        let deadline = Instant::now() + DRAIN_LIMIT;
        while self.acks.unanswered() > 0 {
            tokio::select! {
                () = sleep_until(deadline) => {
                    warn!(unanswered = self.acks.unanswered(), "stopping without the answers to some messages");
                    break;
                }
                Some((tag, answer)) = self.answers.recv() => {
                    self.answered(bus, tag, answer).await?;
                }
            }
        }
        self.flush().await?;
        self.flush_stragglers().await?;
        // The answer to this says that the broker has heard every acknowledgement before it.
        timeout(CLOSE_LIMIT, self.channel.close(200, name("done"))).await.unwrap_or(Ok(()))
    }
}
