//! What the host keeps: which documents, settings and deliveries outlive it, as traits by use.
//!
//! One struct implements all of them (`sqlite::SqliteStore`); every implementation passes the
//! suite of `store/conformance.rs`.

use std::path::PathBuf;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use crate::model::{AccountId, Document, HookId};
use crate::trail::Origin;

mod access;
#[cfg(test)]
#[macro_use]
mod conformance;
mod attempts;
mod listings;
mod replays;
pub mod sqlite;

pub use access::{AuditEntry, AuditKeep, AuditQuery, AuditStore, StoredAuditEntry, StoredToken, TokenStore};
pub use attempts::{AttemptKey, AttemptQuery, AttemptScan, AttemptStore, NewAttempt, StoredAttempt};
pub use listings::{HookIdQuery, ListedDocuments, ListedKind, ListingStore};
pub use replays::{DeliveryQuery, DeliveryRow, NewReplay, Replay, ReplayState, ReplayStore};

/// The result of everything that a store does.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Why a store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The document was saved with another `_rev` than the stored one, or without one although it exists.
    #[error("document {id} was changed meanwhile: read it again and repeat the change")]
    Conflict {
        /// The document's `_id`.
        id: String,
    },
    /// The store cannot be reached or answered with an error that may pass.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// What is stored cannot be read; nothing is repaired or emptied silently.
    #[error(
        "{} is damaged ({reason}): restore it from a backup, or move it (and its -wal and -shm files) away to start empty",
        path.display()
    )]
    Corrupt {
        /// The damaged file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A question whose answer took too long to find; it can be asked for less at once.
    #[error("the store was asked for something that takes longer than {} s to find", limit.as_secs())]
    TooSlow {
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// A file that is open is no longer where the next start looks for it.
    #[error(
        "{} {how} under the running host, so that what is written now would be lost: nothing is taken any more; put the \
         same file back, or stop the host, bring the data folder back (hookline restore) and start it again",
        path.display()
    )]
    Gone {
        /// Where it was.
        path: PathBuf,
        /// What became of it.
        how: &'static str,
    },
    /// There is no room left where the store lives.
    #[error("the disk of the store is full")]
    Full,
    /// Another host works on the same data folder.
    #[error("{} is locked: {holder} uses this data folder; stop it or choose another data_dir", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
        /// Who holds it, as far as known.
        holder: String,
    },
    /// The data was written by a newer program.
    #[error(
        "{} has schema version {found}, this program knows {known}: use the newer program or another data_dir",
        path.display()
    )]
    TooNew {
        /// The file that says so.
        path: PathBuf,
        /// The version found in it.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
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

/// Small values that the host keeps for itself, such as its cluster id.
#[async_trait]
pub trait SettingStore: Send + Sync {
    /// The value of a setting.
    async fn setting(&self, name: &str) -> Result<Option<String>>;
    /// Sets or replaces a setting.
    async fn set_setting(&self, name: &str, value: &str) -> Result<()>;
}

/// Deliveries that are owed: kept until their outcome is durable.
#[async_trait]
pub trait DeliveryStore: Send + Sync {
    /// Takes the deliveries that events cause; returns once all of them are durable, with an answer for each
    /// event in their order.
    ///
    /// All are taken or, with an error, none. An identity that was accepted within the last 24 hours, or by an
    /// event before it, adds nothing. An event without deliveries is not remembered: it caused nothing that
    /// could be repeated.
    async fn accept_many(&self, events: Vec<AcceptedEvent>) -> Result<Vec<Accepted>>;
    /// As [`accept_many`](DeliveryStore::accept_many), of one event.
    async fn accept(&self, event: AcceptedEvent) -> Result<Accepted> {
        let answers = self.accept_many(vec![event]).await?;
        let none = || StoreError::Unavailable("it gave no answer for an event".to_owned());
        answers.into_iter().next().ok_or_else(none)
    }
    /// Writes down what became of deliveries, together with what others write within a few milliseconds.
    /// Unknown ids are passed over, so that repeating it is harmless.
    async fn finish(&self, outcomes: Vec<Outcome>) -> Result<()>;
    /// Up to `limit` pending deliveries with ids above `after_id`, ascending: the sweep at start.
    async fn pending(&self, after_id: i64, limit: usize) -> Result<Vec<StoredDelivery>>;
    /// The pending ones among `ids`, in their order: retries that became due.
    async fn load(&self, ids: &[i64]) -> Result<Vec<StoredDelivery>>;
    /// As [`pending`](DeliveryStore::pending), without payloads: memory for any number of large ones is not needed to
    /// know what waits.
    async fn waiting_after(&self, after_id: i64, limit: usize) -> Result<Vec<WaitingRow>>;
    /// As [`load`](DeliveryStore::load), without payloads.
    async fn waiting(&self, ids: &[i64]) -> Result<Vec<WaitingRow>>;
    /// How many deliveries wait and how many are dead. It may have to walk over all that wait.
    async fn counts(&self) -> Result<DeliveryCounts>;
}

/// What is known of hooks that fail, and what was set about it while the host ran.
#[async_trait]
pub trait DisablerStore: Send + Sync {
    /// All failures that were noted and not forgotten.
    async fn failures(&self) -> Result<Vec<Failure>>;
    /// All hooks that fail.
    async fn failing(&self) -> Result<Vec<StoredFailing>>;
    /// Makes changes in their order; returns once they are durable. Repeating them is harmless.
    async fn note_failures(&self, changes: Vec<FailureChange>) -> Result<()>;
    /// What accounts have set, by their ids; what the system has set is under the empty one.
    async fn configs(&self) -> Result<Vec<(String, Document)>>;
    /// Sets what an account has set; an empty document is forgotten.
    async fn save_config(&self, account: &str, doc: Document) -> Result<()>;
}

/// Everything that the host keeps, in one place.
#[async_trait]
pub trait Store:
    AccountStore
    + HookStore
    + MetadataStore
    + SettingStore
    + DeliveryStore
    + DisablerStore
    + AttemptStore
    + ListingStore
    + ReplayStore
    + TokenStore
    + AuditStore
{
    /// Commits since the store was opened: what writes have cost, and whether they are grouped.
    fn commits(&self) -> u64;
    /// Why nothing can be written at the moment: what the last write failed with. A success ends it, except damage.
    fn trouble(&self) -> Option<StoreError>;
    /// Looks after what is stored: whether it is still where the next start looks for it, which
    /// [`trouble`](Store::trouble) tells then, and whether room can be given back to the disk. To be called about once a
    /// second, and again soon where it answers true: there is more to do.
    async fn tend(&self) -> bool {
        false
    }
    /// What it takes of the disk, as far as known.
    fn room(&self) -> Option<StoreRoom> {
        None
    }
    /// A copy of all of it as of one moment, made while everything goes on.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] while the one before is still held, [`StoreError::Full`] without room for it, and
    /// where the store has tools of its own for it.
    async fn backup(&self) -> Result<Backup> {
        Err(StoreError::Unavailable("this store is backed up with tools of its own".to_owned()))
    }
    /// Finishes what was handed in, and closes; later calls answer [`StoreError::Unavailable`].
    async fn close(&self) -> Result<()>;
}

/// What a store takes of the disk, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreRoom {
    /// Of the database, free pages included.
    pub bytes: u64,
    /// Of its free pages.
    pub free_bytes: u64,
    /// Of its write-ahead log.
    pub log_bytes: u64,
}

