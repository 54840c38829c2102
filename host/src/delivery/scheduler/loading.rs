//! What of the waiting deliveries is in memory, and what is brought there from the store.

use tokio::time::Instant;

use super::engine::Scheduler;
use super::hook_queue::{WaitingDelivery, WaitingPlace};
use super::shares::{ShareWeight, may_take};
use super::speed::EndpointSpeed;
use super::states::DeliveryState;
use super::tree::GroupId;
use crate::model::HookId;

/// Deliveries that are read from the store at once.
const AT_ONCE: usize = 64;

/// Bytes of payloads that are read from the store at once, as long as it is more than one.
const BYTES_AT_ONCE: usize = 1 << 20;

/// How many hooks of an account are looked at for more to read.
const LOOKED_AT: usize = 4 * AT_ONCE;

/// The level of a hook among those that share memory: below any account.
const HOOK_LEVEL: usize = 3;

impl<T> Scheduler<T> {
    /// What is to be brought from the store: each is answered by [`Scheduler::loaded`].
    pub fn take_loads(&mut self) -> Vec<i64> {
        std::mem::take(&mut self.loads)
    }

    /// A delivery has come from the store; nothing, if it is not pending there any more. Then it does not wait any more.
    pub fn loaded(&mut self, id: i64, delivery: Option<T>, now: Instant) {
        let Some(hook) = self.waits_for(id) else { return };
        let Some(queue) = self.hooks.get_mut(&hook) else { return };
        let is_it =
            |entry: &WaitingDelivery<T>| entry.id == id && matches!(entry.place, WaitingPlace::Loading);
        // What is read stands at the front, as it is read in its order.
        let Some(place) = queue.entries.iter().position(is_it) else { return };
        let (leaf, not_now) = (queue.leaf, queue.speed == EndpointSpeed::Slow || queue.block.is_some());
        let Some(entry) = queue.entries.get_mut(place) else { return };
        let (bytes, is_gone) = (entry.bytes, delivery.is_none());
        self.tree.change_only(leaf, |group| group.loading -= 1);
        match delivery {
            Some(delivery) if !not_now => entry.place = WaitingPlace::Memory(Box::new(delivery), None),
            // Its endpoint has turned out to be slow meanwhile, or may not be sent to.
            Some(_) => {
                entry.place = WaitingPlace::Stored;
                queue.in_memory -= 1;
                self.vacate(leaf, None, bytes);
            }
            None => {
                queue.entries.remove(place);
                queue.in_memory -= 1;
                self.states.remove(&id);
                self.waiting -= 1;
                self.vacate(leaf, None, bytes);
            }
        }
        if is_gone {
            self.probe_ended(&hook, id);
            self.leave_line(id, now);
        }
        self.list(&hook);
        self.remove_if_idle(&hook, now);
    }

    fn waits_for(&self, id: i64) -> Option<HookId> {
        match self.states.get(&id) {
            Some(DeliveryState::Waiting(hook)) => Some(hook.clone()),
            _ => None,
        }
    }

    /// What was on its way from the store waits there again.
    pub fn forget_loads(&mut self) {
        self.loads.clear();
        let is_loading = |entry: &WaitingDelivery<T>| matches!(entry.place, WaitingPlace::Loading);
        let loading: Vec<i64> = self
            .hooks
            .values()
            .flat_map(|queue| queue.entries.iter().filter(|entry| is_loading(entry)))
            .map(|entry| entry.id)
            .collect();
        loading.into_iter().for_each(|id| self.not_loaded(id));
    }

    /// A delivery could not be read; it waits in the store as before.
    pub fn not_loaded(&mut self, id: i64) {
        let Some(hook) = self.waits_for(id) else { return };
        let Some(queue) = self.hooks.get_mut(&hook) else { return };
        let (leaf, mut found) = (queue.leaf, None);
        for entry in queue.entries.iter_mut().filter(|entry| entry.id == id) {
            if matches!(entry.place, WaitingPlace::Loading) {
                entry.place = WaitingPlace::Stored;
                found = Some(entry.bytes);
            }
        }
        if let Some(bytes) = found {
            queue.in_memory -= 1;
            self.vacate(leaf, None, bytes);
            self.tree.change_only(leaf, |group| group.loading -= 1);
            self.list(&hook);
        }
    }

