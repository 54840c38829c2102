//! The bus without a broker: events are handed in from inside the process and answered to whoever did.

use super::{
    Acker, Answer, Binding, Bus, BusCounters, BusError, BusState, BusTally, EventIntake, IncomingMessage,
    PublishError, Refusal, routing_key,
};
use crate::event::{ArrivingEvent, RawEvent};
use crate::memory::{EventMemory, MemoryShare, bytes_of_event};
use crate::trail::{EventContext, Origin};
use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// How long one who posts waits for the memory that an event takes.
const ROOM_LIMIT: Duration = Duration::from_secs(10);

/// A way into the intake for those inside the process, such as the HTTP API. Clones are the same inlet.
///
/// It works beside any bus: beside a broker the composition root attaches the intake, with [`EmbeddedBus`]
/// the running bus does.
#[derive(Debug, Clone)]
pub struct EventInlet {
    shared: Arc<EmbeddedState>,
}

#[derive(Debug)]
struct EmbeddedState {
    memory: Arc<EventMemory>,
    intake: RwLock<Option<EventIntake>>,
    bindings: RwLock<BTreeSet<Binding>>,
    tally: BusTally,
}

/// Events that were handed in and not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PostError {
    /// The routing key that was given matches no binding of that exchange.
    #[error("nothing is bound to exchange {exchange:?} for routing key {routing_key:?}")]
    Unroutable {
        /// Name of the exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// Some or all events could not be taken now. Posting all of them again is safe where events have an
    /// identity.
    #[error("the events could not be taken now: {0}")]
    Unavailable(String),
    /// A module could not handle some events. What they cause through others is taken; posting all of them again once the
    /// module works is safe where events have an identity.
    #[error("{module} {reason}")]
    Unhandled {
        /// The module.
        module: String,
        /// Why, continuing a sentence that begins with its name.
        reason: String,
    },
    /// One event, counted from 0, will never be taken. Others of the same post may have been.
    #[error("event {0} was refused: {1}")]
    Refused(usize, Refusal),
}

impl EventInlet {
    /// An inlet that nothing listens to yet; events take this memory.
    pub fn new(memory: Arc<EventMemory>) -> Self {
        let (intake, bindings, tally) = (RwLock::default(), RwLock::default(), BusTally::default());
        EventInlet { shared: Arc::new(EmbeddedState { memory, intake, bindings, tally }) }
    }

    /// Events go to this intake from now on.
    pub fn attach(&self, intake: EventIntake) {
        *self.shared.intake.write() = Some(intake);
    }

    /// Events that are posted from now on are turned away; those on their way are still answered.
    pub fn detach(&self) {
        *self.shared.intake.write() = None;
    }

    /// Hands in events, each the JSON text of one, and waits until every one of them was answered.
    ///
    /// With a `route` of exchange and routing key they are taken only when some binding asks for them.
    /// Answers how many were taken, which is all of them.
    pub async fn post(&self, events: Vec<Bytes>, route: Option<(&str, &str)>) -> Result<usize, PostError> {
        let events = events.into_iter().map(|event| RawEvent::from(event).into()).collect();
        self.post_from(&Origin::default(), events, route).await
    }

    /// As [`post`](EventInlet::post), with where the events come from.
    pub async fn post_from(
        &self,
        origin: &Origin,
        events: Vec<ArrivingEvent>,
        route: Option<(&str, &str)>,
    ) -> Result<usize, PostError> {
        if let Some((exchange, key)) = route {
            self.check_route(exchange, key)?;
        }
        let count = events.len();
        let mut answers = Vec::with_capacity(count);
        // Those of one post go one way, in their order.
        let queue = self.shared.intake.read().as_ref().and_then(|intake| intake.next_queue().cloned());
        for event in events {
            answers.push(self.hand_in(event, origin, queue.as_ref()).await?);
        }
        self.collect(answers).await?;
        Ok(count)
    }

    fn check_route(&self, exchange: &str, key: &str) -> Result<(), PostError> {
        let wanted = |binding: &Binding| {
            binding.exchange == exchange && routing_key::matches(&binding.routing_key, key)
        };
        if self.shared.bindings.read().iter().any(wanted) {
            return Ok(());
        }
        Err(PostError::Unroutable { exchange: exchange.to_owned(), routing_key: key.to_owned() })
    }

