//! What each account has of what is limited, and whether a change may add to it. In memory, so that looking costs no
//! read; what is being changed is counted from the moment at which it is let in, so that no two changes at once exceed a
//! limit together.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::facts::{BookedIds, DocumentFacts, EntryKind};
use crate::config::AccountLimits;
use crate::hooks::limits::{LimitName, LimitReached, OwnLimits, document_bytes};
use crate::hooks::split_tables::SplitMap;
use crate::model::{AccountId, Document, HookId};

/// What one account has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUsage {
    /// Hooks.
    pub hooks: u64,
    /// Bytes of their fields and of its own.
    pub documents_bytes: u64,
    /// Accounts below it, at any depth.
    pub accounts_below: u64,
}

/// What all accounts have.
pub(super) struct AccountBooks {
    defaults: AccountLimits,
    entries: Mutex<BookEntries>,
    /// The largest document that any account may have: what a request's body is held against before it is read.
    largest_document: AtomicU64,
}

/// What is stored, as far as it was shown here.
#[derive(Default)]
pub(super) struct BookEntries {
    accounts: SplitMap<AccountId, AccountEntry>,
    hooks: SplitMap<HookId, DocumentEntry>,
}

#[derive(Debug, Default)]
struct AccountEntry {
    bytes: u64,
    hooks: u32,
    below: u32,
    /// Its own document.
    document: DocumentEntry,
    seldom: Option<Box<SeldomEntry>>,
}

/// What most accounts have nothing of.
#[derive(Clone, Debug, Default, PartialEq)]
struct SeldomEntry {
    own: OwnLimits,
    /// What changes that have begun will add.
    pending: BookedAddition,
}

/// A document in its newest revision, so that of two changes that end at once the later one stays.
#[derive(Clone, Copy, Debug, Default)]
struct DocumentEntry {
    saves: u32,
    /// None of one that is deleted.
    bytes: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct BookedAddition {
    hooks: u64,
    bytes: u64,
    below: u64,
}

/// What a change is going to add. It is given back when this is dropped, unless the change was entered with it.
pub(super) struct GrowthReservation<'b> {
    books: &'b AccountBooks,
    held: Vec<(String, BookedAddition)>,
}

impl AccountBooks {
    pub(super) fn new(defaults: AccountLimits) -> Self {
        let largest_document = AtomicU64::new(defaults.hook_bytes);
        Self { defaults, entries: Mutex::default(), largest_document }
    }

