//! Whether a delivery that is due may be sent now: in its order, outside of pauses, within the hook's rate. What may not
//! waits in the store, known here by its id.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};

use super::held::Held;
use super::ordering::{self, Lines};
use super::payload::Payload;
use super::rate::{Bucket, Limit};
use super::work::Delivery;
use crate::disabler::Disabler;
use crate::disabler::pausing::Permission;
use crate::hooks::table::Table;
use crate::hooks::{Hook, HookId};
use crate::store::StoredDelivery;

/// How soon a hook is looked at again from which a probe was asked for, in milliseconds: its way leads through the
/// store, and it may have come to its end otherwise meanwhile.
const PROBE_ASKED_MS: i64 = 1000;

/// What stands between the lanes and the network. It outlives a run of dispatch.
pub struct Gate {
    table: Arc<Table>,
    disabler: Arc<Disabler>,
    /// For hooks without a limit of their own.
    limit: Option<Limit>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    lines: Lines,
    held: Held,
    buckets: FxHashMap<HookId, Bucket>,
    /// Called back, with a token in hand.
    admitted: FxHashSet<i64>,
}

/// How many deliveries wait for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// For the end of a pause, or for the hook's rate.
    pub held: usize,
    /// For an earlier delivery of the same call.
    pub ordered: usize,
}

impl Gate {
    /// An open one. `limit` is for hooks without one of their own.
    #[must_use]
    pub fn new(table: Arc<Table>, disabler: Arc<Disabler>, limit: Option<Limit>) -> Self {
        Gate { table, disabler, limit, state: Mutex::default() }
    }

    /// A delivery is due. Says whether it is its turn among those of its call; if not, [`Gate::ended`] answers it when
    /// it is.
    pub fn is_first(&self, delivery: &Delivery) -> bool {
        if !self.table.has_ordered() || delivery.carried.is_some() {
            return true;
        }
        self.enter(&delivery.hook, delivery.id, delivery.bodies.payload())
    }

    /// As [`Gate::is_first`], of deliveries of an earlier run, which must come by rising ids.
    pub fn expects(&self, stored: &StoredDelivery) -> bool {
        if !self.table.has_ordered() || stored.direct_hook.is_some() {
            return true;
        }
        // What cannot be read is told when it is to be sent.
        let payload = Payload::parse(Bytes::clone(&stored.payload));
        payload.map_or(true, |payload| self.enter(&stored.hook, stored.id, &payload))
    }

    fn enter(&self, hook: &HookId, id: i64, payload: &Payload) -> bool {
        let Some(hook) = self.table.get(hook) else { return true };
        let Some(key) = ordering::key(&hook, payload) else { return true };
        self.state.lock().lines.enter(&hook.id, key, id)
    }

    /// Whether a delivery may be sent now. If not, [`Gate::look`] answers it when it may.
    pub fn passes(&self, hook: &Hook, id: i64, now_ms: i64) -> bool {
        if !hook.enabled {
            return true;
        }
        let permission = self.disabler.permission(&hook.id, now_ms);
        if let Permission::NotBefore(until_ms) = permission {
            self.state.lock().held.hold(&hook.id, id, until_ms);
            return false;
        }
        if let Some(limit) = hook.rate_limit.or(self.limit)
            && !self.state.lock().has_token(hook, limit, id, now_ms)
        {
            return false;
        }
        if permission == Permission::Probe {
            self.disabler.probing(&hook.id, id);
        }
        true
    }

    /// A try has ended: `succeeded` as for [`Disabler::ended`], `over` says that the delivery is at its end. Answers
    /// the one whose turn it is then.
    pub fn ended(
        &self,
        hook: Option<&Hook>,
        id: i64,
        succeeded: Option<bool>,
        over: bool,
        now_ms: i64,
    ) -> Option<i64> {
        let resumed = hook.is_some_and(|hook| self.disabler.ended(hook, id, succeeded, now_ms));
        let mut state = self.state.lock();
        if resumed && let Some(hook) = hook {
            state.held.look_at(&hook.id, now_ms);
        }
        if over { state.lines.leave(id) } else { None }
    }

    /// A delivery that should be in the store is not. Answers the one whose turn it is then.
    pub fn gone(&self, id: i64) -> Option<i64> {
        let mut state = self.state.lock();
        state.admitted.remove(&id);
        state.lines.leave(id)
    }

    /// When [`Gate::look`] may answer something, Unix milliseconds.
    #[must_use]
    pub fn next_look(&self) -> Option<i64> {
        self.state.lock().held.next_look()
    }

    /// Deliveries that may be sent now and wait in the store.
    #[must_use]
    pub fn look(&self, now_ms: i64) -> Vec<i64> {
        let mut state = self.state.lock();
        let mut released = Vec::new();
        for id in state.held.due(now_ms) {
            let hook = self.table.get(&id).filter(|hook| hook.enabled);
            let permission = match &hook {
                Some(_) => self.disabler.permission(&id, now_ms),
                // It is given up as soon as somebody looks at it.
                None => Permission::Free,
            };
            match permission {
                Permission::NotBefore(until_ms) => state.held.look_at(&id, until_ms),
                Permission::Probe => {
                    released.extend(state.held.release(&id));
                    state.held.look_at(&id, now_ms.saturating_add(PROBE_ASKED_MS));
                }
                Permission::Free => match hook.and_then(|hook| hook.rate_limit.or(self.limit)) {
                    Some(limit) => state.release_within(&id, limit, now_ms, &mut released),
                    None => released.extend(std::iter::from_fn(|| state.held.release(&id))),
                },
            }
        }
        released
    }

    /// Waits until something has changed that may open the gate; then [`Gate::look`] looks at everything.
    pub async fn changes(&self, now_ms: impl Fn() -> i64) {
        self.disabler.changes().await;
        let now_ms = now_ms();
        let mut state = self.state.lock();
        state.held.look_at_all(now_ms);
        state.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
    }

    /// How many deliveries wait for what.
    #[must_use]
    pub fn waiting(&self) -> Waiting {
        let state = self.state.lock();
        Waiting { held: state.held.len(), ordered: state.lines.waiting() }
    }
}

impl State {
    fn has_token(&mut self, hook: &Hook, limit: Limit, id: i64, now_ms: i64) -> bool {
        if self.admitted.remove(&id) {
            return true;
        }
        let taken = match self.held.holds(&hook.id) {
            // Those that came before it go before it.
            true => Err(i64::MAX),
            false => self.bucket(&hook.id, limit).take(now_ms),
        };
        match taken {
            Ok(()) => true,
            Err(at_ms) => {
                self.held.hold(&hook.id, id, at_ms);
                false
            }
        }
    }

    fn release_within(&mut self, hook: &HookId, limit: Limit, now_ms: i64, released: &mut Vec<i64>) {
        while self.held.holds(hook) {
            match self.bucket(hook, limit).take(now_ms) {
                Ok(()) => {
                    let id = self.held.release(hook);
                    self.admitted.extend(id);
                    released.extend(id);
                }
                Err(at_ms) => return self.held.look_at(hook, at_ms),
            }
        }
    }

    fn bucket(&mut self, hook: &HookId, limit: Limit) -> &mut Bucket {
        let bucket = self.buckets.entry(hook.clone()).or_insert_with(|| Bucket::new(limit));
        bucket.adopt(limit);
        bucket
    }
}
