//! How often the store has waited for the disk (`fsync`). SQLite does not tell it; what it flushes follows from what it
//! does: the log with each commit (`synchronous = "full"`), the log's head when it begins anew, and at a checkpoint the
//! log, and the database once all of the log is in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rusqlite::Connection;

use super::options::Synchronous;

/// Pages in the log from which on they are copied into the database: fewer, larger checkpoints write pages that change
/// often only once.
const LONG_LOG: u64 = 10_000;

/// Flushes so far, and how long the log is.
#[derive(Clone, Debug, Default)]
pub(super) struct FlushCount(Arc<FlushFigures>);

#[derive(Debug, Default)]
struct FlushFigures {
    flushes: AtomicU64,
    log_pages: AtomicU64,
    copied: Mutex<LogCopy>,
}

/// What a checkpoint came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct LogCopy {
    /// Pages in the log.
    log: u64,
    /// How many of them are in the database.
    copied: u64,
}

impl FlushCount {
    /// Flushes since the store was opened.
    pub(super) fn total(&self) -> u64 {
        self.0.flushes.load(Ordering::Relaxed)
    }

    /// Counts what this connection's commits flush. Checkpoints are its owner's from now on.
    pub(super) fn watch(
        &self,
        connection: &mut Connection,
        synchronous: Synchronous,
    ) -> rusqlite::Result<()> {
        let own = self.clone();
        connection.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, pages: std::ffi::c_int| {
            own.committed(synchronous, u64::try_from(pages).unwrap_or_default());
            Ok(())
        }))
    }

    fn committed(&self, synchronous: Synchronous, pages: u64) {
        let begins_anew = pages <= self.0.log_pages.swap(pages, Ordering::Relaxed);
        if begins_anew {
            *self.0.copied.lock() = LogCopy::default();
        }
        self.add(u64::from(synchronous == Synchronous::Full) + u64::from(begins_anew));
    }

    /// Whether the log is to be copied into the database.
    pub(super) fn log_is_long(&self) -> bool {
        self.0.log_pages.load(Ordering::Relaxed) >= LONG_LOG
    }

    /// Copies the log into the database, as far as no reader needs what is there; `kind` is SQLite's. Says whether somebody
    /// was in the way, and counts what it flushes.
    pub(super) fn checkpoint(&self, connection: &Connection, kind: &str) -> rusqlite::Result<bool> {
        let checkpoint = format!("PRAGMA wal_checkpoint({kind})");
        let pages = |value: i64| u64::try_from(value).unwrap_or_default();
        let (was_busy, now) = connection.query_row(&checkpoint, [], |row| {
            Ok((row.get(0)?, LogCopy { log: pages(row.get(1)?), copied: pages(row.get(2)?) }))
        })?;
        let before = std::mem::replace(&mut *self.0.copied.lock(), now);
        self.add(flushed_by_checkpoint(before, now));
        Ok(was_busy)
    }

    fn add(&self, flushes: u64) {
        self.0.flushes.fetch_add(flushes, Ordering::Relaxed);
    }
}

/// The log before anything of it is copied, and the database when all of it was.
fn flushed_by_checkpoint(before: LogCopy, now: LogCopy) -> u64 {
    let copies = now.copied > before.copied;
    u64::from(copies) + u64::from(copies && now.copied == now.log)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_flushes_the_log_where_it_promises_to_and_its_head_when_it_begins_anew() {
        for (synchronous, expected) in [(Synchronous::Full, 1 + 1 + 2 + 1), (Synchronous::Normal, 1)] {
            let count = FlushCount::default();
            for pages in [3, 9_999, 2, 10_002] {
                assert!(!count.log_is_long());
                count.committed(synchronous, pages);
            }
            assert_eq!(count.total(), expected);
            assert!(count.log_is_long());
        }
    }

    #[test]
    fn a_checkpoint_flushes_what_it_copies_and_what_it_copies_to() {
        let pages = |log, copied| LogCopy { log, copied };
        for (before, now, expected) in [
            (pages(0, 0), pages(0, 0), 0),
            (pages(0, 0), pages(10, 10), 2),
            (pages(0, 0), pages(10, 7), 1),
            (pages(10, 7), pages(20, 7), 0),
            (pages(10, 7), pages(20, 20), 2),
            (pages(20, 20), pages(20, 20), 0),
        ] {
            assert_eq!(flushed_by_checkpoint(before, now), expected, "{before:?} {now:?}");
        }
    }
}
