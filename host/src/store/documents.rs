//! Documents: accounts, hooks, metadata of modules, settings. Few, read often, each with a `_rev` that a change must know.

use async_trait::async_trait;

use super::{ListingStore, Result, StoreBackend};
use crate::model::Document;

/// All documents, in one place.
pub trait Documents:
    AccountStore + HookStore + MetadataStore + SettingStore + ListingStore + StoreBackend
{
}

impl<S> Documents for S where
    S: AccountStore + HookStore + MetadataStore + SettingStore + ListingStore + StoreBackend
{
}

/// Accounts. A soft delete is a saved document with `pvt_deleted`; such documents are not listed and not found.
#[async_trait]
pub trait AccountStore: Send + Sync {
    /// All accounts, in the order in which they were made.
    async fn accounts(&self) -> Result<Vec<Document>>;
    /// One account by its `_id`.
    async fn account(&self, id: &str) -> Result<Option<Document>>;
    /// Saves a document, made with an `_id` if it has none; answers it with its new `_rev`.
    ///
    /// # Errors
    /// [`StoreError::Conflict`] when `_rev` is not that of the stored document.
    async fn save_account(&self, doc: Document) -> Result<Document>;
}

/// Hooks, with the rules of [`AccountStore`].
#[async_trait]
pub trait HookStore: Send + Sync {
    /// All hooks of all accounts, in the order in which they were made.
    async fn hooks(&self) -> Result<Vec<Document>>;
    /// The hooks whose `pvt_account_id` is `account`, in the order in which they were made.
    async fn hooks_of(&self, account: &str) -> Result<Vec<Document>>;
    /// One hook by its `_id`.
    async fn hook(&self, id: &str) -> Result<Option<Document>>;
    /// Saves a document as [`AccountStore::save_account`] does.
    async fn save_hook(&self, doc: Document) -> Result<Document>;
}

/// What modules say of themselves: documents `webhooks_<name>`.
#[async_trait]
pub trait MetadataStore: Send + Sync {
    /// All metadata documents.
    async fn metadata(&self) -> Result<Vec<Document>>;
    /// Saves a document as [`AccountStore::save_account`] does.
    async fn save_metadata(&self, doc: Document) -> Result<Document>;
    /// Takes a document away for good, so that its id is as if it had never been used. An unknown id is passed over.
    async fn delete_metadata(&self, id: &str) -> Result<()>;
}

/// Small values that the host keeps for itself, such as its cluster id, and what accounts have set.
#[async_trait]
pub trait SettingStore: Send + Sync {
    /// The value of a setting.
    async fn setting(&self, name: &str) -> Result<Option<String>>;
    /// Sets or replaces a setting.
    async fn set_setting(&self, name: &str, value: &str) -> Result<()>;
    /// What accounts have set, by their ids; what the system has set is under the empty one.
    async fn configs(&self) -> Result<Vec<(String, Document)>>;
    /// Sets what an account has set; an empty document is forgotten.
    async fn save_config(&self, account: &str, doc: Document) -> Result<()>;
}
