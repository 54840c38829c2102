//! How people look at documents: by their ids first, then those of one page, in pieces of bounded size.

use async_trait::async_trait;

use super::Result;
use crate::model::{AccountId, Document};

/// Documents for listings. What is read here neither waits for deliveries nor holds them up.
#[async_trait]
pub trait ListingStore: Send + Sync {
    /// The ids of hooks, in the order of the query.
    async fn hook_ids(&self, wanted: HookIdQuery) -> Result<Vec<String>>;
    /// The documents of these ids, up to the one with which they have `bytes` together.
    async fn listed(&self, kind: ListedKind, ids: Vec<String>, bytes: usize) -> Result<ListedDocuments>;
    /// Shows the accounts and hooks whose places are from `start` on and before `end`, in the order in which they were
    /// made: for whoever looks at all of them, several stretches at once. They are shown on the thread that reads them.
    async fn stretch(&self, start: i64, end: i64, show: DocumentVisitor) -> Result<()>;
    /// Where the last stretch ends.
    async fn end_of_documents(&self) -> Result<i64>;
}

/// Whoever is shown documents, one after the other.
pub type DocumentVisitor = Box<dyn FnMut(ListedKind, &Document) + Send>;

/// What is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListedKind {
    /// Accounts.
    Account,
    /// Hooks.
    Hook,
}

/// Which hooks are wanted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HookIdQuery {
    /// Of this account alone.
    pub account: Option<AccountId>,
    /// From this id on.
    pub start: Option<String>,
    /// The lowest id first.
    pub ascending: bool,
    /// At most so many.
    pub limit: usize,
}

/// Some of the documents that were asked for.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ListedDocuments {
    /// One for each id that was looked up, in their order; nothing where there is no such document (any more). There may
    /// be fewer than ids.
    pub documents: Vec<Option<Document>>,
    /// The length of their texts.
    pub bytes: usize,
}