    /// The entries, and with them the turn of whoever enters a change.
    pub(super) fn entries(&self) -> parking_lot::MutexGuard<'_, BookEntries> {
        self.entries.lock()
    }

    /// The largest document that any account may have, in bytes.
    pub(super) fn largest_document(&self) -> u64 {
        self.largest_document.load(Ordering::Relaxed)
    }

    /// What applies to an account.
    pub(super) fn limit(&self, account: &str, name: LimitName) -> u64 {
        self.entries.lock().limit(&self.defaults, account, name)
    }

    /// What an account has.
    pub(super) fn usage(&self, account: &str) -> AccountUsage {
        let entries = self.entries.lock();
        let usage = |entry: &AccountEntry| AccountUsage {
            hooks: entry.hooks.into(),
            documents_bytes: entry.bytes,
            accounts_below: entry.below.into(),
        };
        entries.accounts.get(account).map(usage).unwrap_or_default()
    }

    /// Whether a document is small enough. One that is larger already may stay so and must not grow.
    ///
    /// # Errors
    /// [`LimitName::HookBytes`].
    pub(super) fn check_size(&self, account: &str, doc: &Document, before: u64) -> Result<(), LimitReached> {
        let (wanted, most) = (document_bytes(doc), self.limit(account, LimitName::HookBytes));
        if wanted <= most.max(before) {
            return Ok(());
        }
        Err(LimitReached { limit: LimitName::HookBytes, account: account.to_owned(), most, wanted })
    }

    /// A place for one more hook.
    ///
    /// # Errors
    /// [`LimitName::Hooks`].
    pub(super) fn reserve_hook(&self, account: &str) -> Result<GrowthReservation<'_>, LimitReached> {
        let mut entries = self.entries.lock();
        let most = entries.limit(&self.defaults, account, LimitName::Hooks);
        let entry = entries.account(account);
        let wanted = u64::from(entry.hooks) + entry.pending().hooks + 1;
        if wanted > most {
            return Err(LimitReached { limit: LimitName::Hooks, account: account.to_owned(), most, wanted });
        }
        entry.add(BookedAddition { hooks: 1, ..BookedAddition::default() });
        Ok(GrowthReservation {
            books: self,
            held: vec![(account.to_owned(), BookedAddition { hooks: 1, ..BookedAddition::default() })],
        })
    }

    /// Room for a document in place of one of `before` bytes.
    ///
    /// # Errors
    /// [`LimitName::DocumentsBytes`], unless it has no more bytes than before.
    pub(super) fn reserve_bytes<'b>(
        &'b self,
        account: &str,
        doc: &Document,
        before: u64,
        reserved: Option<GrowthReservation<'b>>,
    ) -> Result<GrowthReservation<'b>, LimitReached> {
        let mut reserved = reserved.unwrap_or(GrowthReservation { books: self, held: Vec::new() });
        let bytes = document_bytes(doc).saturating_sub(before);
        if bytes == 0 {
            return Ok(reserved);
        }
        let mut entries = self.entries.lock();
        let most = entries.limit(&self.defaults, account, LimitName::DocumentsBytes);
        let entry = entries.account(account);
        let wanted = entry.bytes + entry.pending().bytes + bytes;
        if wanted > most {
            // The reservation that is dropped takes the lock.
            drop(entries);
            return Err(LimitReached {
                limit: LimitName::DocumentsBytes,
                account: account.to_owned(),
                most,
                wanted,
            });
        }
        let addition = BookedAddition { bytes, ..BookedAddition::default() };
        entry.add(addition);
        reserved.held.push((account.to_owned(), addition));
        Ok(reserved)
    }

    /// A place for one more account below the last of `tree`.
    ///
    /// # Errors
    /// [`LimitName::Depth`], or [`LimitName::AccountsBelow`] of any account above.
    pub(super) fn reserve_below(&self, tree: &[Value]) -> Result<GrowthReservation<'_>, LimitReached> {
        let Some(parent) = tree.last().and_then(Value::as_str) else {
            return Ok(GrowthReservation { books: self, held: Vec::new() });
        };
        let mut entries = self.entries.lock();
        let most = entries.depth_below(&self.defaults, tree);
        let wanted = tree.len() as u64 + 1;
        if wanted > most {
            return Err(LimitReached { limit: LimitName::Depth, account: parent.to_owned(), most, wanted });
        }
        let above = || tree.iter().filter_map(Value::as_str);
        for account in above() {
            let most = entries.limit(&self.defaults, account, LimitName::AccountsBelow);
            let entry = entries.accounts.get(account);
            let wanted = entry.map_or(0, |entry| u64::from(entry.below) + entry.pending().below) + 1;
            if wanted > most {
                let (limit, account) = (LimitName::AccountsBelow, account.to_owned());
                return Err(LimitReached { limit, account, most, wanted });
            }
        }
        let one = BookedAddition { below: 1, ..BookedAddition::default() };
        for account in above() {
            entries.account(account).add(one);
        }
        Ok(GrowthReservation {
            books: self,
            held: above().map(|account| (account.to_owned(), one)).collect(),
        })
    }

    /// Enters a document as it was saved; what was reserved for it becomes what is there. Answers its ids as they stand
    /// here, unless a newer one was shown already.
    pub(super) fn enter(
        &self,
        entries: &mut BookEntries,
        facts: DocumentFacts,
        reserved: Option<GrowthReservation<'_>>,
    ) -> Option<BookedIds> {
        if let Some(mut reserved) = reserved {
            entries.give_back(&reserved.held);
            reserved.held.clear();
        }
        let DocumentFacts { kind, id, owner, saves, bytes, own, above } = facts;
        let (now, before) = (DocumentEntry { saves, bytes }, entries.newest(kind, &id));
        if saves < before.saves {
            return None;
        }
        let (existed, exists) = (before.bytes > 0, bytes > 0);
        let owner = entries.accounts.key(&owner).cloned().unwrap_or_else(|| AccountId::from(owner));
        let entry = entries.accounts.of(owner.clone());
        entry.bytes = entry.bytes.saturating_sub(before.bytes.into()) + u64::from(bytes);
        if kind == EntryKind::Hook {
            add_or_take(&mut entry.hooks, existed, exists);
            let hook = entries.hooks.key(&id).cloned().unwrap_or_else(|| HookId::from(id));
            *entries.hooks.of(hook.clone()) = now;
            return Some(BookedIds { hook: Some(hook), owner });
        }
        entry.document = now;
        let largest = own.as_deref().copied().unwrap_or_default().or(&self.defaults, LimitName::HookBytes);
        entry.set_own(own);
        self.largest_document.fetch_max(largest, Ordering::Relaxed);
        // An account's place in the tree is given once and for all.
        for above in above {
            add_or_take(&mut entries.accounts.of(above).below, existed, exists);
        }
        Some(BookedIds { hook: None, owner })
    }
}

