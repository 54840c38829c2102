//! Whether a delivery that is due may be sent now: in its order, outside of pauses, within the hook's rate. What may not
//! waits in the store, known here by its id.

use std::sync::Arc;

use bytes::Bytes;
use foldhash::HashMap;
use parking_lot::Mutex;
use rustc_hash::FxHashSet;

use super::held::HeldDeliveries;
use super::ordering::{self, CallOrder};
use super::work::PendingDelivery;
use crate::disabler::Disabler;
use crate::disabler::pausing::SendPermission;
use crate::hooks::table::HookTable;
use crate::model::payload::Payload;
use crate::model::rate::{RateBound, TokenBucket};
use crate::model::{Hook, HookId};
use crate::store::{StoredDelivery, WaitingRow};

/// How soon a hook is looked at again from which a probe was asked for, in milliseconds: its way leads through the
/// store, and it may have come to its end otherwise meanwhile.
const PROBE_ASKED_MS: i64 = 1000;

/// What stands between the lanes and the network. It outlives a run of dispatch.
pub struct SendGate {
    table: Arc<HookTable>,
    disabler: Arc<Disabler>,
    /// For hooks without a limit of their own.
    limit: Option<RateBound>,
    state: Mutex<GateState>,
}

#[derive(Default)]
struct GateState {
    lines: CallOrder,
    held: HeldDeliveries,
    buckets: HashMap<HookId, TokenBucket>,
    /// Called back, with a token in hand.
    admitted: FxHashSet<i64>,
    /// When it was looked last, Unix milliseconds.
    looked_ms: Option<i64>,
}

/// How many deliveries wait for what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GateWaiters {
    /// For the end of a pause, or for the hook's rate.
    pub held: usize,
    /// For an earlier delivery of the same call.
    pub ordered: usize,
}

impl SendGate {
    /// An open one. `limit` is for hooks without one of their own.
    #[must_use]
    pub fn new(table: Arc<HookTable>, disabler: Arc<Disabler>, limit: Option<RateBound>) -> Self {
        SendGate { table, disabler, limit, state: Mutex::default() }
    }

    /// A delivery is due. Says whether it is its turn among those of its call; if not, [`SendGate::ended`] answers it when
    /// it is.
    pub fn is_first(&self, delivery: &PendingDelivery) -> bool {
        if !self.table.has_ordered() || delivery.carried.is_some() {
            return true;
        }
        self.enter(&delivery.hook, delivery.id, delivery.bodies.payload())
    }

    /// Whether [`SendGate::expects`] has to be asked of a delivery that waits in the store, which needs its payload.
    pub fn orders(&self, row: &WaitingRow) -> bool {
        self.table.has_ordered()
            && !row.carries_hook
            && self.table.get(&row.hook).is_some_and(|hook| hook.ordering.is_some())
    }

    /// As [`SendGate::is_first`], of deliveries of an earlier run, which must come by rising ids.
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

    /// Whether a delivery may be sent now. If not, [`SendGate::look`] answers it when it may.
    pub fn passes(&self, hook: &Hook, id: i64, now_ms: i64) -> bool {
        if !hook.enabled {
            return true;
        }
        let permission = self.disabler.permission(&hook.id, now_ms);
        if let SendPermission::NotBefore(until_ms) = permission {
            self.state.lock().held.hold(&hook.id, id, until_ms);
            return false;
        }
        if let Some(limit) = self.limit_of(Some(hook))
            && !self.state.lock().has_token(hook, limit, id, now_ms)
        {
            return false;
        }
        if permission == SendPermission::Probe {
            self.disabler.probing(&hook.id, id);
        }
        true
    }

