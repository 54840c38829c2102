//! What the host needs of an account document.

use serde_json::Value;

use super::document::boolean;
use super::lineage::AccountLineage;
use crate::model::{AccountId, Document};

/// An account, as its document says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRecord {
    /// `_id`.
    pub id: AccountId,
    /// `pvt_tree`: the ancestors, without what is no text in it.
    pub lineage: AccountLineage,
    /// `pvt_reseller_id`.
    pub reseller: Option<AccountId>,
    /// `name`.
    pub name: Option<Box<str>>,
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
            name: named("name").map(Into::into),
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
