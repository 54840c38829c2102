//! The tree of accounts: who is above whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::RwLock;
use serde_json::Value;

use super::document::boolean;
use super::lineage::AccountLineage;
use crate::model::{AccountId, Document};

/// What the host needs of an account document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// `_id`.
    pub id: AccountId,
    /// `pvt_tree`: the ancestors, without what is no text in it.
    pub lineage: AccountLineage,
    /// `pvt_reseller_id`.
    pub reseller: Option<AccountId>,
    /// `name`.
    pub name: Option<String>,
    /// Neither `enabled` nor `pvt_enabled` says no. The original fires hooks of disabled accounts all the same.
    pub enabled: bool,
    /// `pvt_deleted`. Events of a deleted account still find its hooks, as in the original.
    pub deleted: bool,
}

impl AccountRecord {
    /// Reads an account document; `None` when it has no id.
    pub fn from_document(document: &Document) -> Option<Self> {
        let named = |field: &str| document.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let on = |field: &str| boolean(document.get(field)).unwrap_or(true);
        let tree = document.get("pvt_tree").and_then(Value::as_array);
        Some(Self {
            id: AccountId::from(named("_id")?),
            lineage: tree.into_iter().flatten().filter_map(Value::as_str).map(AccountId::from).collect(),
            reseller: named("pvt_reseller_id").map(AccountId::from),
            name: named("name").map(str::to_owned),
            enabled: on("enabled") && on("pvt_enabled"),
            deleted: boolean(document.get("pvt_deleted")).unwrap_or(false),
        })
    }

    /// Whose hooks are asked besides its own, in the order of the tree, the topmost first.
    ///
    /// An account that stands in its own tree is taken out once, and a repeated ancestor stays repeated: a
    /// damaged tree fires a hook twice, as in the original.
    pub fn ancestors(&self) -> Vec<&AccountId> {
        let mut ancestors = self.lineage.from_top();
        if let Some(own) = ancestors.iter().position(|id| **id == self.id) {
            ancestors.remove(own);
        }
        ancestors
    }
}

/// All known accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    inner: RwLock<AccountTree>,
}

/// An account hangs below its parent where its ancestors are the parent's and the parent: it shares the parent's lineage
/// then, and is found by walking down. So what is kept grows with the number of accounts, however deep they are. One whose
/// tree says something else, as damaged ones do, is noted with each of the ancestors that it names.
#[derive(Debug, Default)]
struct AccountTree {
    accounts: HashMap<AccountId, KnownAccount>,
    children: HashMap<AccountId, BTreeSet<AccountId>>,
    apart: HashMap<AccountId, BTreeSet<AccountId>>,
}

#[derive(Debug)]
struct KnownAccount {
    account: Arc<AccountRecord>,
    /// Whether it hangs below its parent.
    linked: bool,
}

impl Accounts {
    /// No accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account, or replaces the one with its id.
    pub fn put(&self, account: AccountRecord) {
        self.inner.write().put(account);
    }

    /// Forgets an account. A soft-deleted one is `put` instead.
    pub fn remove(&self, id: &AccountId) -> Option<Arc<AccountRecord>> {
        self.inner.write().remove(id)
    }

    /// The account with this id, deleted or not.
    pub fn get(&self, id: &AccountId) -> Option<Arc<AccountRecord>> {
        self.inner.read().accounts.get(id).map(|known| Arc::clone(&known.account))
    }

    /// The accounts directly below, without deleted ones, sorted by id.
    pub fn children(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        let tree = self.inner.read();
        let direct: BTreeSet<&AccountId> = tree.right_below(id).collect();
        let mut children = tree.shown(direct, id);
        children.retain(|account| account.lineage.last() == Some(id));
        children
    }

    /// All accounts below, at any depth, without deleted ones, sorted by id.
    pub fn descendants(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        let tree = self.inner.read();
        let mut below = BTreeSet::new();
        let mut open: Vec<&AccountId> = tree.right_below(id).collect();
        while let Some(next) = open.pop() {
            if below.insert(next) {
                open.extend(tree.children.get(next).into_iter().flatten());
            }
        }
        tree.shown(below, id)
    }

    /// All accounts, deleted ones too, in no order.
    pub fn all(&self) -> Vec<Arc<AccountRecord>> {
        self.inner.read().accounts.values().map(|known| Arc::clone(&known.account)).collect()
    }

    /// How many accounts there are, deleted ones too.
    pub fn len(&self) -> usize {
        self.inner.read().accounts.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AccountTree {
    fn put(&mut self, mut account: AccountRecord) {
        if let Some(known) = self.accounts.get_mut(&account.id)
            && known.account.lineage == account.lineage
        {
            account.lineage = known.account.lineage.clone();
            known.account = Arc::new(account);
            return;
        }
        self.remove(&account.id);
        let parent = account.lineage.last().and_then(|parent| self.accounts.get(parent));
        let shared = parent.map(|parent| parent.account.lineage.below(&parent.account.id));
        let linked = shared.filter(|shared| *shared == account.lineage);
        let is_linked = linked.is_some();
        if let Some(shared) = linked {
            account.lineage = shared;
        }
        if let (true, Some(parent)) = (is_linked, account.lineage.last()) {
            self.children.entry(parent.clone()).or_default().insert(account.id.clone());
        } else {
            self.set_apart(&account);
        }
        self.accounts
            .insert(account.id.clone(), KnownAccount { account: Arc::new(account), linked: is_linked });
    }

    fn set_apart(&mut self, account: &AccountRecord) {
        for ancestor in account.lineage.from_top() {
            self.apart.entry(ancestor.clone()).or_default().insert(account.id.clone());
        }
    }

    fn remove(&mut self, id: &AccountId) -> Option<Arc<AccountRecord>> {
        let known = self.accounts.remove(id)?;
        if known.linked {
            let parent = known.account.lineage.last();
            parent.into_iter().for_each(|parent| take_out(&mut self.children, parent, id));
        } else {
            for ancestor in known.account.lineage.from_top() {
                take_out(&mut self.apart, ancestor, id);
            }
        }
        // Those that hung below it name the same ancestors as before.
        for child in self.children.remove(id).into_iter().flatten() {
            if let Some(known) = self.accounts.get_mut(&child) {
                known.linked = false;
                let account = Arc::clone(&known.account);
                self.set_apart(&account);
            }
        }
        Some(known.account)
    }

    /// Whoever is found below an account without going down further.
    fn right_below<'t>(&'t self, id: &AccountId) -> impl Iterator<Item = &'t AccountId> {
        let linked = self.children.get(id).into_iter().flatten();
        linked.chain(self.apart.get(id).into_iter().flatten())
    }

