//! The accounts that deliveries belong to, as a tree: what each of them uses, and whose turn it is.
//!
//! Turns go down the tree: the topmost accounts take turns, then those below the one whose turn it is, then the hooks of
//! an account. So an account gains nothing by having many hooks, or by making many accounts below itself.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;
use rustc_hash::FxHashMap;

use super::shares::{ShareWeight, may_take};
use super::speed::{EndpointSpeed, SpeedCounts};
use crate::model::{AccountId, HookId};

/// How many accounts above an account are told apart, counted from the top; all that lies deeper shares the part of the
/// last of them.
const LEVELS_ABOVE: usize = 3;

/// An account, with those that it shares its part with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountPath {
    above: Arc<[AccountId]>,
    account: AccountId,
}

impl AccountPath {
    /// `ancestors` begin at the top of the tree.
    pub fn new<'a>(ancestors: impl IntoIterator<Item = &'a AccountId>, account: &'a AccountId) -> Self {
        // An account stands above itself, too: beside those below it, its own hooks are one part.
        let above = ancestors.into_iter().chain([account]).take(LEVELS_ABOVE).cloned().collect();
        AccountPath { above, account: account.clone() }
    }
}

/// A place in the tree.
pub(super) type GroupId = u32;

/// The place above all accounts.
pub(super) const ROOT: GroupId = 0;

/// Who takes turns at a place of the tree.
#[derive(Debug)]
pub(super) enum TurnTaker {
    Group(GroupId),
    /// A hook, with the number of its entry: an entry with another number is out of date.
    Hook(HookId, u64),
}

/// What is used at a place of the tree, by all below it together.
#[derive(Debug, Default)]
pub(super) struct AccountGroup {
    parent: Option<GroupId>,
    name: Option<(AccountId, bool)>,
    level: usize,
    /// Hooks and groups right below.
    members: usize,
    pub(super) in_flight: SpeedCounts,
    /// Bytes of what is in flight.
    pub(super) flight_bytes: SpeedCounts,
    pub(super) waiting: usize,
    pub(super) waiting_bytes: usize,
    /// On their way from the store.
    pub(super) loading: usize,
    turns: [VecDeque<TurnTaker>; 3],
    listed: [bool; 3],
}

/// The tree.
#[derive(Debug)]
pub(super) struct AccountTree {
    groups: FxHashMap<GroupId, AccountGroup>,
    /// By account, and whether it is the account alone.
    named: HashMap<(AccountId, bool), GroupId>,
    /// Accounts with hooks of their own in it.
    accounts: usize,
    last: GroupId,
}

impl Default for AccountTree {
    fn default() -> Self {
        let groups = FxHashMap::from_iter([(ROOT, AccountGroup::default())]);
        AccountTree { groups, named: HashMap::default(), accounts: 0, last: ROOT }
    }
}

impl AccountTree {
    /// The place of an account's own hooks, with one more of them.
    pub(super) fn join(&mut self, path: &AccountPath) -> GroupId {
        let mut parent = ROOT;
        for (level, account) in path.above.iter().enumerate() {
            parent = self.child(parent, level, (account.clone(), false));
        }
        let leaf = self.child(parent, path.above.len(), (path.account.clone(), true));
        if let Some(group) = self.groups.get_mut(&leaf) {
            self.accounts += usize::from(group.members == 0);
            group.members += 1;
        }
        leaf
    }

    fn child(&mut self, parent: GroupId, level: usize, name: (AccountId, bool)) -> GroupId {
        if let Some(known) = self.named.get(&name) {
            return *known;
        }
        // Four billion places are not in use at once; one that is gets another number.
        loop {
            self.last = self.last.wrapping_add(1);
            if !self.groups.contains_key(&self.last) {
                break;
            }
        }
        if let Some(above) = self.groups.get_mut(&parent) {
            above.members += 1;
        }
        let group =
            AccountGroup { parent: Some(parent), name: Some(name.clone()), level, ..Default::default() };
        self.groups.insert(self.last, group);
        self.named.insert(name, self.last);
        self.last
    }

    /// A hook is gone from its place; places without anybody vanish. A hook leaves when nothing of it is in flight or
    /// waits, so nothing is counted there.
    pub(super) fn leave(&mut self, leaf: GroupId) {
        let mut next = Some(leaf);
        while let Some(id) = next.filter(|id| *id != ROOT) {
            let Some(group) = self.groups.get_mut(&id) else { return };
            group.members = group.members.saturating_sub(1);
            if group.members > 0 {
                return;
            }
            self.accounts -= usize::from(id == leaf);
            next = group.parent;
            if let Some(name) = self.groups.remove(&id).and_then(|group| group.name) {
                self.named.remove(&name);
            }
        }
        if let (Some(ROOT), Some(root)) = (next, self.groups.get_mut(&ROOT)) {
            root.members = root.members.saturating_sub(1);
        }
    }

