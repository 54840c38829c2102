//! The bus on RabbitMQ: when to connect, what is wanted of the broker, and how it is doing.
//!
//! One connection at a time is a session (`amqp/session.rs`). What outlives it stands here: the bindings that
//! are wanted, the state and the counters.

use super::{
    Binding, Bus, BusCounters, BusError, BusState, BusTally, IncomingMessage, PublishError,
    content::DEFAULT_LIMIT,
};
use crate::event::RawEvent;
use crate::memory::EventMemory;
use crate::trail::Origin;
use async_trait::async_trait;
use lapin::types::ShortString;
use lapin::uri::AMQPUri;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

mod acks;
mod arriving;
mod backoff;
mod burials;
mod consuming;
mod message_headers;
mod pace;
mod publisher;
mod session;
mod topology;
mod unreadable;

use backoff::ReconnectBackoff;
pub(crate) use burials::MessageOrigin;
use pace::{NextPrefetch, PrefetchPace};
use publisher::BrokerLink;
use session::{BindingChange, SessionEnd};

/// A connection that lasted this long was a good one: after it the attempts start close together again.
const LASTING: Duration = Duration::from_secs(10);

/// How the broker keeps our queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QueueType {
    /// Replicated and durable; what RabbitMQ recommends.
    Quorum,
    /// On one node.
    Classic,
}

impl fmt::Display for QueueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quorum => "quorum",
            Self::Classic => "classic",
        })
    }
}

/// What a connection to the broker needs to know.
#[derive(Clone)]
pub struct AmqpOptions {
    /// `amqp://user:password@host:port/vhost`, or `amqps://`.
    pub uri: String,
    /// Name of our queue; refused messages go to an exchange and a queue of this name with `.dead` after it.
    pub queue: String,
    /// How the queue is made when it is not there; must agree with it when it is.
    pub queue_type: QueueType,
    /// How many messages may be with us unacknowledged.
    pub prefetch: u16,
    /// How the broker's listings call this connection.
    pub connection_name: String,
    /// How many messages are acknowledged at once at the latest.
    pub ack_batch: usize,
    /// How long the first of them waits at most while more are under way.
    pub ack_flush: Duration,
    /// The longest event that is taken, in bytes, unpacked.
    pub event_limit: usize,
    /// Where the memory for events comes from.
    pub memory: Arc<EventMemory>,
}

impl AmqpOptions {
    /// The defaults for everything but the address and the queue.
    pub fn new(uri: impl Into<String>, queue: impl Into<String>) -> Self {
        Self {
            uri: uri.into(),
            queue: queue.into(),
            queue_type: QueueType::Quorum,
            prefetch: 200,
            connection_name: "hookline".to_owned(),
            ack_batch: 25,
            ack_flush: Duration::from_millis(2),
            event_limit: DEFAULT_LIMIT,
            memory: Arc::new(EventMemory::unbounded()),
        }
    }
}

/// Options that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadOptions {
    /// The address is none. It is not repeated, because it may hold a password.
    #[error("bus.uri is not an address like amqp://user:password@host:5672/vhost: {0}")]
    Uri(String),
    /// The queue's name is empty or too long.
    #[error("bus.queue {0:?} must have 1 to 250 bytes")]
    Queue(String),
    /// Without prefetch a broker sends everything at once.
    #[error("bus.prefetch must be above 0")]
    Prefetch,
}

/// The bus on RabbitMQ.
pub struct AmqpBus {
    options: AmqpOptions,
    uri: AMQPUri,
    wishes: Mutex<WantedBindings>,
    state: Mutex<BusState>,
    problems: Mutex<BTreeSet<String>>,
    link: Mutex<Option<Arc<BrokerLink>>>,
    pace: Mutex<PrefetchPace>,
    /// Messages in the dead-letter queue, when it was last looked at.
    dead: Mutex<Option<u64>>,
    tally: BusTally,
    /// Whether there has been a connection before.
    met: AtomicBool,
}

