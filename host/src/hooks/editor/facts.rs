//! What the books and the tables have to know of a stored document. Pure, so that many are read at once.

use std::sync::Arc;

use serde_json::Value;

use super::fields;
use crate::hooks::limits::{OwnLimits, document_bytes};
use crate::model::{AccountId, Document, HookId};

/// What a document describes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum EntryKind {
    Account,
    Hook,
}

/// A document as the books see it.
#[derive(Debug)]
pub(super) struct DocumentFacts {
    pub(super) kind: EntryKind,
    pub(super) id: Arc<str>,
    /// The account that it belongs to; an account belongs to itself.
    pub(super) owner: Arc<str>,
    /// How often it was saved.
    pub(super) saves: u32,
    /// How long its fields are; nothing of one that is deleted.
    pub(super) bytes: u32,
    /// Limits that were set for an account.
    pub(super) own: Option<Box<OwnLimits>>,
    /// The accounts above an account.
    pub(super) above: Vec<AccountId>,
}

/// The ids of a document, as those who know it share them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BookedIds {
    /// Of a hook.
    pub(super) hook: Option<HookId>,
    /// The account that it belongs to, or the account itself.
    pub(super) owner: AccountId,
}

impl DocumentFacts {
    pub(super) fn of(kind: EntryKind, doc: &Document) -> Self {
        let id: Arc<str> = fields::id(doc).into();
        let bytes = match fields::is_deleted(doc) {
            true => 0,
            false => u32::try_from(document_bytes(doc)).unwrap_or(u32::MAX),
        };
        let (owner, own, above) = match kind {
            EntryKind::Hook => (fields::owner(doc).into(), None, Vec::new()),
            EntryKind::Account => {
                let own = Some(OwnLimits::of(doc)).filter(|own| *own != OwnLimits::default());
                (Arc::clone(&id), own.map(Box::new), above(doc, &id))
            }
        };
        let saves = u32::try_from(fields::saves(doc)).unwrap_or(u32::MAX);
        Self { kind, id, owner, saves, bytes, own, above }
    }
}

fn above(doc: &Document, id: &str) -> Vec<AccountId> {
    let tree = doc.get("pvt_tree").and_then(Value::as_array).into_iter().flatten();
    tree.filter_map(Value::as_str).filter(|above| *above != id).map(AccountId::from).collect()
}