    fn shown(&self, ids: BTreeSet<&AccountId>, but: &AccountId) -> Vec<Arc<AccountRecord>> {
        let known = ids.into_iter().filter(|id| *id != but).filter_map(|id| self.accounts.get(id));
        known.filter(|known| !known.account.deleted).map(|known| Arc::clone(&known.account)).collect()
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(value: Value) -> AccountRecord {
        AccountRecord::from_document(value.as_object().unwrap()).unwrap()
    }

    fn ids(accounts: &[Arc<AccountRecord>]) -> Vec<&str> {
        accounts.iter().map(|account| account.id.as_str()).collect()
    }

    #[test]
    fn a_moved_account_leaves_its_old_ancestors() {
        let accounts = Accounts::new();
        for document in [
            json!({"_id": "top"}),
            json!({"_id": "mid", "pvt_tree": ["top"]}),
            json!({"_id": "leaf", "pvt_tree": ["top", "mid"], "pvt_reseller_id": "top", "name": "Leaf"}),
        ] {
            accounts.put(account(document));
        }
        let id = AccountId::from;
        assert_eq!(ids(&accounts.descendants(&id("top"))), ["leaf", "mid"]);
        assert_eq!(ids(&accounts.children(&id("top"))), ["mid"]);
        assert_eq!(accounts.get(&id("leaf")).unwrap().reseller, Some(id("top")));

        accounts.put(account(json!({"_id": "leaf", "pvt_tree": ["top"]})));
        assert_eq!(ids(&accounts.children(&id("top"))), ["leaf", "mid"]);
        assert!(accounts.descendants(&id("mid")).is_empty());
    }

    #[test]
    fn a_deleted_account_is_known_but_not_listed() {
        let accounts = Accounts::new();
        accounts.put(account(json!({"_id": "gone", "pvt_tree": ["top"], "pvt_deleted": true})));
        assert!(accounts.descendants(&AccountId::from("top")).is_empty());
        assert!(accounts.get(&AccountId::from("gone")).unwrap().deleted);
    }

    #[test]
    fn what_is_below_is_found_whatever_the_order_and_the_trees_say() {
        // An account in its own tree, one below an unknown one, one whose tree leaves its grandparent out.
        let documents = [
            json!({"_id": "a", "pvt_tree": []}),
            json!({"_id": "b", "pvt_tree": ["a"]}),
            json!({"_id": "c", "pvt_tree": ["a", "b"]}),
            json!({"_id": "d", "pvt_tree": ["a", "b", "c"]}),
            json!({"_id": "self", "pvt_tree": ["a", "self"]}),
            json!({"_id": "orphan", "pvt_tree": ["a", "nobody"]}),
            json!({"_id": "short", "pvt_tree": ["b"]}),
        ];
        let forwards: Vec<usize> = (0..documents.len()).collect();
        let backwards: Vec<usize> = forwards.iter().rev().copied().collect();
        for order in [&forwards, &backwards] {
            let accounts = Accounts::new();
            order.iter().for_each(|at| accounts.put(account(documents[*at].clone())));
            let id = |text: &str| AccountId::from(text);
            let below =
                |of: &str| accounts.descendants(&id(of)).iter().map(|a| a.id.to_string()).collect::<Vec<_>>();
            assert_eq!(below("a"), ["b", "c", "d", "orphan", "self"]);
            assert_eq!(below("b"), ["c", "d", "short"]);
            assert_eq!(below("nobody"), ["orphan"]);
            assert_eq!(below("self"), Vec::<String>::new());
            assert_eq!(ids(&accounts.children(&id("b"))), ["c", "short"]);
            accounts.put(account(json!({"_id": "b", "pvt_tree": ["a"], "name": "again"})));
            assert_eq!(below("a"), ["b", "c", "d", "orphan", "self"]);
            // It is moved away; what was below it still says what it said.
            accounts.put(account(json!({"_id": "b", "pvt_tree": []})));
            assert_eq!(
                (below("a"), below("b")),
                (
                    vec!["c".into(), "d".into(), "orphan".into(), "self".into()],
                    vec!["c".into(), "d".into(), "short".into()]
                )
            );
            accounts.remove(&id("b"));
            assert_eq!(below("b"), ["c", "d", "short"]);
            assert_eq!(accounts.get(&id("d")).unwrap().lineage.from_top(), [&id("a"), &id("b"), &id("c")]);
        }
    }
}
