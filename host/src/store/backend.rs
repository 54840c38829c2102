//! What a backend tells of itself, whatever it keeps: whether it can be written, what room it takes, how it is copied.

use async_trait::async_trait;
use tokio::sync::OwnedMutexGuard;

use super::{Result, StoreError};

/// What a backend tells of itself, whatever it keeps.
#[async_trait]
pub trait StoreBackend: Send + Sync {
    /// Commits since the store was opened: what writes have cost, and whether they are grouped.
    fn commits(&self) -> u64;
    /// How often it has waited until something was on the disk (`fsync`) since it was opened; 0 where it is not its own disk.
    fn flushes(&self) -> u64 {
        0
    }
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
