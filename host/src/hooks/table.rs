//! The hooks in memory, indexed by what a firing asks for: an account and an event.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use foldhash::HashSet;
use foldhash::fast::RandomState;
use parking_lot::RwLock;

use super::account_hooks::AccountHooks;
use crate::model::{AccountId, Hook, HookEvent, HookId};

/// Enough that listeners seldom meet in one lock, and that a part which grows holds nobody up for long; a power of two.
const SHARDS: usize = 64;

/// All hooks, enabled or not. Readers take one shard's read lock; writers one at a time.
///
/// A million hooks are held in a few dozen bytes each beside the hooks themselves: sets of pointers that are found by
/// what they point to, so that no id stands there a second time.
///
/// A writer that panics leaves whole hooks behind: every step puts or takes one complete entry.
#[derive(Debug)]
pub struct HookTable {
    /// Held for the whole of a change, so that the index never disagrees with it for a second writer.
    events: RwLock<EventNames>,
    hooks: Shards<HookById>,
    index: Shards<AccountHooks>,
    /// Which shard an id is in.
    places: RandomState,
    /// How many there are.
    count: AtomicUsize,
    /// How many of them want events in order.
    ordered: AtomicUsize,
}

type Shards<T> = [RwLock<HashSet<T>>; SHARDS];

/// A hook that is found by its id.
#[derive(Debug)]
struct HookById(Arc<Hook>);

/// The names of the events that hooks want: a text for each, however many hooks name it.
#[derive(Debug, Default)]
struct EventNames {
    names: HashSet<Arc<str>>,
    /// Beyond so many those that nobody wants any more are forgotten.
    most: usize,
}

impl HookTable {
    /// An empty table.
    pub fn new() -> Self {
        Self {
            events: RwLock::default(),
            hooks: shards(),
            index: shards(),
            places: RandomState::default(),
            count: AtomicUsize::new(0),
            ordered: AtomicUsize::new(0),
        }
    }

    /// Adds a hook, or replaces the one with its id; gives back what was there before.
    /// (The original keeps the first of two documents with one id; an edit must not.)
    pub fn put(&self, mut hook: Hook) -> Option<Arc<Hook>> {
        let mut events = self.events.write();
        if let HookEvent::Named(name) = &mut hook.event {
            events.share(name);
        }
        let place = self.place(hook.id.as_str());
        let before = self.hooks[place].read().get(hook.id.as_str()).map(|found| Arc::clone(&found.0));
        if let Some(old) = &before {
            hook.id = old.id.clone();
        }
        let hook = Arc::new(hook);
        self.count.fetch_add(usize::from(before.is_none()), Ordering::Relaxed);
        self.ordered.fetch_add(usize::from(hook.ordering.is_some()), Ordering::Relaxed);
        self.count_out(before.as_deref());
        self.hooks[place].write().replace(HookById(Arc::clone(&hook)));
        // Same place: swapped under one lock, so that no reader sees neither of the two.
        let same = before.as_ref().filter(|old| old.account == hook.account);
        if let Some(old) = before.as_ref().filter(|_| same.is_none()) {
            self.unlink(old);
        }
        let mut shard = self.index[self.place(hook.account.as_str())].write();
        let owned = shard.take(hook.account.as_str()).and_then(|owned| match same {
            Some(old) if old.event == hook.event => Some(owned.replaced(Arc::clone(&hook))),
            Some(old) => owned.without(old).map(|left| left.with(Arc::clone(&hook))),
            None => Some(owned.with(Arc::clone(&hook))),
        });
        shard.insert(owned.unwrap_or_else(|| AccountHooks::of(hook)));
        drop(shard);
        before
    }

    /// Takes a hook out.
    pub fn remove(&self, id: &HookId) -> Option<Arc<Hook>> {
        let _turn = self.events.write();
        let HookById(hook) = self.hooks[self.place(id.as_str())].write().take(id.as_str())?;
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.count_out(Some(&hook));
        self.unlink(&hook);
        Some(hook)
    }

    /// Takes out all hooks that an account owns; says how many there were.
    pub fn remove_account(&self, account: &AccountId) -> usize {
        let _turn = self.events.write();
        let Some(owned) = self.index[self.place(account.as_str())].write().take(account.as_str()) else {
            return 0;
        };
        let removed = owned
            .all()
            .into_iter()
            .filter_map(|hook| self.hooks[self.place(hook.id.as_str())].write().take(hook.id.as_str()));
        let count = removed.inspect(|hook| self.count_out(Some(&hook.0))).count();
        self.count.fetch_sub(count, Ordering::Relaxed);
        count
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
        let found = self.hooks[self.place(id.as_str())].read();
        found.get(id.as_str()).map(|found| Arc::clone(&found.0))
    }

    /// How many hooks there are.
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All hooks, in no order.
    pub fn all(&self) -> Vec<Arc<Hook>> {
        self.those(|_| true)
    }

    /// The hooks of which this holds, in no order.
    pub fn those(&self, holds: impl Fn(&Hook) -> bool) -> Vec<Arc<Hook>> {
        let mut found = Vec::new();
        for shard in &self.hooks {
            let shard = shard.read();
            found.extend(shard.iter().filter(|hook| holds(&hook.0)).map(|hook| Arc::clone(&hook.0)));
        }
        found
    }

    /// All hooks of an account, sorted by id.
    pub fn of_account(&self, account: &AccountId) -> Vec<Arc<Hook>> {
        let shard = self.index[self.place(account.as_str())].read();
        let mut owned = shard.get(account.as_str()).map(AccountHooks::all).unwrap_or_default();
        owned.sort_by(|a, b| a.id.cmp(&b.id));
        owned
    }

    /// The hooks of an account that want this event (in lower case, as in documents): those that name it
    /// first, then those that want all; each in the order of their arrival. Costs the same however many
    /// hooks the table holds.
    pub fn own(&self, account: &AccountId, event: &str) -> Vec<Arc<Hook>> {
        let shard = self.index[self.place(account.as_str())].read();
        shard.get(account.as_str()).map(|owned| owned.wanting(event)).unwrap_or_default()
    }

    fn unlink(&self, hook: &Hook) {
        let mut shard = self.index[self.place(hook.account.as_str())].write();
        let left = shard.take(hook.account.as_str()).and_then(|owned| owned.without(hook));
        shard.extend(left);
    }

    fn place(&self, id: &str) -> usize {
        // The high bits: the map inside the shard uses the low ones.
        (self.places.hash_one(id) >> 48) as usize % SHARDS
    }
}

impl Default for HookTable {
    fn default() -> Self {
        Self::new()
    }
}

fn shards<T>() -> Shards<T> {
    std::array::from_fn(|_| RwLock::default())
}

impl EventNames {
    /// Makes a name one text with that of the hooks that are there.
    fn share(&mut self, name: &mut Arc<str>) {
        if let Some(known) = self.names.get(name) {
            *name = Arc::clone(known);
            return;
        }
        if self.names.len() >= self.most {
            self.names.retain(|name| Arc::strong_count(name) > 1);
            self.most = 2 * self.names.len() + 64;
        }
        self.names.insert(Arc::clone(name));
    }
}

impl Borrow<str> for HookById {
    fn borrow(&self) -> &str {
        self.0.id.as_str()
    }
}

impl Hash for HookById {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for HookById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for HookById {}

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
