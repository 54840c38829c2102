//! How the tree of accounts is held: what is below an account is found by walking down.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use foldhash::HashMap;

use super::account_record::AccountRecord;
use super::lineage::AccountLineage;
use super::split_tables::SplitSet;
use crate::model::AccountId;

/// An account hangs below its parent where its ancestors are the parent's and the parent: it shares its lineage with
/// the others there, and is found by walking down. So what is kept grows with the number of accounts, however deep they
/// are. One whose tree says something else, as damaged ones do, is noted with each of the ancestors that it names.
#[derive(Debug, Default)]
pub(super) struct AccountTree {
    accounts: SplitSet<KnownAccount>,
    children: HashMap<AccountId, AccountChildren>,
    apart: HashMap<AccountId, BTreeSet<AccountId>>,
}

/// An account that is found by its id.
#[derive(Debug)]
struct KnownAccount(Arc<AccountRecord>);

/// Those that hang below an account, and the lineage of all of them.
#[derive(Debug)]
struct AccountChildren {
    lineage: AccountLineage,
    ids: BTreeSet<AccountId>,
}

impl AccountTree {
    pub(super) fn get(&self, id: &AccountId) -> Option<&Arc<AccountRecord>> {
        self.accounts.get(id.as_str()).map(|known| &known.0)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &Arc<AccountRecord>> {
        self.accounts.iter().map(|known| &known.0)
    }

    pub(super) fn len(&self) -> usize {
        self.accounts.len()
    }

    pub(super) fn put(&mut self, mut account: AccountRecord) {
        share_reseller(&mut account);
        if let Some(known) = self.get(&account.id).filter(|known| known.lineage == account.lineage) {
            account.id = known.id.clone();
            account.lineage = known.lineage.clone();
            self.accounts.put(KnownAccount(Arc::new(account)));
            return;
        }
        self.remove(&account.id);
        match self.lineage_below(&account).filter(|shared| *shared == account.lineage) {
            Some(shared) => self.hang(&mut account, shared),
            None => self.set_apart(&account),
        }
        self.accounts.put(KnownAccount(Arc::new(account)));
    }

    /// The lineage of those that hang below the parent of an account.
    fn lineage_below(&self, account: &AccountRecord) -> Option<AccountLineage> {
        let parent = account.lineage.last()?;
        match self.children.get(parent) {
            Some(siblings) => Some(siblings.lineage.clone()),
            None => self.get(parent).map(|parent| parent.lineage.below(&parent.id)),
        }
    }

    fn hang(&mut self, account: &mut AccountRecord, lineage: AccountLineage) {
        account.lineage = lineage;
        share_reseller(account);
        let Some(parent) = account.lineage.last() else { return };
        let new = || AccountChildren { lineage: account.lineage.clone(), ids: BTreeSet::new() };
        self.children.entry(parent.clone()).or_insert_with(new).ids.insert(account.id.clone());
    }

    fn set_apart(&mut self, account: &AccountRecord) {
        for ancestor in account.lineage.from_top() {
            self.apart.entry(ancestor.clone()).or_default().insert(account.id.clone());
        }
    }

    pub(super) fn remove(&mut self, id: &AccountId) -> Option<Arc<AccountRecord>> {
        let KnownAccount(known) = self.accounts.take(id.as_str())?;
        if !known.lineage.last().is_some_and(|parent| self.unhang(parent, id)) {
            for ancestor in known.lineage.from_top() {
                take_out(&mut self.apart, ancestor, id);
            }
        }
        // Those that hung below it name the same ancestors as before.
        let below = self.children.remove(id).map(|children| children.ids).unwrap_or_default();
        for child in below {
            if let Some(child) = self.get(&child).cloned() {
                self.set_apart(&child);
            }
        }
        Some(known)
    }

    /// Says whether it hung there.
    fn unhang(&mut self, parent: &AccountId, id: &AccountId) -> bool {
        let Some(children) = self.children.get_mut(parent) else { return false };
        let hung = children.ids.remove(id);
        if children.ids.is_empty() {
            self.children.remove(parent);
        }
        hung
    }

    /// The accounts directly below, without deleted ones, sorted by id.
    pub(super) fn children(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        let direct: BTreeSet<&AccountId> = self.right_below(id).collect();
        let mut children = self.shown(direct, id);
        children.retain(|account| account.lineage.last() == Some(id));
        children
    }

    /// All accounts below, at any depth, without deleted ones, sorted by id.
    pub(super) fn descendants(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        let mut below = BTreeSet::new();
        let mut open: Vec<&AccountId> = self.right_below(id).collect();
        while let Some(next) = open.pop() {
            if below.insert(next) {
                open.extend(self.children.get(next).into_iter().flat_map(|children| &children.ids));
            }
        }
        self.shown(below, id)
    }

    /// Whoever is found below an account without going down further.
    fn right_below<'t>(&'t self, id: &AccountId) -> impl Iterator<Item = &'t AccountId> {
        let hung = self.children.get(id).into_iter().flat_map(|children| &children.ids);
        hung.chain(self.apart.get(id).into_iter().flatten())
    }

    fn shown(&self, ids: BTreeSet<&AccountId>, but: &AccountId) -> Vec<Arc<AccountRecord>> {
        let known = ids.into_iter().filter(|id| *id != but).filter_map(|id| self.get(id));
        known.filter(|known| !known.deleted).cloned().collect()
    }
}

/// A reseller is nearly always the account itself or one above, whose text there is already.
fn share_reseller(account: &mut AccountRecord) {
    let Some(reseller) = &account.reseller else { return };
    let known = account.lineage.find(reseller).or(Some(&account.id).filter(|id| *id == reseller));
    if let Some(known) = known.cloned() {
        account.reseller = Some(known);
    }
}

fn take_out(index: &mut HashMap<AccountId, BTreeSet<AccountId>>, of: &AccountId, id: &AccountId) {
    if let Some(ids) = index.get_mut(of) {
        ids.remove(id);
        if ids.is_empty() {
            index.remove(of);
        }
    }
}

impl Borrow<str> for KnownAccount {
    fn borrow(&self) -> &str {
        self.0.id.as_str()
    }
}

impl Hash for KnownAccount {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.id.hash(state);
    }
}

impl PartialEq for KnownAccount {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for KnownAccount {}
