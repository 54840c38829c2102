//! The tree of accounts: who is above whom.

use std::collections::BTreeSet;
use std::sync::Arc;

use foldhash::HashMap;
use parking_lot::RwLock;
use serde_json::Value;

use super::document::boolean;
use super::{AccountId, Document};

/// What the host needs of an account document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// `_id`.
    pub id: AccountId,
    /// `pvt_tree`: the ancestors, the topmost first, without what is no text in it.
    pub tree: Vec<AccountId>,
    /// `pvt_reseller_id`.
    pub reseller: Option<AccountId>,
    /// `name`.
    pub name: Option<String>,
    /// Neither `enabled` nor `pvt_enabled` says no. The original fires hooks of disabled accounts all the same.
    pub enabled: bool,
    /// `pvt_deleted`. Events of a deleted account still find its hooks, as in the original.
    pub deleted: bool,
}

impl Account {
    /// Reads an account document; `None` when it has no id.
    pub fn from_document(document: &Document) -> Option<Self> {
        let named = |field: &str| document.get(field).and_then(Value::as_str).filter(|text| !text.is_empty());
        let on = |field: &str| boolean(document.get(field)).unwrap_or(true);
        let tree = document.get("pvt_tree").and_then(Value::as_array);
        Some(Self {
            id: AccountId::from(named("_id")?),
            tree: tree.into_iter().flatten().filter_map(Value::as_str).map(AccountId::from).collect(),
            reseller: named("pvt_reseller_id").map(AccountId::from),
            name: named("name").map(str::to_owned),
            enabled: on("enabled") && on("pvt_enabled"),
            deleted: boolean(document.get("pvt_deleted")).unwrap_or(false),
        })
    }

    /// Whose hooks are asked besides its own, in the order of the tree.
    ///
    /// An account that stands in its own tree is taken out once, and a repeated ancestor stays repeated: a
    /// damaged tree fires a hook twice, as in the original.
    pub fn ancestors(&self) -> impl Iterator<Item = &AccountId> {
        let own = self.tree.iter().position(|id| *id == self.id);
        self.tree.iter().enumerate().filter(move |(place, _)| Some(*place) != own).map(|(_, id)| id)
    }

    fn parent(&self) -> Option<&AccountId> {
        self.tree.last()
    }
}

/// All known accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    inner: RwLock<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    accounts: HashMap<AccountId, Arc<Account>>,
    below: HashMap<AccountId, BTreeSet<AccountId>>,
}

impl Accounts {
    /// No accounts.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an account, or replaces the one with its id.
    pub fn put(&self, account: Account) {
        let mut inner = self.inner.write();
        inner.remove(&account.id);
        for ancestor in &account.tree {
            inner.below.entry(ancestor.clone()).or_default().insert(account.id.clone());
        }
        inner.accounts.insert(account.id.clone(), Arc::new(account));
    }

    /// Forgets an account. A soft-deleted one is `put` instead.
    pub fn remove(&self, id: &AccountId) -> Option<Arc<Account>> {
        self.inner.write().remove(id)
    }

    /// The account with this id, deleted or not.
    pub fn get(&self, id: &AccountId) -> Option<Arc<Account>> {
        self.inner.read().accounts.get(id).cloned()
    }

    /// The accounts directly below, without deleted ones, sorted by id.
    pub fn children(&self, id: &AccountId) -> Vec<Arc<Account>> {
        let mut below = self.descendants(id);
        below.retain(|account| account.parent() == Some(id));
        below
    }

    /// All accounts below, at any depth, without deleted ones, sorted by id.
    pub fn descendants(&self, id: &AccountId) -> Vec<Arc<Account>> {
        let inner = self.inner.read();
        let below = inner.below.get(id).into_iter().flatten().filter(|other| *other != id);
        below
            .filter_map(|other| inner.accounts.get(other))
            .filter(|account| !account.deleted)
            .cloned()
            .collect()
    }

    /// All accounts, deleted ones too, in no order.
    pub fn all(&self) -> Vec<Arc<Account>> {
        self.inner.read().accounts.values().cloned().collect()
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

impl Inner {
    fn remove(&mut self, id: &AccountId) -> Option<Arc<Account>> {
        let account = self.accounts.remove(id)?;
        for ancestor in &account.tree {
            if let Some(below) = self.below.get_mut(ancestor) {
                below.remove(id);
                if below.is_empty() {
                    self.below.remove(ancestor);
                }
            }
        }
        Some(account)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn account(value: Value) -> Account {
        Account::from_document(value.as_object().unwrap()).unwrap()
    }

    fn ids(accounts: &[Arc<Account>]) -> Vec<&str> {
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
}
