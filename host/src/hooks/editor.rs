//! The one way in which hooks and accounts change: the store first, then what the host holds in memory.

use std::future::Future;
use std::sync::Arc;

use serde_json::Value;
use tokio_util::task::TaskTracker;
use tracing::Instrument as _;

use super::accounts::AccountRecord;
use super::limits::{LimitName, LimitReached};
use super::vault::Vault;
use crate::config::AccountLimits;
use crate::model::{AccountId, Document, Hook};
use crate::store::{Documents, StoreError};
use books::{AccountBooks, GrowthReservation};

mod account;
mod books;
pub mod casts;
mod client_fields;
mod enabling;
mod facts;
mod loading;
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
pub use loading::LoadedDocuments;

/// The hooks and accounts that the host works with, in memory.
pub trait EditorTables: Send + Sync {
    /// Reads a hook; changes nothing.
    ///
    /// # Errors
    /// A sentence, when the document cannot be a hook.
    fn read_hook(&self, doc: &Document) -> Result<Hook, String>;
    /// Puts or replaces a hook.
    fn put_hook(&self, hook: Hook);
    /// Takes a hook out.
    fn remove_hook(&self, id: &str);
    /// Puts or replaces an account.
    fn put_account(&self, account: AccountRecord);
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
}

impl From<LimitReached> for EditError {
    fn from(reached: LimitReached) -> Self {
        Self::Limit(reached)
    }
}