fn add_or_take(count: &mut u32, existed: bool, exists: bool) {
    match (existed, exists) {
        (false, true) => *count += 1,
        (true, false) => *count = count.saturating_sub(1),
        (true, true) | (false, false) => {}
    }
}

impl BookEntries {
    fn limit(&self, defaults: &AccountLimits, account: &str, name: LimitName) -> u64 {
        self.accounts.get(account).map_or(name.of(defaults), |entry| entry.own().or(defaults, name))
    }

    /// How many levels a tree may have: as the nearest account above says that has a limit of its own.
    fn depth_below(&self, defaults: &AccountLimits, tree: &[Value]) -> u64 {
        let of = |id: &Value| {
            let own = self.accounts.get(id.as_str()?)?.own().or(defaults, LimitName::Depth);
            (own != defaults.depth).then_some(own)
        };
        tree.iter().rev().find_map(of).unwrap_or(defaults.depth)
    }

    fn give_back(&mut self, held: &[(String, BookedAddition)]) {
        for (account, addition) in held {
            if let Some(entry) = self.accounts.get_mut(account) {
                entry.give_back(*addition);
            }
        }
    }

    fn account(&mut self, id: &str) -> &mut AccountEntry {
        let key = self.accounts.key(id).cloned().unwrap_or_else(|| AccountId::from(id));
        self.accounts.of(key)
    }

    /// The newest revision of a document that was shown here.
    fn newest(&self, kind: EntryKind, id: &str) -> DocumentEntry {
        let known = match kind {
            EntryKind::Hook => self.hooks.get(id).copied(),
            EntryKind::Account => self.accounts.get(id).map(|entry| entry.document),
        };
        known.unwrap_or_default()
    }
}

impl AccountEntry {
    fn own(&self) -> OwnLimits {
        self.seldom.as_ref().map(|seldom| seldom.own).unwrap_or_default()
    }

    fn pending(&self) -> BookedAddition {
        self.seldom.as_ref().map(|seldom| seldom.pending).unwrap_or_default()
    }

    fn set_own(&mut self, own: Option<Box<OwnLimits>>) {
        self.change(|seldom| seldom.own = own.map(|own| *own).unwrap_or_default());
    }

    fn add(&mut self, addition: BookedAddition) {
        self.change(|SeldomEntry { pending, .. }| {
            pending.hooks += addition.hooks;
            pending.bytes += addition.bytes;
            pending.below += addition.below;
        });
    }

    fn give_back(&mut self, addition: BookedAddition) {
        self.change(|SeldomEntry { pending, .. }| {
            pending.hooks = pending.hooks.saturating_sub(addition.hooks);
            pending.bytes = pending.bytes.saturating_sub(addition.bytes);
            pending.below = pending.below.saturating_sub(addition.below);
        });
    }

    /// Nothing is held of what is at its defaults afterwards.
    fn change(&mut self, change: impl FnOnce(&mut SeldomEntry)) {
        let mut seldom = self.seldom.as_deref().cloned().unwrap_or_default();
        change(&mut seldom);
        self.seldom = (seldom != SeldomEntry::default()).then(|| Box::new(seldom));
    }
}

impl Drop for GrowthReservation<'_> {
    fn drop(&mut self) {
        if !self.held.is_empty() {
            self.books.entries.lock().give_back(&self.held);
        }
    }
}

#[cfg(test)]
mod tests;
