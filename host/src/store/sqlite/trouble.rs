//! What an error of SQLite means to the host, and which one keeps the store from being written.

use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::ErrorCode;

use crate::store::StoreError;

/// What the last write failed with.
pub(super) type StoreTrouble = Arc<Mutex<Option<StoreError>>>;

/// What an error of SQLite means to the host.
pub(super) fn explain(file: &Path, error: &rusqlite::Error) -> StoreError {
    match error {
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..) => damaged(file, &error.to_string()),
        other => match other.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => damaged(file, &other.to_string()),
            Some(ErrorCode::DiskFull) => StoreError::Full,
            _ => StoreError::Unavailable(format!("{}: {other}", file.display())),
        },
    }
}

/// A file cannot be read because of what was found in it.
pub(super) fn damaged(file: &Path, found: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{} is damaged ({found}): restore it from a backup, or move it (and its -wal and -shm files) away to start empty",
        file.display()
    ))
}

/// Notes how a write, or a read of damage, ended; says so where that is news.
pub(super) fn note(trouble: &StoreTrouble, error: Option<&StoreError>) {
    let mut known = trouble.lock();
    match (&*known, error) {
        // Damage does not heal because another page could be written.
        (Some(StoreError::Corrupt(_)), _) | (None, None) => return,
        (Some(_), None) => tracing::info!("the store can be written again"),
        (Some(before), Some(error)) if before == error => return,
        (_, Some(error)) => tracing::error!(%error, "the store cannot be written"),
    }
    *known = error.cloned();
}

/// What a store that was closed answers.
pub(super) fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}