/// What is wanted, and who carries a change of it out at once.
#[derive(Default)]
struct WantedBindings {
    bindings: BTreeSet<Binding>,
    session: Option<mpsc::UnboundedSender<BindingChange>>,
}

impl AmqpBus {
    /// A bus that connects once it is run.
    pub fn new(options: AmqpOptions) -> Result<Self, BadOptions> {
        let mut uri: AMQPUri = options.uri.parse().map_err(BadOptions::Uri)?;
        if options.queue.is_empty() || options.queue.len() > 250 {
            return Err(BadOptions::Queue(options.queue));
        }
        if options.prefetch == 0 {
            return Err(BadOptions::Prefetch);
        }
        // The broker's default is a minute, too long to sit on a line that has silently gone.
        uri.query.heartbeat.get_or_insert(15);
        Ok(Self {
            pace: Mutex::new(PrefetchPace::new(options.prefetch, options.memory.events.size() / 2)),
            dead: Mutex::default(),
            options,
            uri,
            wishes: Mutex::default(),
            state: Mutex::new(BusState::Starting),
            problems: Mutex::default(),
            link: Mutex::default(),
            tally: BusTally::default(),
            met: AtomicBool::new(false),
        })
    }

    /// Has the running session carry out a change; without one it will be when the next one begins.
    async fn change(&self, bindings: Vec<Binding>, wanted: bool) -> Result<(), BusError> {
        let Some(session) = self.wishes.lock().session.clone() else {
            return Ok(());
        };
        let (done, answer) = oneshot::channel();
        if session.send(BindingChange { bindings, wanted, done }).is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// Whoever waits for the wishes of this moment and all later ones.
    fn open_wishes(&self) -> (BTreeSet<Binding>, mpsc::UnboundedReceiver<BindingChange>) {
        let (sender, changes) = mpsc::unbounded_channel();
        let mut wishes = self.wishes.lock();
        wishes.session = Some(sender);
        (wishes.bindings.clone(), changes)
    }

    fn wanted(&self) -> BTreeSet<Binding> {
        self.wishes.lock().bindings.clone()
    }

    fn connected(&self) {
        *self.state.lock() = BusState::Connected;
        if self.met.swap(true, Ordering::Relaxed) {
            BusTally::add(&self.tally.reconnects, 1);
        }
        let (broker, queue) = (self.broker(), &self.options.queue);
        info!(broker, queue, "connected to the broker");
    }

    /// Keeps the moment of the first failure; a reason is logged when it is news.
    fn lost(&self, reason: String) {
        let mut state = self.state.lock();
        let since = match &*state {
            BusState::Lost { since, reason: known } if *known == reason => {
                debug!(%since, "still no connection to the broker");
                return;
            }
            BusState::Lost { since, .. } => *since,
            _ => crate::clock::now(),
        };
        warn!(broker = self.broker(), error = reason, "no connection to the broker");
        *state = BusState::Lost { since, reason };
    }

    /// Notes how many messages are in the dead-letter queue; says so when there are more than before.
    fn note_dead_letters(&self, count: Option<u64>) {
        let before = std::mem::replace(&mut *self.dead.lock(), count).unwrap_or_default();
        let now = count.unwrap_or_default();
        let queue = topology::dead_letter_name(&self.options.queue);
        if now > before {
            warn!(queue, messages = now, "messages were dead-lettered; their headers say why");
        } else if now == 0 && before > 0 {
            info!(queue, "the dead-letter queue is empty");
        }
    }

    /// Deals with a message that breaks connections; says whether there is something new to try at once.
    async fn unreadable(&self, reason: &str) -> bool {
        let next = self.pace.lock().broken();
        warn!(
            broker = self.broker(),
            error = reason,
            "the connection broke over a message that cannot be read; messages are taken one by one"
        );
        match next {
            NextPrefetch::Search => true,
            NextPrefetch::Bury => match unreadable::bury(self, reason).await {
                Ok(buried) => buried,
                Err(error) => {
                    warn!(broker = self.broker(), error, "the message that cannot be read is still there");
                    false
                }
            },
        }
    }

    /// Replaces what is known not to work; logs what is new.
    fn trouble(&self, refused: Vec<BusError>) {
        let now: BTreeSet<String> = refused.iter().map(ToString::to_string).collect();
        let mut known = self.problems.lock();
        for problem in now.difference(&known) {
            error!(error = problem, "the broker refuses a binding");
        }
        *known = now;
    }

    /// Host, port and vhost; never the password.
    fn broker(&self) -> String {
        let place = &self.uri.authority;
        format!("{}:{}/{}", place.host, place.port, self.uri.vhost.trim_start_matches('/'))
    }
}

impl fmt::Debug for AmqpBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpBus").field("broker", &self.broker()).field("queue", &self.options.queue).finish()
    }
}

