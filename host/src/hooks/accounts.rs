//! The tree of accounts: who is above whom.

use std::sync::Arc;

use parking_lot::RwLock;

pub use super::account_record::AccountRecord;
use super::account_tree::AccountTree;
use crate::model::AccountId;

/// All known accounts.
#[derive(Debug, Default)]
pub struct Accounts {
    inner: RwLock<AccountTree>,
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
        self.inner.read().get(id).cloned()
    }

    /// The accounts directly below, without deleted ones, sorted by id.
    pub fn children(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        self.inner.read().children(id)
    }

    /// All accounts below, at any depth, without deleted ones, sorted by id.
    pub fn descendants(&self, id: &AccountId) -> Vec<Arc<AccountRecord>> {
        self.inner.read().descendants(id)
    }

    /// All accounts, deleted ones too, in no order.
    pub fn all(&self) -> Vec<Arc<AccountRecord>> {
        self.inner.read().all().cloned().collect()
    }

    /// How many accounts there are, deleted ones too.
    pub fn len(&self) -> usize {
        self.inner.read().len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

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
