//! The hooks in memory, indexed by what a firing asks for: an account and an event.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashMap;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

use crate::model::{AccountId, Hook, HookEvent, HookId};

/// Enough that two cores' worth of listeners seldom meet in one lock; a power of two.
const SHARDS: usize = 16;

/// All hooks, enabled or not. Readers take one shard's read lock; writers one at a time.
///
/// A writer that panics leaves whole hooks behind: every step puts or takes one complete entry.
#[derive(Debug, Default)]
pub struct HookTable {
    /// Held for the whole of a change, so that the index never disagrees with it for a second writer.
    hooks: RwLock<HashMap<HookId, Arc<Hook>>>,
    index: [RwLock<HashMap<AccountId, ByEvent>>; SHARDS],
    /// Which shard an account is in.
    shards: RandomState,
    /// How many of them want events in order.
    ordered: AtomicUsize,
}

/// The hooks of one account.
#[derive(Debug, Default)]
struct ByEvent {
    all: Vec<Arc<Hook>>,
    named: HashMap<Arc<str>, Vec<Arc<Hook>>>,
}

impl HookTable {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a hook, or replaces the one with its id; gives back what was there before.
    /// (The original keeps the first of two documents with one id; an edit must not.)
    pub fn put(&self, hook: Hook) -> Option<Arc<Hook>> {
        let hook = Arc::new(hook);
        let mut hooks = self.hooks.write();
        let before = hooks.insert(hook.id.clone(), hook.clone());
        self.ordered.fetch_add(usize::from(hook.ordering.is_some()), Ordering::Relaxed);
        self.count_out(before.as_deref());
        match &before {
            // Same place: swapped under one lock, so that no reader sees neither of the two.
            Some(old) if old.account == hook.account => {
                let mut shard = self.shard(&hook.account).write();
                let account = shard.entry(hook.account.clone()).or_default();
                if old.event == hook.event {
                    account.replace(hook);
                } else {
                    account.remove(old);
                    account.add(hook);
                }
            }
            _ => {
                if let Some(old) = &before {
                    self.unlink(old);
                }
                self.shard(&hook.account).write().entry(hook.account.clone()).or_default().add(hook);
            }
        }
        before
    }

    /// Takes a hook out.
    pub fn remove(&self, id: &HookId) -> Option<Arc<Hook>> {
        let mut hooks = self.hooks.write();
        let hook = hooks.remove(id)?;
        self.count_out(Some(&hook));
        self.unlink(&hook);
        Some(hook)
    }

    /// Takes out all hooks that an account owns; says how many there were.
    pub fn remove_account(&self, account: &AccountId) -> usize {
        let mut hooks = self.hooks.write();
        let Some(owned) = self.shard(account).write().remove(account) else {
            return 0;
        };
        let removed = owned.iter().filter_map(|hook| hooks.remove(&hook.id));
        removed.inspect(|hook| self.count_out(Some(hook))).count()
    }

    /// Whether any hook wants events in order: most installations need not look for more.
    pub fn has_ordered(&self) -> bool {
        self.ordered.load(Ordering::Relaxed) > 0
    }

    fn count_out(&self, hook: Option<&Hook>) {
        let ordered = hook.is_some_and(|hook| hook.ordering.is_some());
        self.ordered.fetch_sub(usize::from(ordered), Ordering::Relaxed);
    }

    /// The hook with this id.
    pub fn get(&self, id: &HookId) -> Option<Arc<Hook>> {
        self.hooks.read().get(id).cloned()
    }

    /// How many hooks there are.
    pub fn len(&self) -> usize {
        self.hooks.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All hooks, in no order.
    pub fn all(&self) -> Vec<Arc<Hook>> {
        self.hooks.read().values().cloned().collect()
    }

    /// All hooks of an account, sorted by id.
    pub fn of_account(&self, account: &AccountId) -> Vec<Arc<Hook>> {
        let shard = self.shard(account).read();
        let mut owned: Vec<_> =
            shard.get(account).map(|by_event| by_event.iter().cloned().collect()).unwrap_or_default();
        owned.sort_by(|a, b| a.id.cmp(&b.id));
        owned
    }

    /// The hooks of an account that want this event (in lower case, as in documents): those that name it
    /// first, then those that want all; each in the order of their arrival. Costs the same however many
    /// hooks the table holds.
    pub fn own(&self, account: &AccountId, event: &str) -> Vec<Arc<Hook>> {
        let shard = self.shard(account).read();
        let Some(by_event) = shard.get(account) else {
            return Vec::new();
        };
        let named = by_event.named.get(event).map_or(&[][..], Vec::as_slice);
        let mut own = Vec::with_capacity(named.len() + by_event.all.len());
        own.extend_from_slice(named);
        own.extend_from_slice(&by_event.all);
        own
    }

    fn unlink(&self, hook: &Hook) {
        let mut shard = self.shard(&hook.account).write();
        if let Some(account) = shard.get_mut(&hook.account) {
            account.remove(hook);
            if account.all.is_empty() && account.named.is_empty() {
                shard.remove(&hook.account);
            }
        }
    }

    fn shard(&self, account: &AccountId) -> &RwLock<HashMap<AccountId, ByEvent>> {
        // The high bits: the map inside the shard uses the low ones.
        let hash = self.shards.hash_one(account.as_str());
        &self.index[(hash >> 48) as usize % SHARDS]
    }
}

impl ByEvent {
    fn add(&mut self, hook: Arc<Hook>) {
        match &hook.event {
            HookEvent::All => self.all.push(hook),
            HookEvent::Named(name) => self.named.entry(name.clone()).or_default().push(hook),
        }
    }