    /// The turn of a hook has come whose first delivery is in the store: brings it from there, with what comes next.
    /// Says whether there was room for any.
    pub(super) fn read_ahead(&mut self, hook: &HookId) -> bool {
        let Some(queue) = self.hooks.get(hook) else { return false };
        let (leaf, speed) = (queue.leaf, queue.speed);
        let coming: Vec<HookId> = self
            .tree
            .coming(leaf, speed)
            .take(LOOKED_AT)
            .filter(|(hook, number)| {
                self.hooks
                    .get(*hook)
                    .is_some_and(|queue| queue.listed == Some(*number) && queue.starts_in_store())
            })
            .map(|(hook, _)| hook.clone())
            .take(AT_ONCE - 1)
            .collect();
        let each = AT_ONCE / (coming.len() + 1);
        let (mut count, mut bytes) = (0, 0);
        for hook in std::iter::once(hook).chain(&coming) {
            let (read, size) = self.read(hook, each, BYTES_AT_ONCE.saturating_sub(bytes), count == 0);
            count += read;
            bytes += size;
            if read == 0 {
                break;
            }
        }
        count > 0
    }

    /// Reads up to `most` deliveries of a hook from the front on, of up to `bytes`, or one at any rate.
    fn read(&mut self, hook: &HookId, most: usize, bytes: usize, one_at_any_rate: bool) -> (usize, usize) {
        let (mut count, mut size) = (0, 0);
        while count < most {
            let Some(queue) = self.hooks.get(hook) else { break };
            let Some(entry) =
                queue.entries.get(count).filter(|entry| matches!(entry.place, WaitingPlace::Stored))
            else {
                break;
            };
            let (leaf, id, own) = (queue.leaf, entry.id, entry.bytes);
            let fits = size + own <= bytes || (one_at_any_rate && count == 0);
            if !fits || !self.has_room(hook, own, false) {
                break;
            }
            self.occupy(leaf, None, own);
            self.tree.change_only(leaf, |group| group.loading += 1);
            if let Some(queue) = self.hooks.get_mut(hook) {
                queue.in_memory += 1;
                // It has no turn before it has come; the entry for it is out of date.
                queue.listed = None;
                if let Some(entry) = queue.entries.get_mut(count) {
                    entry.place = WaitingPlace::Loading;
                }
            }
            self.loads.push(id);
            count += 1;
            size += own;
        }
        (count, size)
    }

    /// What waits of a hook leaves the memory: its endpoint is slow.
    pub(super) fn leave_memory(&mut self, hook: &HookId) {
        let Some(queue) = self.hooks.get_mut(hook) else { return };
        let (leaf, mut left) = (queue.leaf, Vec::new());
        for entry in &mut queue.entries {
            if let WaitingPlace::Memory(_, shared) = entry.place {
                entry.place = WaitingPlace::Stored;
                left.push((shared, entry.bytes));
            }
        }
        queue.in_memory -= left.len();
        left.into_iter().for_each(|(shared, bytes)| self.vacate(leaf, shared, bytes));
    }

    /// Whether a delivery of so many bytes may be in memory while it waits. A new one may not overtake those of its hook
    /// that wait in the store.
    pub(super) fn has_room(&self, hook: &HookId, bytes: usize, new: bool) -> bool {
        let Some(queue) = self.hooks.get(hook) else { return false };
        let behind = queue.entries.back().is_some_and(|last| !matches!(last.place, WaitingPlace::Memory(..)));
        if new && (behind || queue.speed == EndpointSpeed::Slow || queue.block.is_some()) {
            return false;
        }
        let (used, used_bytes) = self.tree.total(|all| (all.waiting, all.waiting_bytes));
        let free = self.limits.waiting.saturating_sub(used);
        let free_bytes = (self.limits.bytes / 2).saturating_sub(used_bytes);
        bytes <= free_bytes
            && may_take(ShareWeight::Kept, HOOK_LEVEL, queue.in_memory, free)
            && self.tree.all_may_take(queue.leaf, free, |group| group.waiting)
            && self.tree.all_may_take(queue.leaf, free_bytes, |group| group.waiting_bytes)
    }

    /// A delivery takes a place in memory.
    pub(super) fn occupy(&mut self, leaf: GroupId, shared: Option<u64>, bytes: usize) {
        let cost = match shared {
            None => bytes,
            Some(payload) => {
                let sharing = self.shared.entry((leaf, payload)).or_default();
                *sharing += 1;
                if *sharing == 1 { bytes } else { 0 }
            }
        };
        self.tree.change(leaf, |group| {
            group.waiting += 1;
            group.waiting_bytes += cost;
        });
    }

    /// A delivery gives its place in memory back.
    pub(super) fn vacate(&mut self, leaf: GroupId, shared: Option<u64>, bytes: usize) {
        let cost = match shared {
            None => bytes,
            Some(payload) => match self.shared.get_mut(&(leaf, payload)) {
                Some(sharing) if *sharing > 1 => {
                    *sharing -= 1;
                    0
                }
                _ => {
                    self.shared.remove(&(leaf, payload));
                    bytes
                }
            },
        };
        self.tree.change(leaf, |group| {
            group.waiting -= 1;
            group.waiting_bytes = group.waiting_bytes.saturating_sub(cost);
        });
    }
}