    /// Changes what a place and all above it use.
    pub(super) fn change(&mut self, leaf: GroupId, change: impl Fn(&mut AccountGroup)) {
        let mut next = Some(leaf);
        while let Some(group) = next.and_then(|id| self.groups.get_mut(&id)) {
            change(group);
            next = group.parent;
        }
    }

    /// Changes what is known of one place alone.
    pub(super) fn change_only(&mut self, leaf: GroupId, change: impl FnOnce(&mut AccountGroup)) {
        if let Some(group) = self.groups.get_mut(&leaf) {
            change(group);
        }
    }

    /// What all use together.
    pub(super) fn total<T: Default>(&self, read: impl Fn(&AccountGroup) -> T) -> T {
        self.at(ROOT, read)
    }

    /// How many accounts have something in flight, or waiting.
    pub(super) fn accounts(&self) -> usize {
        self.accounts
    }

    /// What is used at one place.
    pub(super) fn at<T: Default>(&self, place: GroupId, read: impl Fn(&AccountGroup) -> T) -> T {
        self.groups.get(&place).map(read).unwrap_or_default()
    }

    /// Whether all accounts on the way up may take more, where `used` says what one uses and `free` what is left.
    pub(super) fn all_may_take(
        &self,
        leaf: GroupId,
        free: usize,
        used: impl Fn(&AccountGroup) -> usize,
    ) -> bool {
        let mut next = self.groups.get(&leaf);
        while let Some(group) = next.filter(|group| group.parent.is_some()) {
            if !may_take(ShareWeight::Kept, group.level, used(group), free) {
                return false;
            }
            next = group.parent.and_then(|parent| self.groups.get(&parent));
        }
        true
    }

    /// A hook waits for its turn from now on, among those of this speed.
    pub(super) fn list(&mut self, leaf: GroupId, speed: EndpointSpeed, hook: HookId, number: u64) {
        let mut taker = TurnTaker::Hook(hook, number);
        let mut next = Some(leaf);
        while let Some((id, group)) = next.and_then(|id| Some((id, self.groups.get_mut(&id)?))) {
            group.turns[speed as usize].push_back(taker);
            if std::mem::replace(&mut group.listed[speed as usize], true) {
                return;
            }
            taker = TurnTaker::Group(id);
            next = group.parent;
        }
    }

    /// The hook whose turn it is among those of this speed. `may` says whether a place may have one more; `is_valid`
    /// whether a hook still waits under this number.
    pub(super) fn take_turn(
        &mut self,
        speed: EndpointSpeed,
        may: &impl Fn(&AccountGroup, usize) -> bool,
        is_valid: &mut impl FnMut(&HookId, u64) -> bool,
    ) -> Option<HookId> {
        self.take_turn_at(ROOT, speed, may, is_valid)
    }

    fn take_turn_at(
        &mut self,
        place: GroupId,
        speed: EndpointSpeed,
        may: &impl Fn(&AccountGroup, usize) -> bool,
        is_valid: &mut impl FnMut(&HookId, u64) -> bool,
    ) -> Option<HookId> {
        let turns =
            |tree: &mut Self| tree.groups.get_mut(&place).map(|group| group.turns[speed as usize].len());
        for _ in 0..turns(self)? {
            let taker = self.groups.get_mut(&place)?.turns[speed as usize].pop_front()?;
            let group = match taker {
                TurnTaker::Hook(hook, number) if is_valid(&hook, number) => return Some(hook),
                TurnTaker::Hook(..) => continue,
                TurnTaker::Group(group) => group,
            };
            // A place may have vanished and come again while its turn was listed.
            let Some(below) = self.groups.get(&group).filter(|below| below.parent == Some(place)) else {
                continue;
            };
            let found = match may(below, below.level) {
                true => self.take_turn_at(group, speed, may, is_valid),
                false => None,
            };
            let below = self.groups.get_mut(&group)?;
            let more = !below.turns[speed as usize].is_empty();
            below.listed[speed as usize] = more;
            if more {
                self.groups.get_mut(&place)?.turns[speed as usize].push_back(TurnTaker::Group(group));
            }
            if found.is_some() {
                return found;
            }
        }
        None
    }

    /// The hooks of a place that come next, without taking their turn.
    pub(super) fn coming(&self, leaf: GroupId, speed: EndpointSpeed) -> impl Iterator<Item = (&HookId, u64)> {
        let turns = self.groups.get(&leaf).map(|group| &group.turns[speed as usize]);
        turns.into_iter().flatten().filter_map(|taker| match taker {
            TurnTaker::Hook(hook, number) => Some((hook, *number)),
            TurnTaker::Group(_) => None,
        })
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.groups.len() == 1
    }
}
