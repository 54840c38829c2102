//! Which deliveries an event causes: what modules fire for it, and the hooks that want that.

use std::sync::Arc;

use futures_util::future::join_all;
use tracing::warn;

use super::asking::{FailedModules, ask};
use super::slices::WorkSlice;
use super::webhook_id::webhook_id;
use crate::delivery::queue::{DeliveryQueue, EventBatch, PlannedDelivery, carried_hook};
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::{HookCandidate, candidates, wants};
use crate::hooks::table::HookTable;
use crate::model::Hook;
use crate::model::payload::Payload;
use crate::module::registry::LoadedModule;
use crate::module::{Firing, HookTarget};

/// What an event causes.
#[derive(Default)]
pub(super) struct EventDeliveries {
    /// One for each module through which it causes anything.
    pub(super) parts: Vec<EventBatch>,
    /// What keeps it from being accepted.
    pub(super) failed: Option<FailedModules>,
}

/// What deliveries are planned with.
pub(super) struct DeliveryPlanner<'l> {
    pub(super) table: &'l HookTable,
    pub(super) accounts: &'l Accounts,
    pub(super) queue: &'l DeliveryQueue,
}

impl DeliveryPlanner<'_> {
    /// What each of these events of one kind causes in the modules that answer it.
    pub(super) async fn plan(
        &self,
        events: &[Arc<Event>],
        modules: &[Arc<LoadedModule>],
    ) -> Vec<EventDeliveries> {
        let mut wishes: Vec<EventDeliveries> = events.iter().map(|_| EventDeliveries::default()).collect();
        let answers = join_all(modules.iter().map(|module| ask(module, events))).await;
        for (module, answers) in modules.iter().zip(answers) {
            for ((event, answer), wishes) in events.iter().zip(answers).zip(&mut wishes) {
                match answer {
                    Ok(firings) => wishes.parts.extend(self.caused(event, module, firings).await),
                    Err(failure) => {
                        let (generation, lines) = (module.figures().generation, event.trail().lines());
                        lines.in_scope(|| warn!(module = %module.id, generation, event = event.name(), error = %failure, "the module failed on an event"));
                        wishes.failed = FailedModules::of(module, &failure).or(wishes.failed.take());
                    }
                }
            }
        }
        wishes
    }

    /// What an event causes through one module, if anything. Each module's part has an identity of its own: when one
    /// module could not handle an event that others did, the event may come again, and causes just what is missing.
    async fn caused(&self, event: &Event, module: &LoadedModule, firings: Vec<Firing>) -> Option<EventBatch> {
        let mut wanted = Vec::new();
        self.want(event, module, firings, &mut wanted).await;
        if wanted.is_empty() {
            return None;
        }
        let identity = event.identity().map(|identity| format!("{identity}:{}", module.id));
        Some(EventBatch { identity, wanted, trail: event.trail().of_deliveries() })
    }

    async fn want(
        &self,
        event: &Event,
        module: &LoadedModule,
        firings: Vec<Firing>,
        wanted: &mut Vec<PlannedDelivery>,
    ) {
        let mut slice = WorkSlice::begin();
        for (nth, Firing { target, payload }) in firings.into_iter().enumerate() {
            let place = format!("{}/{nth}", module.id);
            match target {
                HookTarget::Hooks { event: hook_event, account, internal_leg, filters } => {
                    let candidate = HookCandidate {
                        hook_event: &hook_event,
                        account: &account,
                        internal_leg,
                        filters: &filters,
                    };
                    let hooks = self.hooks(&candidate, &payload, &mut slice).await;
                    if hooks.is_empty() {
                        continue;
                    }
                    let bodies = self.queue.bodies(payload);
                    for hook in hooks {
                        wanted.push(PlannedDelivery {
                            webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                            hook,
                            carried: None,
                            bodies: Arc::clone(&bodies),
                        });
                        slice.rest().await;
                    }
                }
                HookTarget::Carried(document) => match carried_hook(&document) {
                    Some(hook) => wanted.push(PlannedDelivery {
                        webhook_id: webhook_id(event.identity(), &place, hook.id.as_str()),
                        hook: Arc::new(hook),
                        carried: Some(document),
                        bodies: self.queue.bodies(payload),
                    }),
                    None => event.trail().lines().in_scope(|| {
                        warn!(module = %module.id, event = event.name(), "the hook that the event carries is not one");
                    }),
                },
            }
        }
    }

    /// Hooks of the account, and of those above it, that want this payload.
    async fn hooks(
        &self,
        candidate: &HookCandidate<'_>,
        payload: &Payload,
        slice: &mut WorkSlice,
    ) -> Vec<Arc<Hook>> {
        let mut hooks = Vec::new();
        for hook in candidates(self.table, self.accounts, candidate) {
            if wants(&hook, candidate, payload) {
                hooks.push(hook);
            }
            slice.rest().await;
        }
        hooks
    }
}
