//! Where events come from: what every bus promises, and how a message on it is answered.

use async_trait::async_trait;
use bytes::Bytes;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use time::OffsetDateTime;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use self::amqp::MessageOrigin;
use crate::event::RawEvent;
use crate::memory::MemoryShare;
use crate::trail::{EventContext, Origin};

pub mod routing_key;
pub mod content;
pub mod embedded;
pub mod amqp;

/// One wish: messages of `exchange` whose routing key matches the pattern `routing_key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    /// Name of the exchange, for example `callevt`.
    pub exchange: String,
    /// Pattern of words between dots; `*` stands for one word, `#` for any number.
    pub routing_key: String,
}

impl Binding {
    /// A binding of the two names as they are; nothing is encoded.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), routing_key: routing_key.into() }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.exchange, self.routing_key)
    }
}

/// The messages that the rest of the host works on come from here.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Wants these bindings from now on; they are kept and restored after a reconnect.
    ///
    /// Without a connection the wish is noted and `Ok`. With one, an error names the exchange that cannot be
    /// used; none of the bindings that this call added is wanted then.
    async fn bind(&self, bindings: &[Binding]) -> Result<(), BusError>;

    /// Does not want these bindings any longer. Unknown ones are no error.
    async fn unbind(&self, bindings: &[Binding]) -> Result<(), BusError>;

    /// The consuming child: sends every message to `intake` until `stop`; reconnects inside; only returns
    /// `Err` for a bug.
    ///
    /// `ready` is told as soon as the first attempt to connect has ended, well or not: a lost broker is a
    /// state of the host, not a reason for it not to start.
    async fn run(
        &self,
        intake: mpsc::Sender<IncomingMessage>,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()>;

    /// How the bus is now.
    fn state(&self) -> BusState;

    /// Puts one JSON message on an exchange under a routing key; `Ok` once it is safe with those who take it.
    async fn publish(&self, exchange: &str, routing_key: &str, body: Bytes) -> Result<(), PublishError> {
        self.publish_from(&Origin::default(), exchange, routing_key, body.into()).await
    }

    /// As [`publish`](Bus::publish), with where the message comes from: whoever gets it goes on from there. The name of
    /// a CloudEvent goes along.
    async fn publish_from(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: RawEvent,
    ) -> Result<(), PublishError>;

    /// What has happened since the start.
    fn counters(&self) -> BusCounters;

    /// Messages in the broker's dead-letter queue, whoever put them there; nothing where it is not known, or there is
    /// no broker.
    fn dead_letters(&self) -> Option<u64> {
        None
    }

    /// What does not work although the bus is connected, one sentence each (an exchange that cannot be used).
    fn problems(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A message of the bus and the way to answer it.
#[derive(Debug)]
pub struct IncomingMessage {
    /// The event, decoded but not parsed.
    pub event: RawEvent,
    /// To be answered exactly once.
    pub acker: Acker,
    /// What follows the event from here on.
    pub trail: EventContext,
    /// The memory that it takes, until it is answered.
    pub memory: MemoryShare,
}

/// Answers one message. Dropped without an answer it postpones: a bug or a stop must not lose an event.
#[must_use = "a dropped acker postpones the message"]
pub struct Acker {
    way: Option<ArrivalWay>,
}

enum ArrivalWay {
    /// To the session whose channel delivered the message. A session that has ended does not listen any
    /// longer, so an answer cannot reach a later channel that counts its deliveries anew.
    Session { tag: u64, address: MessageOrigin, answers: mpsc::UnboundedSender<SessionAnswer> },
    /// To the one who posted the event.
    Poster(oneshot::Sender<Answer>),
}

/// What a session is answered: the message's tag, where it came from, and the answer.
pub(crate) type SessionAnswer = (u64, MessageOrigin, Answer);

/// An event that is one, and could not be handled now: it is kept for people to see, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unhandled {
    /// The module that could not.
    pub module: String,
    /// Why, continuing a sentence that begins with the module's name.
    pub reason: String,
    /// The event.
    pub event: RawEvent,
    /// Where it came from.
    pub origin: Origin,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// What the event causes is durable.
    Accepted,
    /// It is malformed and will be so the next time.
    Refused(Refusal),
    /// It could not be taken now.
    Postponed,
    /// A module could not handle it.
    Unhandled(Box<Unhandled>),
}

impl Acker {
    /// An acker whose answer arrives at the receiver, for those who hand events in themselves.
    pub fn pair() -> (Self, oneshot::Receiver<Answer>) {
        let (poster, answer) = oneshot::channel();
        (Self { way: Some(ArrivalWay::Poster(poster)) }, answer)
    }

    pub(crate) fn of_session(
        tag: u64,
        address: MessageOrigin,
        answers: mpsc::UnboundedSender<SessionAnswer>,
    ) -> Self {
        Self { way: Some(ArrivalWay::Session { tag, address, answers }) }
    }

    /// The deliveries that the event causes are durable; the bus may forget it.
    pub fn accept(mut self) {
        self.answer(Answer::Accepted);
    }

    /// The event is malformed: the broker dead-letters it, a poster gets the reason.
    pub fn refuse(mut self, reason: Refusal) {
        self.answer(Answer::Refused(reason));
    }

    /// The event could not be taken now: the broker keeps it for later, a poster gets an error.
    pub fn postpone(mut self) {
        self.answer(Answer::Postponed);
    }

    /// A module could not handle the event, what it causes through others is durable: the broker keeps it with the dead
    /// ones, a poster is told to send it again.
    pub fn unhandled(mut self, unhandled: Unhandled) {
        self.answer(Answer::Unhandled(Box::new(unhandled)));
    }

    fn answer(&mut self, answer: Answer) {
        // Nobody listening means that the session or the poster has gone; the broker still has the message.
        match self.way.take() {
            Some(ArrivalWay::Session { tag, address, answers }) => drop(answers.send((tag, address, answer))),
            Some(ArrivalWay::Poster(poster)) => drop(poster.send(answer)),
            None => {}
        }
    }
}

impl Drop for Acker {
    fn drop(&mut self) {
        self.answer(Answer::Postponed);
    }
}

impl fmt::Debug for Acker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Some(ArrivalWay::Session { tag, .. }) => write!(f, "Acker(delivery {tag})"),
            Some(ArrivalWay::Poster(_)) => f.write_str("Acker(poster)"),
            None => f.write_str("Acker(answered)"),
        }
    }
}

