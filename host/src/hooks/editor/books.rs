//! What each account has of what is limited, and whether a change may add to it. In memory, so that looking costs no
//! read; what is being changed is counted from the moment at which it is let in, so that no two changes at once exceed a
//! limit together.

use std::sync::atomic::{AtomicU64, Ordering};

use foldhash::HashMap;
use parking_lot::Mutex;
use serde_json::Value;

use super::fields;
use crate::config::AccountLimits;
use crate::hooks::limits::{LimitName, LimitReached, OwnLimits, document_bytes};
use crate::model::Document;

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
    accounts: HashMap<String, AccountEntry>,
    documents: HashMap<String, DocumentEntry>,
}

#[derive(Debug, Default)]
struct AccountEntry {
    hooks: u64,
    bytes: u64,
    below: u64,
    own: OwnLimits,
    /// What changes that have begun will add.
    pending: BookedAddition,
}

/// A document in its newest revision, so that of two changes that end at once the later one stays.
#[derive(Debug, Default)]
struct DocumentEntry {
    saves: u64,
    bytes: u64,
    exists: bool,
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

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Account,
    Hook,
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
            hooks: entry.hooks,
            documents_bytes: entry.bytes,
            accounts_below: entry.below,
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
        let entry = entries.accounts.entry(account.to_owned()).or_default();
        let wanted = entry.hooks + entry.pending.hooks + 1;
        if wanted > most {
            return Err(LimitReached { limit: LimitName::Hooks, account: account.to_owned(), most, wanted });
        }
        entry.pending.hooks += 1;
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
        let entry = entries.accounts.entry(account.to_owned()).or_default();
        let wanted = entry.bytes + entry.pending.bytes + bytes;
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
        entry.pending.bytes += bytes;
        reserved.held.push((account.to_owned(), BookedAddition { bytes, ..BookedAddition::default() }));
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
            let wanted = entry.map_or(0, |entry| entry.below + entry.pending.below) + 1;
            if wanted > most {
                let (limit, account) = (LimitName::AccountsBelow, account.to_owned());
                return Err(LimitReached { limit, account, most, wanted });
            }
        }
        let one = BookedAddition { below: 1, ..BookedAddition::default() };
        for account in above() {
            entries.accounts.entry(account.to_owned()).or_default().pending.below += 1;
        }
        Ok(GrowthReservation {
            books: self,
            held: above().map(|account| (account.to_owned(), one)).collect(),
        })
    }

    /// Enters a document as it was saved; what was reserved for it becomes what is there. Says whether it is the newest
    /// one that was shown.
    pub(super) fn enter(
        &self,
        entries: &mut BookEntries,
        kind: EntryKind,
        doc: &Document,
        reserved: Option<GrowthReservation<'_>>,
    ) -> bool {
        if let Some(mut reserved) = reserved {
            entries.give_back(&reserved.held);
            reserved.held.clear();
        }
        let (id, saves) = (fields::id(doc), fields::saves(doc));
        let known = entries.documents.get(id);
        if known.is_some_and(|known| saves < known.saves) {
            return false;
        }
        let (bytes_before, existed) = known.map_or((0, false), |known| (known.bytes, known.exists));
        let exists = !fields::is_deleted(doc);
        let bytes = if exists { document_bytes(doc) } else { 0 };
        entries.documents.insert(id.to_owned(), DocumentEntry { saves, bytes, exists });
        let owner = match kind {
            EntryKind::Account => id,
            EntryKind::Hook => fields::owner(doc),
        };
        let entry = entries.accounts.entry(owner.to_owned()).or_default();
        entry.bytes = entry.bytes.saturating_sub(bytes_before) + bytes;
        match kind {
            EntryKind::Hook => add_or_take(&mut entry.hooks, existed, exists),
            EntryKind::Account => {
                entry.own = OwnLimits::of(doc);
                let largest = entry.own.or(&self.defaults, LimitName::HookBytes);
                self.largest_document.fetch_max(largest, Ordering::Relaxed);
                // An account's place in the tree is given once and for all.
                let tree = doc.get("pvt_tree").and_then(Value::as_array).into_iter().flatten();
                for above in tree.filter_map(Value::as_str).filter(|above| *above != id) {
                    let entry = entries.accounts.entry(above.to_owned()).or_default();
                    add_or_take(&mut entry.below, existed, exists);
                }
                if !exists {
                    entries.forget_empty(id);
                }
            }
        }
        true
    }
}

fn add_or_take(count: &mut u64, existed: bool, exists: bool) {
    match (existed, exists) {
        (false, true) => *count += 1,
        (true, false) => *count = count.saturating_sub(1),
        (true, true) | (false, false) => {}
    }
}

impl BookEntries {
    fn limit(&self, defaults: &AccountLimits, account: &str, name: LimitName) -> u64 {
        self.accounts.get(account).map_or(name.of(defaults), |entry| entry.own.or(defaults, name))
    }

    /// How many levels a tree may have: as the nearest account above says that has a limit of its own.
    fn depth_below(&self, defaults: &AccountLimits, tree: &[Value]) -> u64 {
        let of = |id: &Value| {
            let own = self.accounts.get(id.as_str()?)?.own.or(defaults, LimitName::Depth);
            (own != defaults.depth).then_some(own)
        };
        tree.iter().rev().find_map(of).unwrap_or(defaults.depth)
    }

    fn give_back(&mut self, held: &[(String, BookedAddition)]) {
        for (account, addition) in held {
            if let Some(entry) = self.accounts.get_mut(account) {
                let pending = &mut entry.pending;
                pending.hooks = pending.hooks.saturating_sub(addition.hooks);
                pending.bytes = pending.bytes.saturating_sub(addition.bytes);
                pending.below = pending.below.saturating_sub(addition.below);
            }
        }
    }

    /// Of an account that is gone nothing is kept once it has nothing left.
    fn forget_empty(&mut self, account: &str) {
        let empty = |entry: &AccountEntry| {
            entry.hooks == 0
                && entry.bytes == 0
                && entry.below == 0
                && entry.pending == BookedAddition::default()
        };
        if self.accounts.get(account).is_some_and(empty) {
            self.accounts.remove(account);
        }
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