    fn replace(&mut self, hook: Arc<Hook>) {
        let place = match &hook.event {
            HookEvent::All => Some(&mut self.all),
            HookEvent::Named(name) => self.named.get_mut(name),
        };
        match place.and_then(|hooks| hooks.iter_mut().find(|old| old.id == hook.id)) {
            Some(old) => *old = hook,
            None => self.add(hook),
        }
    }

    fn remove(&mut self, hook: &Hook) {
        match &hook.event {
            HookEvent::All => self.all.retain(|other| other.id != hook.id),
            HookEvent::Named(name) => {
                if let Some(hooks) = self.named.get_mut(name) {
                    hooks.retain(|other| other.id != hook.id);
                    if hooks.is_empty() {
                        self.named.remove(name);
                    }
                }
            }
        }
    }

    fn iter(&self) -> impl Iterator<Item = &Arc<Hook>> {
        self.named.values().flatten().chain(&self.all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn hook(id: u8, account: u8, event: u8) -> Hook {
        let event = ["all", "channel_create", "object"][event as usize % 3];
        let document = json!({
            "_id": format!("h{id}"), "pvt_account_id": format!("a{account}"), "hook": event, "uri": "http://x/",
            "ordering": if account == 0 { "call" } else { "none" },
        });
        Hook::from_document(document.as_object().unwrap()).unwrap()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Put(u8, u8, u8),
        Remove(u8),
        RemoveAccount(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            6 => (0..12u8, 0..4u8, 0..3u8).prop_map(|(id, account, event)| Step::Put(id, account, event)),
            3 => (0..12u8).prop_map(Step::Remove),
            1 => (0..4u8).prop_map(Step::RemoveAccount),
        ];
        prop::collection::vec(step, 0..60)
    }

    fn ids<'a>(hooks: impl IntoIterator<Item = &'a Hook>) -> BTreeSet<HookId> {
        hooks.into_iter().map(|hook| hook.id.clone()).collect()
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_a_plain_list_whatever_is_put_and_removed(steps in steps()) {
            let table = HookTable::new();
            let mut list: Vec<Hook> = Vec::new();
            for step in steps {
                match step {
                    Step::Put(id, account, event) => {
                        let hook = hook(id, account, event);
                        list.retain(|other| other.id != hook.id);
                        list.push(hook.clone());
                        table.put(hook);
                    }
                    Step::Remove(id) => {
                        let id = HookId::from(format!("h{id}"));
                        list.retain(|other| other.id != id);
                        table.remove(&id);
                    }
                    Step::RemoveAccount(account) => {
                        let account = AccountId::from(format!("a{account}"));
                        let before = list.len();
                        list.retain(|other| other.account != account);
                        prop_assert_eq!(table.remove_account(&account), before - list.len());
                    }
                }
                prop_assert_eq!(table.len(), list.len());
                prop_assert_eq!(table.has_ordered(), list.iter().any(|hook| hook.ordering.is_some()));
            }
            for account in (0..4u8).map(|n| AccountId::from(format!("a{n}"))) {
                let owned = || list.iter().filter(|hook| hook.account == account);
                let of_account = table.of_account(&account);
                prop_assert_eq!(of_account.len(), owned().count());
                prop_assert_eq!(ids(of_account.iter().map(AsRef::as_ref)), ids(owned()));
                for event in ["channel_create", "object", "all", "parking"] {
                    let wanted =
                        owned().filter(|hook| hook.event == HookEvent::All || hook.event.as_str() == event);
                    let own = table.own(&account, event);
                    prop_assert_eq!(own.len(), wanted.clone().count());
                    prop_assert_eq!(ids(own.iter().map(AsRef::as_ref)), ids(wanted));
                }
            }
            for hook in &list {
                let found = table.get(&hook.id);
                prop_assert_eq!(found.as_deref(), Some(hook));
            }
        }
    }
}