/// Why a message can never be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The content type is none that is understood.
    #[error("content type {0:?} is not understood; application/json and application/erlang are")]
    ContentType(String),
    /// The content encoding is none that is understood.
    #[error("content encoding {0:?} is not understood; gzip and none at all are")]
    ContentEncoding(String),
    /// The text of the event is, or would become, longer than the limit in bytes.
    #[error("the event is larger than {limit} bytes")]
    TooLarge {
        /// Allowed length in bytes.
        limit: usize,
    },
    /// The body says that it is gzip and is not.
    #[error("the body is not gzip: {0}")]
    Gzip(String),
    /// The body says that it is an Erlang term and is none that stands for JSON.
    #[error("the body is not an erlang term that stands for json: {0}")]
    Term(String),
    /// The JSON text is not an event.
    #[error("{0}")]
    Event(String),
}

impl Refusal {
    /// The JSON text is not an event, for this reason.
    pub fn event(reason: impl fmt::Display) -> Self {
        Self::Event(reason.to_string())
    }
}

/// How a bus is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BusState {
    /// The first attempt to connect has not ended yet.
    Starting,
    /// Messages flow.
    Connected,
    /// There is no connection; the bus goes on trying.
    Lost {
        /// When it was lost, or first failed.
        since: OffsetDateTime,
        /// What the last attempt failed with.
        reason: String,
    },
    /// `run` has ended, or not begun again.
    Stopped,
}

