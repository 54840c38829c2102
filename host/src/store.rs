//! What outlives the host: [`Documents`] and the [`Ledger`], each made of traits by use, which may have backends of their
//! own. `sqlite::SqliteStore` is both; every implementation passes the suites of `store/conformance`.

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

mod access;
#[cfg(test)]
#[macro_use]
mod conformance;
mod attempts;
mod documents;
mod ledger;
mod listings;
mod replays;
pub mod sqlite;

pub use access::{AuditEntry, AuditKeep, AuditQuery, AuditStore, StoredAuditEntry, StoredToken, TokenStore};
pub use attempts::{AttemptKey, AttemptQuery, AttemptScan, AttemptStore, NewAttempt, StoredAttempt};
pub use documents::{AccountStore, Documents, HookStore, MetadataStore, SettingStore};
pub use ledger::{
    Accepted, AcceptedEvent, DeliveryCounts, DeliveryStore, DisablerStore, FailureChange, HookFailure,
    Ledger, NewDelivery, StoredDelivery, StoredFailing, StoredOutcome, WaitingRow,
};
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
    /// What is stored cannot be read; nothing is repaired or emptied silently. The backend's words: what is damaged, and
    /// what helps.
    #[error("{0}")]
    Corrupt(String),
    /// A question whose answer took too long to find; it can be asked for less at once.
    #[error("the store was asked for something that takes longer than {} s to find", limit.as_secs())]
    TooSlow {
        /// How long it may take.
        limit: std::time::Duration,
    },
    /// What is written now would be lost, as the next start looks for it elsewhere. The backend's words: what has become
    /// of it, and what helps.
    #[error("{0}")]
    Gone(String),
    /// There is no room left where the store lives.
    #[error("the disk of the store is full")]
    Full,
    /// Another host works on what is not to be shared. The backend's words: who, as far as known, and what helps.
    #[error("{0}")]
    InUse(String),
    /// The data was written by a newer program. The backend's words: which versions, and what helps.
    #[error("{0}")]
    TooNew(String),
}

/// What a backend tells of itself, whatever it keeps.
#[async_trait]
pub trait StoreBackend: Send + Sync {
    /// Commits since the store was opened: what writes have cost, and whether they are grouped.
    fn commits(&self) -> u64;
    /// Why nothing can be written at the moment: what the last write failed with. A success ends it, except damage.
    fn trouble(&self) -> Option<StoreError>;
    /// Writes something and takes it away again, to see whether it can be written. It is as long as a group of deliveries,
    /// since a full disk often has room for a few bytes.
    ///
    /// # Errors
    /// What [`trouble`](StoreBackend::trouble) answers then.
    async fn try_write(&self) -> Result<()>;
    /// Looks after what is stored: whether it is still where the next start looks for it, which
    /// [`trouble`](StoreBackend::trouble) tells then, and whether room can be given back to the disk. To be called about once a
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

impl StoreRoom {
    /// Both together.
    #[must_use]
    pub fn with(self, other: StoreRoom) -> Self {
        StoreRoom {
            bytes: self.bytes + other.bytes,
            free_bytes: self.free_bytes + other.free_bytes,
            log_bytes: self.log_bytes + other.log_bytes,
        }
    }
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
