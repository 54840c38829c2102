//! The one way in which hooks and accounts change: the store first, then what the host holds in memory.

use std::future::Future;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::limits::{LimitName, LimitReached};
use super::vault::Vault;
use crate::config::AccountLimits;
use crate::model::{AccountId, Document};
use crate::store::{Documents, StoreError};
use books::{AccountBooks, EntryKind, GrowthReservation};

mod account;
mod books;
pub mod casts;
mod client_fields;
mod enabling;
pub mod fields;
mod hook;
#[cfg(test)]
pub(crate) mod tests;

pub use books::AccountUsage;
pub(in crate::hooks) use client_fields::headers_of;
pub use enabling::EnabledHooks;
pub use hook::{
    disable_reason, is_enabled, shown as shown_hook, shown_deleted as shown_deleted_hook, warnings,
};

/// The hooks and accounts that the host works with, in memory.
pub trait EditorTables: Send + Sync {
    /// Puts or replaces a hook.
    ///
    /// # Errors
    /// A sentence, when the document cannot be a hook; the table is as it was.
    fn put_hook(&self, doc: &Document) -> Result<(), String>;
    /// Takes a hook out.
    fn remove_hook(&self, id: &str);
    /// Puts or replaces an account.
    fn put_account(&self, doc: &Document);
    /// Takes an account out.
    fn remove_account(&self, id: &str);
    /// The accounts right below one.
    fn children(&self, id: &str) -> Vec<AccountId>;
    /// All accounts below one.
    fn descendants(&self, id: &str) -> Vec<AccountId>;
}

/// Says whether a document may be stored.
pub trait DocumentValidator: Send + Sync {
    /// Checks a hook with its private fields in place, and with `secret` where the change sets it, and fills in the defaults of the schema.
    ///
    /// # Errors
    /// The `data` of a Crossbar validation error: dotted path, then code, then what is wrong.
    fn validate_hook(&self, doc: &mut Document) -> Result<(), Value>;
}

/// Why a change was not made.
#[derive(Debug, thiserror::Error)]
pub enum EditError {
    /// There is no such document, or it belongs to another account.
    #[error("there is no document {id}")]
    NotFound {
        /// What was asked for.
        id: String,
    },
    /// The document breaks a rule.
    #[error("the document is not valid: {0}")]
    Invalid(Value),
    /// The account would have more than it may have.
    #[error("{0}")]
    Limit(LimitReached),
    /// An account that still has accounts below it cannot be deleted.
    #[error("account {id} has {count} descendants")]
    HasDescendants {
        /// The account.
        id: String,
        /// Accounts below it.
        count: u64,
    },
    /// The document was stored but the host cannot work with it.
    #[error("document {id} was stored but not loaded: {reason}")]
    NotLoaded {
        /// The document.
        id: String,
        /// Why not.
        reason: String,
    },
    /// The change ended in a panic.
    #[error("the change was broken off: {0}")]
    BrokenOff(String),
    /// The store refused or failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What the first load found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LoadedDocuments {
    /// Accounts in memory.
    pub accounts: usize,
    /// Hooks in memory.
    pub hooks: usize,
    /// Hooks that are stored but cannot be worked with; each is logged.
    pub refused: usize,
}

/// Changes hooks and accounts. A change that has begun ends, also when its caller goes away.
pub struct Editor {
    desk: Arc<EditorInner>,
    changes: TaskTracker,
}

/// What a change works with.
struct EditorInner {
    documents: Arc<dyn Documents>,
    tables: Arc<dyn EditorTables>,
    validator: Arc<dyn DocumentValidator>,
    vault: Arc<Vault>,
    books: AccountBooks,
}

impl Editor {
    /// An editor of these tables; it loads nothing by itself. `limits` are those of accounts that have none of their
    /// own.
    pub fn new(
        documents: Arc<dyn Documents>,
        tables: Arc<dyn EditorTables>,
        validator: Arc<dyn DocumentValidator>,
        vault: Arc<Vault>,
        limits: AccountLimits,
    ) -> Self {
        let desk = EditorInner { documents, tables, validator, vault, books: AccountBooks::new(limits) };
        Self { desk: Arc::new(desk), changes: TaskTracker::new() }
    }

    /// Puts everything that is stored into the tables, accounts first.
    ///
    /// # Errors
    /// When the store cannot be read. A hook that cannot be worked with is logged and counted.
    pub async fn load(&self) -> Result<LoadedDocuments, StoreError> {
        let mut loaded = LoadedDocuments::default();
        for account in self.desk.documents.accounts().await? {
            self.desk.show_account(&account, None);
            loaded.accounts += 1;
        }
        for hook in self.desk.documents.hooks().await? {
            match self.desk.show_hook(&hook, None) {
                Ok(()) => loaded.hooks += 1,
                Err(error) => {
                    loaded.refused += 1;
                    tracing::warn!(hook = fields::id(&hook), account = fields::owner(&hook), %error, "a stored hook was not loaded");
                }
            }
        }
        Ok(loaded)
    }

    /// What applies to an account.
    pub fn limit(&self, account: &str, name: LimitName) -> u64 {
        self.desk.books.limit(account, name)
    }

    /// What an account has.
    pub fn usage(&self, account: &str) -> AccountUsage {
        self.desk.books.usage(account)
    }

    /// The largest document that any account may have, in bytes.
    pub fn largest_document(&self) -> u64 {
        self.desk.books.largest_document()
    }

    /// Waits for the changes that have begun.
    pub async fn close(&self) {
        self.changes.close();
        self.changes.wait().await;
    }

    async fn whole<T, F>(&self, change: F) -> Result<T, EditError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, EditError>> + Send + 'static,
    {
        match self.changes.spawn(change.in_current_span()).await {
            Ok(outcome) => outcome,
            Err(error) => Err(EditError::BrokenOff(error.to_string())),
        }
    }
}

impl EditorInner {
    async fn account(&self, id: &str) -> Result<Document, EditError> {
        self.documents.account(id).await?.ok_or_else(|| EditError::NotFound { id: id.to_owned() })
    }

    fn show_account(&self, doc: &Document, reserved: Option<GrowthReservation<'_>>) {
        self.show(EntryKind::Account, doc, reserved, |deleted| match deleted {
            true => self.tables.remove_account(fields::id(doc)),
            false => self.tables.put_account(doc),
        });
    }

    fn show_hook(&self, doc: &Document, reserved: Option<GrowthReservation<'_>>) -> Result<(), EditError> {
        let mut put = Ok(());
        self.show(EntryKind::Hook, doc, reserved, |deleted| match deleted {
            true => self.tables.remove_hook(fields::id(doc)),
            false => put = self.tables.put_hook(doc),
        });
        put.map_err(|reason| EditError::NotLoaded { id: fields::id(doc).to_owned(), reason })
    }

    fn show(
        &self,
        kind: EntryKind,
        doc: &Document,
        reserved: Option<GrowthReservation<'_>>,
        change: impl FnOnce(bool),
    ) {
        let mut entries = self.books.entries();
        if self.books.enter(&mut entries, kind, doc, reserved) {
            change(fields::is_deleted(doc));
        }
    }
}

impl From<LimitReached> for EditError {
    fn from(reached: LimitReached) -> Self {
        Self::Limit(reached)
    }
}
