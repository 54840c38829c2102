//! Makes deliveries durable and hands them to dispatch.

use std::sync::Arc;

use bytes::Bytes;
use tracing::warn;

use super::request::SharedBodies;
use super::scheduler::Scheduler;
use super::shards::DueShards;
use super::work::PendingDelivery;
use crate::model::Profile;
use crate::model::payload::Payload;
use crate::model::{Document, Hook};
use crate::store::{
    Accepted, AcceptedEvent, DeliveryStore, FailedEventStep, NewDelivery, StoreError, StoredDelivery,
};
use crate::trail::{EventContext, Origin};

/// Deliveries that are worked on before others on this thread have their turn: far less than a millisecond.
const AT_ONCE: usize = 500;

/// The way into delivery; cheap to clone.
#[derive(Clone)]
pub struct DeliveryQueue {
    store: Arc<dyn DeliveryStore>,
    due: Arc<DueShards>,
    profile: Profile,
    cluster_id: Arc<str>,
}

/// What one event causes through one module.
#[derive(Clone, Debug)]
pub struct EventBatch {
    /// What makes this part of the event recognisable when it comes again.
    pub identity: Option<String>,
    /// Its payloads for each hook that wants them.
    pub wanted: Vec<PlannedDelivery>,
    /// What is done to events that the module failed on, in the same transaction.
    pub failed: Option<FailedEventStep>,
    /// It is another part of the event before it, of which nothing is to be accepted without the rest.
    pub with_previous: bool,
    /// What follows each delivery.
    pub trail: EventContext,
}

/// Whether an event came for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventNovelty {
    /// It did, or has no identity.
    New,
    /// One with its identity was accepted before; it causes nothing.
    Recognised,
    /// It was to be kept for a module that failed on it, and there was no room.
    NotKept,
}

/// One payload that a hook wants.
#[derive(Clone, Debug)]
pub struct PlannedDelivery {
    /// The hook.
    pub hook: Arc<Hook>,
    /// The document of the hook, where the event carried it.
    pub carried: Option<Bytes>,
    /// The payload and the bodies made of it, shared by the hooks of one firing.
    pub bodies: Arc<SharedBodies>,
    /// `webhook-id` of every try.
    pub webhook_id: String,
}

impl DeliveryQueue {
    /// A queue into what is due.
    #[must_use]
    pub fn new(
        store: Arc<dyn DeliveryStore>,
        due: Arc<DueShards>,
        profile: Profile,
        cluster_id: Arc<str>,
    ) -> Self {
        DeliveryQueue { store, due, profile, cluster_id }
    }

    /// A payload with the bodies that its deliveries share.
    #[must_use]
    pub fn bodies(&self, payload: Payload) -> Arc<SharedBodies> {
        Arc::new(SharedBodies::new(self.profile, Arc::clone(&self.cluster_id), payload))
    }

    /// Returns once what these events cause is durable, or was so before (the same identity); says which for each.
    /// Nothing waits for room in memory: what does not find any is in the store.
    ///
    /// # Errors
    /// The store's; nothing was taken.
    pub async fn accept_many(&self, events: Vec<EventBatch>) -> Result<Vec<EventNovelty>, StoreError> {
        if events.iter().all(|event| event.wanted.is_empty() && event.failed.is_none()) {
            return Ok(vec![EventNovelty::New; events.len()]);
        }
        let mut described = Vec::with_capacity(events.len());
        for event in &events {
            described.push(accepted_event(event).await);
        }
        let accepted = self.store.accept_many(described).await?;
        let mut novelties = Vec::with_capacity(events.len());
        for (event, accepted) in events.into_iter().zip(accepted) {
            let ids = match accepted {
                Accepted::New(ids) => ids,
                Accepted::AlreadyKnown => {
                    novelties.push(EventNovelty::Recognised);
                    continue;
                }
                Accepted::Full => {
                    novelties.push(EventNovelty::NotKept);
                    continue;
                }
            };
            novelties.push(EventNovelty::New);
            let mut new = ids.into_iter().zip(event.wanted).peekable();
            while new.peek().is_some() {
                let trail = &event.trail;
                self.due.add(new.by_ref().take(AT_ONCE).map(|(id, wanted)| wanted.delivery(id, trail)));
                if new.peek().is_some() {
                    tokio::task::yield_now().await;
                }
            }
        }
        Ok(novelties)
    }

    /// A delivery as it comes from the store; nothing where its payload cannot be read.
    #[must_use]
    pub fn restored(&self, stored: StoredDelivery) -> Option<PendingDelivery> {
        let trail = EventContext::resumed(stored.origin);
        let payload = match Payload::parse(stored.payload) {
            Ok(payload) => payload,
            // It was a payload when it was written; the delivery stays in the store for people to see.
            Err(error) => {
                let (delivery, hook) = (stored.id, stored.hook);
                trail.lines().in_scope(|| warn!(delivery, %hook, %error, "stored payload cannot be read"));
                return None;
            }
        };
        Some(PendingDelivery {
            id: stored.id,
            hook: stored.hook,
            account: stored.account,
            webhook_id: stored.webhook_id,
            bodies: self.bodies(payload),
            carried: stored.direct_hook.as_deref().and_then(carried_hook).map(Arc::new),
            tries: stored.tries,
            trail,
        })
    }

    /// Deliveries that are due to hooks that may be sent to, and have not ended.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.due.sum(|scheduler| scheduler.in_memory() + scheduler.in_store())
    }

    /// Deliveries in memory now.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        self.due.sum(Scheduler::in_memory)
    }
}

impl PlannedDelivery {
    fn delivery(self, id: i64, trail: &EventContext) -> PendingDelivery {
        let PlannedDelivery { hook, carried, bodies, webhook_id } = self;
        PendingDelivery {
            id,
            hook: hook.id.clone(),
            account: hook.account.clone(),
            webhook_id,
            bodies,
            carried: carried.map(|_| hook),
            tries: 0,
            trail: trail.clone(),
        }
    }
}

async fn accepted_event(event: &EventBatch) -> AcceptedEvent {
    let mut deliveries = Vec::with_capacity(event.wanted.len());
    for (count, wanted) in event.wanted.iter().enumerate() {
        if count > 0 && count % AT_ONCE == 0 {
            tokio::task::yield_now().await;
        }
        deliveries.push(new_delivery(wanted, event.trail.origin()));
    }
    AcceptedEvent {
        identity: event.identity.clone(),
        deliveries,
        failed: event.failed.clone(),
        with_previous: event.with_previous,
    }
}

fn new_delivery(wanted: &PlannedDelivery, origin: &Origin) -> NewDelivery {
    NewDelivery {
        hook: wanted.hook.id.clone(),
        account: wanted.hook.account.clone(),
        webhook_id: wanted.webhook_id.clone(),
        payload: wanted.bodies.payload().json().clone(),
        direct_hook: wanted.carried.clone(),
        origin: origin.clone(),
    }
}

/// Reads a hook's document that an event carried.
#[must_use]
pub fn carried_hook(document: &[u8]) -> Option<Hook> {
    let document: Document = serde_json::from_slice(document).ok()?;
    Hook::from_document(&document).ok()
}
