//! Makes deliveries durable and hands them to dispatch.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tracing::warn;

use super::Profile;
use super::payload::Payload;
use super::request::SharedBodies;
use super::work::Delivery;
use crate::hooks::{Document, Hook};
use crate::store::{Accepted, AcceptedEvent, DeliveryStore, NewDelivery, StoreError, StoredDelivery};
use crate::trail::{Origin, Trail};

/// Deliveries that may be in memory, waiting or in flight. Beyond it whoever brings more waits, the bus first.
pub const MAX_IN_MEMORY: usize = 10_000;

/// The way into delivery; cheap to clone.
#[derive(Clone)]
pub struct Queue {
    store: Arc<dyn DeliveryStore>,
    places: Arc<Semaphore>,
    ready: mpsc::UnboundedSender<Delivery>,
    profile: Profile,
    cluster_id: Arc<str>,
}

/// What one event causes through one module.
#[derive(Clone, Debug)]
pub struct Caused {
    /// What makes this part of the event recognisable when it comes again.
    pub identity: Option<String>,
    /// Its payloads for each hook that wants them.
    pub wanted: Vec<Wanted>,
    /// What follows each delivery.
    pub trail: Trail,
}

/// Whether an event came for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Novelty {
    /// It did, or has no identity.
    New,
    /// One with its identity was accepted before; it causes nothing.
    Recognised,
}

/// One payload that a hook wants.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The hook.
    pub hook: Arc<Hook>,
    /// The document of the hook, where the event carried it.
    pub carried: Option<Bytes>,
    /// The payload and the bodies made of it, shared by the hooks of one firing.
    pub bodies: Arc<SharedBodies>,
    /// `webhook-id` of every try.
    pub webhook_id: String,
}

impl Queue {
    /// A queue into the receiver, which is for dispatch.
    #[must_use]
    pub fn new(
        store: Arc<dyn DeliveryStore>,
        profile: Profile,
        cluster_id: Arc<str>,
    ) -> (Self, mpsc::UnboundedReceiver<Delivery>) {
        // The channel is not bounded, as the places are.
        let (ready, dispatch) = mpsc::unbounded_channel();
        (
            Queue { store, places: Arc::new(Semaphore::new(MAX_IN_MEMORY)), ready, profile, cluster_id },
            dispatch,
        )
    }

    /// A payload with the bodies that its deliveries share.
    #[must_use]
    pub fn bodies(&self, payload: Payload) -> Arc<SharedBodies> {
        Arc::new(SharedBodies::new(self.profile, &*self.cluster_id, payload))
    }

    /// Returns once what these events cause is durable, or was so before (the same identity); says which for each.
    ///
    /// # Errors
    /// The store's; nothing was taken.
    pub async fn accept_many(&self, events: Vec<Caused>) -> Result<Vec<Novelty>, StoreError> {
        let deliveries = events.iter().map(|event| event.wanted.len()).sum();
        if deliveries == 0 {
            return Ok(vec![Novelty::New; events.len()]);
        }
        let mut places = self.places_for(deliveries).await;
        let accepted = self.store.accept_many(events.iter().map(accepted_event).collect()).await?;
        let mut novelties = Vec::with_capacity(events.len());
        for (event, accepted) in events.into_iter().zip(accepted) {
            let Accepted::New(ids) = accepted else {
                novelties.push(Novelty::Recognised);
                continue;
            };
            novelties.push(Novelty::New);
            for (id, wanted) in ids.into_iter().zip(event.wanted) {
                let place = places.as_mut().and_then(|places| places.split(1));
                let Wanted { hook, carried, bodies, webhook_id } = wanted;
                self.dispatch(Delivery {
                    id,
                    hook: hook.id.clone(),
                    account: hook.account.clone(),
                    webhook_id,
                    bodies,
                    carried: carried.map(|_| hook),
                    tries: 0,
                    place,
                    trail: event.trail.clone(),
                });
            }
        }
        Ok(novelties)
    }

    /// Takes up a delivery that is durable already: left by an earlier run, or due again. Says whether it can be.
    pub async fn resume(&self, stored: StoredDelivery) -> bool {
        let place = self.places_for(1).await;
        let trail = Trail::resumed(stored.origin);
        let payload = match Payload::parse(stored.payload) {
            Ok(payload) => payload,
            // It was a payload when it was written; the delivery stays in the store for people to see.
            Err(error) => {
                let (delivery, hook) = (stored.id, stored.hook);
                trail.lines().in_scope(|| warn!(delivery, %hook, %error, "stored payload cannot be read"));
                return false;
            }
        };
        let carried = stored.direct_hook.as_deref().and_then(carried_hook).map(Arc::new);
        self.dispatch(Delivery {
            id: stored.id,
            hook: stored.hook,
            account: stored.account,
            webhook_id: stored.webhook_id,
            bodies: self.bodies(payload),
            carried,
            tries: stored.tries,
            place,
            trail,
        });
        true
    }

    fn dispatch(&self, delivery: Delivery) {
        // Dispatch is gone only when the host stops; the delivery is in the store for the next start.
        drop(self.ready.send(delivery));
    }

    async fn places_for(&self, deliveries: usize) -> Option<OwnedSemaphorePermit> {
        let places = u32::try_from(deliveries.min(MAX_IN_MEMORY)).unwrap_or(u32::MAX);
        Arc::clone(&self.places).acquire_many_owned(places).await.ok()
    }

    /// Deliveries in memory now.
    #[must_use]
    pub fn in_memory(&self) -> usize {
        MAX_IN_MEMORY - self.places.available_permits()
    }
}

fn accepted_event(event: &Caused) -> AcceptedEvent {
    let deliveries = event.wanted.iter().map(|wanted| new_delivery(wanted, event.trail.origin())).collect();
    AcceptedEvent { identity: event.identity.clone(), deliveries }
}

fn new_delivery(wanted: &Wanted, origin: &Origin) -> NewDelivery {
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