#[async_trait]
impl Bus for AmqpBus {
    async fn bind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        for binding in bindings {
            check_name(&binding.exchange)?;
            check_name(&binding.routing_key)?;
        }
        let new: Vec<Binding> = {
            let mut wishes = self.wishes.lock();
            bindings.iter().filter(|binding| wishes.bindings.insert((*binding).clone())).cloned().collect()
        };
        let done = self.change(bindings.to_vec(), true).await;
        if done.is_err() {
            // The first error is the one to report; taking back may well fail for the same reason.
            drop(self.unbind(&new).await);
        }
        done
    }

    async fn unbind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        {
            let mut wishes = self.wishes.lock();
            for binding in bindings {
                wishes.bindings.remove(binding);
            }
        }
        self.change(bindings.to_vec(), false).await
    }

    async fn run(
        &self,
        intake: mpsc::Sender<IncomingMessage>,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut ready = Some(ready);
        let mut backoff = ReconnectBackoff::default();
        loop {
            let begun = Instant::now();
            let end = session::run(self, &intake, &mut ready, &stop).await;
            match end {
                SessionEnd::Stopped => break,
                SessionEnd::IntakeClosed => anyhow::bail!("the intake was closed while the bus was running"),
                SessionEnd::Resized => continue,
                SessionEnd::Lost(reason) => self.lost(reason),
                SessionEnd::Unreadable(reason) => {
                    let goes_on = tokio::select! {
                        () = stop.cancelled() => break,
                        goes_on = self.unreadable(&reason) => goes_on,
                    };
                    if goes_on {
                        continue;
                    }
                    self.lost(reason);
                }
            }
            tell(&mut ready);
            if begun.elapsed() >= LASTING {
                backoff.reset();
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(backoff.next(rand::random())) => {}
            }
        }
        *self.state.lock() = BusState::Stopped;
        Ok(())
    }

    fn state(&self) -> BusState {
        self.state.lock().clone()
    }

    async fn publish_from(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: RawEvent,
    ) -> Result<(), PublishError> {
        check_name(exchange)?;
        check_name(routing_key)?;
        let link = self.link.lock().clone();
        match link {
            Some(link) => link.publish(origin, exchange, routing_key, &event).await,
            None => Err(PublishError::Unavailable("there is no connection to the broker".to_owned())),
        }
    }

    fn counters(&self) -> BusCounters {
        self.tally.snapshot()
    }

    fn dead_letters(&self) -> Option<u64> {
        *self.dead.lock()
    }

    fn problems(&self) -> Vec<String> {
        self.problems.lock().iter().cloned().collect()
    }
}

/// Says that the first attempt has ended, to whoever still wants to know.
fn tell(ready: &mut Option<oneshot::Sender<()>>) {
    if let Some(ready) = ready.take() {
        ready.send(()).ok();
    }
}

fn check_name(name: &str) -> Result<(), BusError> {
    if name.len() > 255 {
        return Err(BusError::NameTooLong { name: name.to_owned() });
    }
    Ok(())
}

/// A name as AMQP wants it. Whatever comes from outside was checked; what is ours is short.
fn name(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}

#[cfg(test)]
mod tests;