/// A copy of everything that a store keeps. Its room on the disk is free again when it is dropped.
#[derive(Debug)]
pub struct Backup {
    /// All of it, from its beginning.
    pub file: std::fs::File,
    /// Its length.
    pub bytes: u64,
    /// No other copy is made before it is dropped.
    pub place: OwnedMutexGuard<()>,
}

/// An event whose deliveries are to be made durable.
#[derive(Debug, Clone)]
pub struct AcceptedEvent {
    /// What makes a redelivered event recognisable; `None` is never recognised.
    pub identity: Option<String>,
    /// One for each hook that wants the event.
    pub deliveries: Vec<NewDelivery>,
}

/// One payload that is owed to one hook.
#[derive(Debug, Clone)]
pub struct NewDelivery {
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// The `webhook-id` of every try.
    pub webhook_id: String,
    /// A JSON object's text. Deliveries of one event that hold the same `Bytes` share one stored copy.
    pub payload: Bytes,
    /// A hook document that the event itself carried, in place of a stored hook.
    pub direct_hook: Option<Bytes>,
    /// Where the event came from.
    pub origin: Origin,
}

/// What accepting an event did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// The ids of the deliveries, in their order. Ids rise and are never used again.
    New(Vec<i64>),
    /// The identity had been accepted before; nothing was added.
    AlreadyKnown,
}