    fn limit_of(&self, hook: Option<&Hook>) -> Option<RateBound> {
        hook.and_then(|hook| hook.rate_limit.or(self.limit))
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
        let resumed = hook.is_some_and(|hook| {
            // What ends after its hook was switched off or taken away says nothing of one that is on.
            let counts = self.table.get(&hook.id).is_some_and(|now| now.enabled);
            self.disabler.ended(hook, id, succeeded.filter(|_| counts), now_ms)
        });
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

    /// When [`SendGate::look`] may answer something, Unix milliseconds.
    #[must_use]
    pub fn next_look(&self) -> Option<i64> {
        self.state.lock().held.next_look()
    }

    /// Deliveries that may be sent now and wait in the store.
    #[must_use]
    pub fn look(&self, now_ms: i64) -> Vec<i64> {
        let mut state = self.state.lock();
        // Times to look at hooks are of the clock as it was before it was set back.
        if state.looked_ms.replace(now_ms).is_some_and(|looked_ms| looked_ms > now_ms) {
            state.held.look_at_all(now_ms);
        }
        let mut released = Vec::new();
        for id in state.held.due(now_ms) {
            let hook = self.table.get(&id).filter(|hook| hook.enabled);
            let permission = match &hook {
                Some(_) => self.disabler.permission(&id, now_ms),
                // It is given up as soon as somebody looks at it.
                None => SendPermission::Free,
            };
            match permission {
                SendPermission::NotBefore(until_ms) => state.held.look_at(&id, until_ms),
                SendPermission::Probe => {
                    let asked_ms = now_ms.saturating_add(PROBE_ASKED_MS);
                    state.release(&id, self.limit_of(hook.as_deref()), 1, now_ms, asked_ms, &mut released);
                }
                SendPermission::Free => {
                    let limit = self.limit_of(hook.as_deref());
                    state.release(&id, limit, usize::MAX, now_ms, now_ms, &mut released);
                }
            }
        }
        released
    }

    /// Waits until something has changed that may open the gate; then [`SendGate::look`] looks at everything.
    pub async fn changes(&self, now_ms: impl Fn() -> i64) {
        self.disabler.changes().await;
        let now_ms = now_ms();
        let mut state = self.state.lock();
        state.held.look_at_all(now_ms);
        state.buckets.retain(|_, bucket| !bucket.is_full(now_ms));
    }

    /// How many deliveries wait for what.
    #[must_use]
    pub fn waiting(&self) -> GateWaiters {
        let state = self.state.lock();
        GateWaiters { held: state.held.len(), ordered: state.lines.waiting() }
    }
}

impl GateState {
    fn has_token(&mut self, hook: &Hook, limit: RateBound, id: i64, now_ms: i64) -> bool {
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

    /// Releases up to `most` of a hook, each with a token where there is a limit. Where some are left, the hook is looked
    /// at again when a token comes back, or at `look_ms`.
    fn release(
        &mut self,
        hook: &HookId,
        limit: Option<RateBound>,
        most: usize,
        now_ms: i64,
        look_ms: i64,
        released: &mut Vec<i64>,
    ) {
        for _ in 0..most {
            if !self.held.holds(hook) {
                return;
            }
            if let Some(limit) = limit
                && let Err(at_ms) = self.bucket(hook, limit).take(now_ms)
            {
                return self.held.look_at(hook, at_ms);
            }
            let id = self.held.release(hook);
            self.admitted.extend(id.filter(|_| limit.is_some()));
            released.extend(id);
        }
        self.held.look_at(hook, look_ms);
    }

    fn bucket(&mut self, hook: &HookId, limit: RateBound) -> &mut TokenBucket {
        let bucket = self.buckets.entry(hook.clone()).or_insert_with(|| TokenBucket::new(limit));
        bucket.adopt(limit);
        bucket
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::config::Config;
    use crate::model::Profile;

    /// Three failures are a pause of a second.
    fn gate(hook: Value) -> (SendGate, Hook) {
        let mut document =
            json!({"_id": "h", "pvt_account_id": "a", "uri": "http://x/", "hook": "all", "format": "json"});
        document.as_object_mut().unwrap().extend(hook.as_object().cloned().unwrap());
        let hook = Hook::from_document(document.as_object().unwrap()).unwrap();
        let table = Arc::new(HookTable::new());
        table.put(hook.clone());
        let settings = "disabler.attempt_failure_count = 3\ndisabler.pause_first_ms = 1000\n";
        let settings = Config::from_toml(settings, "settings").unwrap().disabler;
        let disabler =
            Disabler::new(Profile::Standard, &settings, Arc::default(), Arc::default(), "n".to_owned());
        (SendGate::new(table, Arc::new(disabler), None), hook)
    }

    fn fails(gate: &SendGate, hook: &Hook, id: i64, now_ms: i64) {
        assert!(gate.passes(hook, id, now_ms));
        gate.ended(Some(hook), id, Some(false), true, now_ms);
    }

    #[test]
    fn what_waits_in_a_pause_goes_one_by_one_until_one_succeeds() {
        let (gate, hook) = gate(json!({}));
        (1..=3).for_each(|id| fails(&gate, &hook, id, 0));
        assert!((4..=8).all(|id| !gate.passes(&hook, id, 10)));
        assert_eq!(gate.waiting(), GateWaiters { held: 5, ordered: 0 });
        assert_eq!((gate.next_look(), gate.look(999)), (Some(1000), vec![]));

        assert_eq!(gate.look(1000), [4]);
        fails(&gate, &hook, 4, 1000);
        assert!(gate.look(2000).is_empty(), "the second pause is twice as long");
        assert_eq!(gate.look(3000), [5]);
        assert!(gate.passes(&hook, 5, 3000));
        assert!(!gate.passes(&hook, 9, 3000), "one probe is enough");
        gate.ended(Some(&hook), 5, Some(true), true, 3001);

        assert_eq!(gate.look(3001), [6, 7, 8, 9]);
        assert!((6..=9).all(|id| gate.passes(&hook, id, 3001)));
        assert_eq!(gate.next_look(), None);
    }

    #[test]
    fn a_clock_that_is_set_back_while_the_host_runs_lengthens_no_wait() {
        const DAY: i64 = 86_400_000;
        let (gate, hook) = gate(json!({}));
        (1..=3).for_each(|id| fails(&gate, &hook, id, DAY));
        assert!((4..=6).all(|id| !gate.passes(&hook, id, DAY)));
        assert!(gate.look(DAY + 10).is_empty());
        assert!(gate.look(500).is_empty(), "the pause of a second begins anew");
        assert_eq!(gate.next_look(), Some(1500));
        assert_eq!(gate.look(1500), [4]);
    }

    #[test]
    fn a_probe_that_never_comes_is_asked_for_again() {
        let (gate, hook) = gate(json!({}));
        (1..=3).for_each(|id| fails(&gate, &hook, id, 0));
        assert!((4..=5).all(|id| !gate.passes(&hook, id, 10)));
        assert_eq!(gate.look(1000), [4]);
        assert_eq!(gate.gone(4), None);
        assert!(gate.look(1999).is_empty());
        assert_eq!(gate.look(2000), [5]);
    }

    #[test]
    fn a_probe_of_a_limited_hook_takes_its_token_although_others_wait() {
        let (gate, hook) = gate(json!({"rate_limit": {"count": 4, "per_ms": 5000}}));
        (1..=3).for_each(|id| fails(&gate, &hook, id, 0));
        assert!((4..=8).all(|id| !gate.passes(&hook, id, 10)));

        assert_eq!(gate.look(1000), [4]);
        assert!(gate.passes(&hook, 4, 1000));
        gate.ended(Some(&hook), 4, Some(true), true, 1001);

        assert!(gate.look(1001).is_empty(), "all tokens are out");
        assert_eq!(gate.next_look(), Some(5000));
        assert_eq!(gate.look(5000), [5, 6, 7]);
        assert!((5..=7).all(|id| gate.passes(&hook, id, 5000)));
        assert_eq!(gate.look(6000), [8]);
    }

    #[test]
    fn what_fails_after_its_hook_was_taken_away_counts_no_more() {
        let (gate, hook) = gate(json!({}));
        assert!((1..=3).all(|id| gate.passes(&hook, id, 0)));
        gate.table.remove(&hook.id);
        for id in 1..=3 {
            gate.ended(Some(&hook), id, Some(false), true, 0);
        }
        assert!(gate.disabler.list(None, 0).is_empty());
    }
}