    async fn hand_in(
        &self,
        mut event: ArrivingEvent,
        origin: &Origin,
        queue: Option<&mpsc::Sender<IncomingMessage>>,
    ) -> Result<oneshot::Receiver<Answer>, PostError> {
        let unavailable = || PostError::Unavailable("the host does not take events at the moment".to_owned());
        // Nobody may take what is left of a post while the host stops.
        let attached = self.shared.intake.read().is_some();
        let queue = queue.filter(|_| attached).ok_or_else(unavailable)?;
        let memory = match event.take_memory() {
            Some(memory) => memory,
            None => self.room(bytes_of_event(event.text())).await?,
        };
        let (acker, answer) = Acker::pair();
        let trail = EventContext::begin(origin.clone());
        queue.send(IncomingMessage { event, acker, trail, memory }).await.map_err(|_| unavailable())?;
        BusTally::add(&self.shared.tally.received, 1);
        Ok(answer)
    }

    async fn room(&self, wanted: usize) -> Result<MemoryShare, PostError> {
        let room = tokio::time::timeout(ROOM_LIMIT, self.shared.memory.events.take(wanted));
        room.await.map_err(|_| {
            let waited = ROOM_LIMIT.as_secs();
            PostError::Unavailable(format!("there was no memory for events within {waited} s"))
        })
    }

    /// A postponed event weighs more than a refused one: it must be posted again, whatever else is wrong.
    async fn collect(&self, answers: Vec<oneshot::Receiver<Answer>>) -> Result<(), PostError> {
        let mut refused = None;
        let mut unhandled = None;
        let mut postponed = 0_usize;
        for (index, answer) in answers.into_iter().enumerate() {
            let answer = answer.await.unwrap_or(Answer::Postponed);
            self.shared.tally.answered(&answer);
            match answer {
                Answer::Accepted => {}
                Answer::Refused(reason) => refused = refused.or(Some((index, reason))),
                Answer::Postponed => postponed += 1,
                Answer::Unhandled(found) => unhandled = unhandled.or(Some(found)),
            }
        }
        match (unhandled, refused) {
            _ if postponed > 0 => Err(PostError::Unavailable(format!("{postponed} were put off"))),
            (Some(unhandled), _) => {
                Err(PostError::Unhandled { module: unhandled.module, reason: unhandled.reason })
            }
            (None, Some((index, reason))) => Err(PostError::Refused(index, reason)),
            (None, None) => Ok(()),
        }
    }
}

/// The bus of a host without a broker.
#[derive(Debug)]
pub struct EmbeddedBus {
    inlet: EventInlet,
    state: RwLock<BusState>,
}

impl EmbeddedBus {
    /// A bus around this inlet.
    pub fn new(inlet: EventInlet) -> Self {
        Self { inlet, state: RwLock::new(BusState::Starting) }
    }

    /// The way in; the one that was given to `new`.
    pub fn inlet(&self) -> EventInlet {
        self.inlet.clone()
    }
}

#[async_trait]
impl Bus for EmbeddedBus {
    async fn bind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        self.inlet.shared.bindings.write().extend(bindings.iter().cloned());
        Ok(())
    }

    async fn unbind(&self, bindings: &[Binding]) -> Result<(), BusError> {
        let mut bound = self.inlet.shared.bindings.write();
        for binding in bindings {
            bound.remove(binding);
        }
        Ok(())
    }

    async fn run(
        &self,
        intake: EventIntake,
        ready: oneshot::Sender<()>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        self.inlet.attach(intake.clone());
        *self.state.write() = BusState::Connected;
        // Nobody waiting to hear that we are ready is nobody's harm.
        ready.send(()).ok();
        let closed = tokio::select! {
            () = stop.cancelled() => false,
            () = intake.closed() => true,
        };
        self.inlet.detach();
        *self.state.write() = BusState::Stopped;
        if closed && !stop.is_cancelled() {
            anyhow::bail!("the intake was closed while the embedded bus was running");
        }
        Ok(())
    }

    fn state(&self) -> BusState {
        self.state.read().clone()
    }

    async fn publish_from(
        &self,
        origin: &Origin,
        exchange: &str,
        routing_key: &str,
        event: RawEvent,
    ) -> Result<(), PublishError> {
        match self.inlet.post_from(origin, vec![event.into()], Some((exchange, routing_key))).await {
            Ok(_) => Ok(()),
            Err(PostError::Unroutable { exchange, routing_key }) => {
                Err(PublishError::Unroutable { exchange, routing_key })
            }
            Err(PostError::Unavailable(reason)) => Err(PublishError::Unavailable(reason)),
            Err(error @ PostError::Unhandled { .. }) => Err(PublishError::Unavailable(error.to_string())),
            Err(PostError::Refused(_, reason)) => Err(PublishError::Refused(reason.to_string())),
        }
    }

    fn counters(&self) -> BusCounters {
        self.inlet.shared.tally.snapshot()
    }
}

#[cfg(test)]
mod tests;