/// A pending delivery as it comes back from the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredDelivery {
    /// Its id.
    pub id: i64,
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// The `webhook-id` of every try.
    pub webhook_id: String,
    /// A JSON object's text.
    pub payload: Bytes,
    /// A hook document that the event itself carried.
    pub direct_hook: Option<Bytes>,
    /// Where the event came from.
    pub origin: Origin,
    /// Tries made so far.
    pub tries: u32,
    /// When the next try is due, Unix milliseconds.
    pub due_ms: i64,
}

/// A pending delivery without its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRow {
    /// Its id.
    pub id: i64,
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// How long its payload is.
    pub payload_bytes: usize,
    /// The event carried the hook's document.
    pub carries_hook: bool,
    /// Tries made so far.
    pub tries: u32,
    /// When the next try is due, Unix milliseconds.
    pub due_ms: i64,
    /// How long it was to wait for it when that was written, in milliseconds; unknown where an older program wrote it.
    pub wait_ms: Option<i64>,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It arrived; it is forgotten.
    Delivered {
        /// The delivery.
        id: i64,
    },
    /// It is tried again.
    Retry {
        /// The delivery.
        id: i64,
        /// Tries made so far.
        tries: u32,
        /// When the next try is due, Unix milliseconds.
        due_ms: i64,
    },
    /// It is given up: kept, no longer pending.
    Dead {
        /// The delivery.
        id: i64,
        /// Tries made.
        tries: u32,
        /// Why, for people.
        reason: String,
    },
}

/// How much is owed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeliveryCounts {
    /// Deliveries that wait for their first or next try.
    pub pending: u64,
    /// Deliveries that were given up.
    pub dead: u64,
    /// When the earliest retry is due, Unix milliseconds.
    pub next_retry_ms: Option<i64>,
    /// When the oldest of those that wait was accepted, Unix milliseconds.
    pub oldest_ms: Option<i64>,
}

/// A failed try that may count against a hook.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Failure {
    /// The owner of the hook.
    pub account: AccountId,
    /// The hook's `_id`.
    pub hook: HookId,
    /// When, Unix milliseconds.
    pub at_ms: i64,
    /// How many in this millisecond.
    pub times: u32,
}

/// A hook whose last try failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFailing {
    /// The hook's `_id`.
    pub hook: HookId,
    /// The owner of the hook.
    pub account: AccountId,
    /// When the first try failed after the last success, Unix milliseconds.
    pub since_ms: i64,
    /// Tries that failed since.
    pub failed: u64,
    /// How many pauses it has had since; 0: it is in none.
    pub step: u32,
    /// When the pause ends, Unix milliseconds.
    pub until_ms: i64,
}

/// A change of what is known of hooks that fail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FailureChange {
    /// Tries failed: so many in this millisecond, in place of what was known of it.
    Failed(Failure),
    /// How a hook that fails does now.
    Failing(StoredFailing),
    /// All failures of a hook are forgotten, and that it fails.
    Forgotten {
        /// The hook's `_id`.
        hook: HookId,
        /// The owner of the hook.
        account: AccountId,
    },
    /// Failures of a hook from before this time are forgotten.
    Expired {
        /// The hook's `_id`.
        hook: HookId,
        /// The owner of the hook.
        account: AccountId,
        /// Unix milliseconds.
        before_ms: i64,
    },
}