/// Counts since the start of the process. Answers to a connection that was lost meanwhile do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BusCounters {
    /// Messages that the bus delivered, redeliveries included.
    pub received: u64,
    /// Messages answered with accept.
    pub accepted: u64,
    /// Messages refused, which the broker dead-letters.
    pub refused: u64,
    /// Messages postponed, which come again.
    pub postponed: u64,
    /// Messages that a module could not handle.
    pub unhandled: u64,
    /// Connections made after the first one.
    pub reconnects: u64,
    /// Messages that no client could read, dead-lettered unread.
    pub unreadable: u64,
}

/// A binding that cannot be had, or taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The exchange exists with other properties, or may not be declared or read.
    #[error("exchange {exchange:?} cannot be used: {reason}; right would be: {right}")]
    Exchange {
        /// Name of the exchange.
        exchange: String,
        /// The broker's words.
        reason: String,
        /// What the exchange has to be like.
        right: String,
    },
    /// The broker refused one binding or its removal.
    #[error("binding {binding} cannot be changed: {reason}")]
    Binding {
        /// Which one.
        binding: Binding,
        /// The broker's words.
        reason: String,
    },
    /// An exchange name or routing key is longer than AMQP's 255 bytes.
    #[error("{name:?} is {} bytes long; at most 255 fit", name.len())]
    NameTooLong {
        /// The name.
        name: String,
    },
}

/// A message that was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue wants it.
    #[error("nothing is bound to exchange {exchange:?} for routing key {routing_key:?}")]
    Unroutable {
        /// Name of the exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The bus cannot take anything now; trying again later may help.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// Whoever got it, or the broker, does not want this message.
    #[error("the message was refused: {0}")]
    Refused(String),
    /// The exchange cannot be used or a name does not fit.
    #[error(transparent)]
    Exchange(#[from] BusError),
}

/// The counters while they count.
#[derive(Debug, Default)]
pub(crate) struct BusTally {
    pub(crate) received: AtomicU64,
    pub(crate) accepted: AtomicU64,
    pub(crate) refused: AtomicU64,
    pub(crate) postponed: AtomicU64,
    pub(crate) unhandled: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) unreadable: AtomicU64,
}

impl BusTally {
    pub(crate) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, answer: &Answer) {
        let counter = match answer {
            Answer::Accepted => &self.accepted,
            Answer::Refused(_) => &self.refused,
            Answer::Postponed => &self.postponed,
            Answer::Unhandled(_) => &self.unhandled,
        };
        Self::add(counter, 1);
    }

    pub(crate) fn snapshot(&self) -> BusCounters {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        BusCounters {
            received: read(&self.received),
            accepted: read(&self.accepted),
            refused: read(&self.refused),
            postponed: read(&self.postponed),
            unhandled: read(&self.unhandled),
            reconnects: read(&self.reconnects),
            unreadable: read(&self.unreadable),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(use_it: impl FnOnce(Acker), expected: Answer) {
        let (acker, mut answer) = Acker::pair();
        use_it(acker);
        assert_eq!(answer.try_recv(), Ok(expected));
    }

    #[test]
    fn each_answer_arrives() {
        check(Acker::accept, Answer::Accepted);
        check(Acker::postpone, Answer::Postponed);
        let reason = Refusal::event("no Event-Name");
        check(|acker| acker.refuse(reason.clone()), Answer::Refused(reason.clone()));
    }

    #[test]
    fn a_dropped_acker_postpones() {
        check(drop, Answer::Postponed);
    }

    #[test]
    fn an_answer_to_an_ended_session_goes_nowhere() {
        let (answers, session) = mpsc::unbounded_channel();
        let acker = Acker::of_session(7, MessageOrigin::default(), answers);
        drop(session);
        acker.accept();
    }
}
