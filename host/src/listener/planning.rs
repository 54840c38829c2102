//! Which deliveries an event causes: what modules fire for it, and the hooks that want that.

use std::sync::Arc;

use futures_util::future::join_all;
use tracing::warn;

use super::asking::ask;
use super::failed_events::FailedEventKeeping;
use super::slices::WorkSlice;
use super::webhook_id::{FiringCounts, webhook_id};
use crate::config::FailedOverflow;
use crate::delivery::queue::{DeliveryQueue, EventBatch, PlannedDelivery, carried_hook};
use crate::event::Event;
use crate::hooks::accounts::Accounts;
use crate::hooks::matching::{HookCandidate, candidates, wants};
use crate::hooks::table::HookTable;
use crate::model::Hook;
use crate::model::payload::Payload;
use crate::module::jobs::CallFailure;
use crate::module::registry::LoadedModule;
use crate::module::{Firing, HookTarget};
use crate::store::FailedEventStep;

/// What an event causes.
#[derive(Default)]
pub(super) struct EventDeliveries {
    /// One for each module through which it causes anything, or which failed on it.
    pub(super) parts: Vec<EventBatch>,
    /// A module that answers it does not run, as the host stops: it cannot be accepted.
    pub(super) stopped: bool,
}

/// What deliveries are planned with.
pub(super) struct DeliveryPlanner<'l> {
    pub(super) table: &'l HookTable,
    pub(super) accounts: &'l Accounts,
    pub(super) queue: &'l DeliveryQueue,
    pub(super) failures: &'l FailedEventKeeping,
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
                        log_failure(self.failures, event, module, &failure);
                        match self.failures.keep(event, module, &failure) {
                            Some(step) => wishes.parts.push(batch(event, module, Vec::new(), Some(step))),
                            None => wishes.stopped = true,
                        }
                    }
                }
            }
        }
        for (event, wishes) in events.iter().zip(&mut wishes) {
            // Without an identity its parts are not recognised when it comes again: all of them are accepted, or none.
            if event.identity().is_none() && self.failures.rules().overflow == FailedOverflow::Refuse {
                wishes.parts.iter_mut().skip(1).for_each(|part| part.with_previous = true);
            }
        }
        wishes
    }

    /// What an event causes through one module, if anything. Each module's part has an identity of its own: when one
    /// module could not handle an event that others did, the event may come again, and causes just what is missing.
    async fn caused(&self, event: &Event, module: &LoadedModule, firings: Vec<Firing>) -> Option<EventBatch> {
        let wanted = self.wanted(event, module, firings).await;
        if wanted.is_empty() {
            return None;
        }
        Some(batch(event, module, wanted, self.failures.handled(module)))
    }

    /// The deliveries that these firings cause.
    pub(super) async fn wanted(
        &self,
        event: &Event,
        module: &LoadedModule,
        firings: Vec<Firing>,
    ) -> Vec<PlannedDelivery> {
        let mut wanted = Vec::new();
        let (mut slice, mut counts) = (WorkSlice::begin(), FiringCounts::default());
        for Firing { target, payload } in firings {
            let place = counts.place(&target);
            let id = |hook: &Hook| webhook_id(event.identity(), module.id.as_str(), &place, hook.id.as_str());
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
                            webhook_id: id(&hook),
                            hook,
                            carried: None,
                            bodies: Arc::clone(&bodies),
                        });
                        slice.rest().await;
                    }
                }
                HookTarget::Carried(document) => match carried_hook(&document) {
                    Some(hook) => wanted.push(PlannedDelivery {
                        webhook_id: id(&hook),
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
        wanted
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

/// What an event causes through one module, with what is done to those that failed before.
pub(super) fn batch(
    event: &Event,
    module: &LoadedModule,
    wanted: Vec<PlannedDelivery>,
    failed: Option<FailedEventStep>,
) -> EventBatch {
    let identity = event.identity().map(|identity| format!("{identity}:{}", module.id));
    EventBatch { identity, wanted, failed, with_previous: false, trail: event.trail().of_deliveries() }
}

/// Says in the event's log lines that the module failed on it, where that is worth a line.
pub(super) fn log_failure(
    failures: &FailedEventKeeping,
    event: &Event,
    module: &LoadedModule,
    failure: &CallFailure,
) {
    let Some(passed_over) = failures.figures_of(&module.id).line() else { return };
    let (generation, lines) = (module.figures().generation, event.trail().lines());
    lines.in_scope(|| {
        warn!(module = %module.id, generation, event = event.name(), error = %failure, passed_over, "the module failed on an event");
    });
}
