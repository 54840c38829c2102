//! What outlives a connection to the broker: the bindings that are wanted, the state and the counters.

use lapin::uri::AMQPUri;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, error, info, warn};

use super::options::{AmqpOptions, BadOptions};
use super::prefetch::PrefetchPace;
use super::publisher::BrokerLink;
use super::topology;
use crate::bus::{Binding, BusError, BusState, BusTally};

/// The bus on RabbitMQ.
pub struct AmqpBus {
    pub(super) options: AmqpOptions,
    pub(super) uri: AMQPUri,
    pub(super) wishes: Mutex<WantedBindings>,
    pub(super) state: Mutex<BusState>,
    pub(super) problems: Mutex<BTreeSet<String>>,
    pub(super) link: Mutex<Option<Arc<BrokerLink>>>,
    pub(super) pace: Mutex<PrefetchPace>,
    /// Messages in the dead-letter queue, when it was last looked at.
    pub(super) dead: Mutex<Option<u64>>,
    pub(super) tally: BusTally,
    /// Whether there has been a connection before.
    pub(super) met: AtomicBool,
}

/// What is wanted, and who carries a change of it out at once.
#[derive(Default)]
pub(super) struct WantedBindings {
    pub(super) bindings: BTreeSet<Binding>,
    pub(super) session: Option<mpsc::UnboundedSender<BindingChange>>,
}

/// A change of the bindings that is to reach the broker now.
pub(super) struct BindingChange {
    pub(super) bindings: Vec<Binding>,
    pub(super) wanted: bool,
    pub(super) done: oneshot::Sender<Result<(), BusError>>,
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
    pub(super) async fn change(&self, bindings: Vec<Binding>, wanted: bool) -> Result<(), BusError> {
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
    pub(super) fn open_wishes(&self) -> (BTreeSet<Binding>, mpsc::UnboundedReceiver<BindingChange>) {
        let (sender, changes) = mpsc::unbounded_channel();
        let mut wishes = self.wishes.lock();
        wishes.session = Some(sender);
        (wishes.bindings.clone(), changes)
    }

    pub(super) fn wanted(&self) -> BTreeSet<Binding> {
        self.wishes.lock().bindings.clone()
    }

    pub(super) fn connected(&self) {
        *self.state.lock() = BusState::Connected;
        if self.met.swap(true, Ordering::Relaxed) {
            BusTally::add(&self.tally.reconnects, 1);
        }
        let (broker, queue) = (self.broker(), &self.options.queue);
        info!(broker, queue, "connected to the broker");
    }

    /// Keeps the moment of the first failure; a reason is logged when it is news.
    pub(super) fn lost(&self, reason: String) {
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
    pub(super) fn note_dead_letters(&self, count: Option<u64>) {
        let before = std::mem::replace(&mut *self.dead.lock(), count).unwrap_or_default();
        let now = count.unwrap_or_default();
        let queue = topology::dead_letter_name(&self.options.queue);
        if now > before {
            warn!(queue, messages = now, "messages were dead-lettered; their headers say why");
        } else if now == 0 && before > 0 {
            info!(queue, "the dead-letter queue is empty");
        }
    }

    /// Replaces what is known not to work; logs what is new.
    pub(super) fn trouble(&self, refused: Vec<BusError>) {
        let now: BTreeSet<String> = refused.iter().map(ToString::to_string).collect();
        let mut known = self.problems.lock();
        for problem in now.difference(&known) {
            error!(error = problem, "the broker refuses a binding");
        }
        *known = now;
    }

    /// Host, port and vhost; never the password.
    pub(super) fn broker(&self) -> String {
        let place = &self.uri.authority;
        format!("{}:{}/{}", place.host, place.port, self.uri.vhost.trim_start_matches('/'))
    }
}

impl fmt::Debug for AmqpBus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AmqpBus").field("broker", &self.broker()).field("queue", &self.options.queue).finish()
    }
}
