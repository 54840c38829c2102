//! The shared listener: event → modules → hooks → durable deliveries → answer to the bus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Mutex, mpsc};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, warn};

use crate::bus::{Acker, Incoming, Refusal};
use crate::delivery::queue::{Queue, Wanted, carried_hook};
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::{Candidate, matching};
use crate::hooks::table::Table;
use crate::module::registry::{Module, Registry};
use crate::module::{Firing, Target};

/// Events in hand at once: enough to fill group commits, little enough to be answered soon.
pub const IN_HAND: usize = 512;

/// What the listener works with.
pub struct Shared {
    /// The loaded modules.
    pub registry: Arc<Registry>,
    /// The hooks.
    pub table: Arc<Table>,
    /// The account tree.
    pub accounts: Arc<Accounts>,
    /// Where deliveries become durable.
    pub queue: Queue,
    /// What was seen so far.
    pub counters: Counters,
}

/// What the listener has seen since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Events taken.
    pub events: AtomicU64,
    /// Messages that were no events.
    pub malformed: AtomicU64,
    /// Events for which no module is loaded.
    pub unanswered: AtomicU64,
    /// Deliveries that events caused.
    pub deliveries: AtomicU64,
}

impl Shared {
    /// Takes events until `stop`, then finishes those in hand.
    ///
    /// # Errors
    /// Never; it ends early only when no bus can bring events any more.
    pub async fn run(
        &self,
        intake: Arc<Mutex<mpsc::Receiver<Incoming>>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut intake = intake.lock().await;
        let mut in_hand = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = in_hand.next() => {}
                () = stop.cancelled() => break,
                incoming = intake.recv(), if in_hand.len() < IN_HAND => match incoming {
                    Some(incoming) => in_hand.push(self.take(incoming)),
                    None => break,
                },
            }
        }
        while let Some(()) = in_hand.next().await {}
        Ok(())
    }

    async fn take(&self, incoming: Incoming) {
        let Incoming { body, acker } = incoming;
        match Event::parse(body) {
            Ok(event) => {
                self.counters.events.fetch_add(1, Ordering::Relaxed);
                self.answer(Arc::new(event), acker).await;
            }
            Err(error) => {
                self.counters.malformed.fetch_add(1, Ordering::Relaxed);
                warn!(%error, "message refused, it is not an event");
                acker.refuse(Refusal::event(error));
            }
        }
    }

    async fn answer(&self, event: Arc<Event>, acker: Acker) {
        let wanted = self.wanted(&event).await;
        let count = wanted.len() as u64;
        match self.queue.accept(event.identity(), wanted).await {
            Ok(()) => {
                self.counters.deliveries.fetch_add(count, Ordering::Relaxed);
                acker.accept();
            }
            Err(error) => {
                error!(event = event.name(), %error, "event cannot be taken, its deliveries cannot be stored");
                acker.postpone();
            }
        }
    }

    /// What an event causes. One snapshot of the modules answers all of it.
    async fn wanted(&self, event: &Arc<Event>) -> Vec<Wanted> {
        let modules = self.registry.current().answering(event.category(), event.name());
        if modules.is_empty() {
            self.counters.unanswered.fetch_add(1, Ordering::Relaxed);
            debug!(category = event.category(), event = event.name(), "no module answers this event");
        }
        let mut wanted = Vec::new();
        let answers = join_all(modules.iter().map(|module| module.call_many(vec![Arc::clone(event)]))).await;
        for (module, answer) in modules.iter().zip(answers.into_iter().flatten()) {
            match answer {
                Ok(firings) => self.want(event, module, firings, &mut wanted),
                Err(failure) => {
                    let generation = module.figures().generation;
                    warn!(module = %module.id, generation, event = event.name(), error = %failure, "the module failed on an event");
                }
            }
        }
        wanted
    }

    fn want(&self, event: &Event, module: &Module, firings: Vec<Firing>, wanted: &mut Vec<Wanted>) {
        for (nth, Firing { target, payload }) in firings.into_iter().enumerate() {
            let place = format!("{}/{nth}", module.id);
            match target {
                Target::Hooks { event: hook_event, account, internal_leg, filters } => {
                    let candidate = Candidate {
                        hook_event: &hook_event,
                        account: &account,
                        internal_leg,
                        filters: &filters,
                    };
                    let hooks = matching(&self.table, &self.accounts, &candidate, &payload);
                    if hooks.is_empty() {
                        continue;
                    }
                    let bodies = self.queue.bodies(payload);
                    wanted.extend(hooks.into_iter().map(|hook| Wanted {
                        webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                        hook,
                        carried: None,
                        bodies: Arc::clone(&bodies),
                    }));
                }
                Target::Carried(document) => match carried_hook(&document) {
                    Some(hook) => wanted.push(Wanted {
                        webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                        hook: Arc::new(hook),
                        carried: Some(document),
                        bodies: self.queue.bodies(payload),
                    }),
                    None => {
                        warn!(module = %module.id, event = event.name(), "the hook that the event carries is not one")
                    }
                },
            }
        }
    }
}

/// The `webhook-id` (Standard Webhooks) of one delivery: made from what makes the event, the firing and the
/// hook what they are, so that a redelivered event has the same one; random for an event without identity.
#[must_use]
pub fn webhook_id(identity: Option<&str>, place: &str, hook: &str) -> String {
    let Some(identity) = identity else {
        return format!("msg_{:032x}", rand::random::<u128>());
    };
    let mut digest = Sha256::new();
    for part in [identity, place, hook] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    let digest = digest.finalize();
    let short = digest.iter().take(16).fold(0_u128, |number, byte| (number << 8) | u128::from(*byte));
    format!("msg_{short:032x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redelivered_event_has_the_same_webhook_id_and_every_other_delivery_another() {
        let id = webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook");
        assert_eq!(id, webhook_id(Some("call_event/X/1"), "webhooks_x/0", "hook"));
        assert_eq!(id.len(), "msg_".len() + 32);
        let others = [
            ("call_event/X/2", "webhooks_x/0", "hook"),
            ("call_event/X/1", "webhooks_x/1", "hook"),
            ("call_event/X/1", "webhooks_x/0", "hooks"),
            ("call_event/X/1w", "ebhooks_x/0", "hook"),
        ];
        for (identity, place, hook) in others {
            assert_ne!(id, webhook_id(Some(identity), place, hook));
        }
        assert_ne!(webhook_id(None, "webhooks_x/0", "hook"), webhook_id(None, "webhooks_x/0", "hook"));
    }
}
