//! Hooks are divided among shards, each with a scheduler, a thread and connections of its own. Which shard a hook
//! belongs to follows from its id alone, so what holds of one hook (its order, its rate, its pauses) is decided in one
//! place, and no two shards have to agree about anything.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::due::{DueDeliveries, DueRules};
use super::scheduler::{HookConcurrency, Scheduler, SchedulerLimits};
use super::work::PendingDelivery;
use crate::clock::now_ms;
use crate::model::HookId;
use crate::store::{RevivedDelivery, WaitingRow};

/// The shard of a hook, of so many.
#[must_use]
pub fn shard_of(hook: &HookId, shards: usize) -> usize {
    if shards < 2 {
        return 0;
    }
    // Those who choose ids gain nothing by choosing a shard: it is theirs alone that becomes slower.
    let hash = FixedState::default().hash_one(hook.as_str());
    usize::try_from(hash % shards as u64).unwrap_or_default()
}

/// What is due in all shards.
pub struct DueShards {
    shards: Vec<Arc<DueDeliveries>>,
    rules: Arc<DueRules>,
}

impl DueShards {
    /// Nothing is due. Each of so many shards has its part of the limits; there are no more of them than requests may
    /// be in flight.
    #[must_use]
    pub fn new(limits: SchedulerLimits, shards: usize, rules: DueRules) -> Self {
        let shards = shards.clamp(1, limits.in_flight.max(1));
        let (rules, limits) = (Arc::new(rules), limits.part_of(shards));
        let due = |_| Arc::new(DueDeliveries::new(limits, Arc::clone(&rules)));
        DueShards { shards: (0..shards).map(due).collect(), rules }
    }

    /// The shards.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<DueDeliveries>> {
        self.shards.iter()
    }

    /// Which shard a hook belongs to.
    #[must_use]
    pub fn place(&self, hook: &HookId) -> usize {
        shard_of(hook, self.shards.len())
    }

    fn of(&self, hook: &HookId) -> Option<&Arc<DueDeliveries>> {
        self.shards.get(self.place(hook))
    }

    /// These are new and due, each with its shard.
    pub fn add(&self, deliveries: impl Iterator<Item = PendingDelivery>) {
        if let [only] = self.shards.as_slice() {
            return only.add(deliveries);
        }
        let parts = self.divided(deliveries, |delivery| &delivery.hook);
        let parts = self.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        parts.for_each(|(shard, part)| shard.add(part.into_iter()));
    }

    /// An earlier run has left these, as [`DueDeliveries::take_up`] takes them.
    pub fn take_up(&self, rows: Vec<(WaitingRow, Option<String>)>) {
        if let [only] = self.shards.as_slice() {
            return only.take_up(rows);
        }
        let parts = self.divided(rows.into_iter(), |(row, _)| &row.hook);
        let parts = self.shards.iter().zip(parts).filter(|(_, part)| !part.is_empty());
        parts.for_each(|(shard, part)| shard.take_up(part));
    }

    fn divided<T>(&self, items: impl Iterator<Item = T>, hook: impl Fn(&T) -> &HookId) -> Vec<Vec<T>> {
        let mut parts: Vec<Vec<T>> = self.shards.iter().map(|_| Vec::new()).collect();
        for item in items {
            if let Some(part) = parts.get_mut(shard_of(hook(&item), self.shards.len())) {
                part.push(item);
            }
        }
        parts
    }

    /// These are due again, now.
    pub fn bring_back(&self, revived: &[RevivedDelivery]) {
        let now_ms = now_ms();
        for delivery in revived {
            if let Some(shard) = self.of(&delivery.hook) {
                shard.later(delivery.id, now_ms);
            }
        }
    }

    /// What is decided with besides what is due.
    #[must_use]
    pub fn rules(&self) -> &DueRules {
        &self.rules
    }

    /// Tells all shards whose permissions may have changed, for as long as it is awaited.
    pub async fn follow_permissions(&self) {
        loop {
            let changes = self.rules.disabler.changes().await;
            self.shards.iter().for_each(|shard| shard.permissions_changed(&changes));
        }
    }

    /// How many requests a hook has, and may have.
    #[must_use]
    pub fn concurrency(&self, hook: &HookId) -> HookConcurrency {
        self.of(hook).map(|shard| shard.concurrency(hook)).unwrap_or_default()
    }

    /// The sum of what is looked at in each shard, one after the other.
    #[must_use]
    pub fn sum(&self, look: impl Fn(&Scheduler<PendingDelivery>) -> usize) -> usize {
        self.shards.iter().map(|shard| shard.with(|scheduler| look(scheduler))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_hook_has_its_shard_and_no_shard_has_much_more_than_its_part() {
        for shards in [1, 2, 3, 4, 8, 64] {
            let mut counts = vec![0_usize; shards];
            for hook in 0..64_000 {
                let hook = HookId::from(format!("{hook:032x}"));
                let shard = shard_of(&hook, shards);
                assert_eq!(shard, shard_of(&hook, shards));
                counts[shard] += 1;
            }
            let part = 64_000 / shards;
            assert!(counts.iter().all(|count| count.abs_diff(part) <= part / 4), "{shards}: {counts:?}");
        }
    }
}
