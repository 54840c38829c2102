//! How the files stay small: what a reader's snapshot made of the write-ahead log, and what a drained backlog left of the
//! database, is given back to the disk, in steps so small that no commit waits for one.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;

use super::database::{self, OpenedDatabase};
use super::flushes::FlushCount;
use super::presence::FilePresence;
use super::trouble::{StoreTrouble, explain, note};
use super::writer::StoreWriter;
use crate::store::StoreRoom;

/// Bytes of the log beyond which it is emptied also while there are commits. Without a reader that keeps old pages alive
/// it has some 40 MiB at most.
const LARGE_LOG: u64 = 64 << 20;

/// Bytes of the log that are left when there is nothing to do.
const SMALL_LOG: u64 = 1 << 20;

/// Free pages that are kept: new rows take them.
const KEPT: u64 = 512;

/// Looks for which so many pages must have been free: what is needed again and again is kept.
const LOOKS: usize = 5;

/// Pages that are given back in one commit.
const STEP: u64 = 128;

/// How much of a database may be rewritten at a start, so that it can give pages back from then on.
const REWRITTEN_AT_START: u64 = 64 << 20;

/// What is known of the files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct RoomLook {
    free_pages: u64,
    log_bytes: u64,
    /// So many commits there were so far.
    commits: u64,
}

/// What is to be done now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct StoreChores {
    /// The log is to be emptied.
    pub(super) empty_log: bool,
    /// So many pages are to be given back; 0: none.
    pub(super) pages: u64,
}

/// Looks at the files from time to time.
pub(super) struct StoreTending {
    connection: Connection,
    log: PathBuf,
    /// Whether the database can give pages back.
    shrinks: bool,
    /// Pages were given back in commits that are still in the log only: the file shrinks when the log is emptied.
    gave_back: bool,
    before: VecDeque<RoomLook>,
}

impl StoreTending {
    /// Over a connection of its own, so that nobody waits for it.
    pub(super) fn of(file: &Path) -> crate::store::Result<Self> {
        let connection = database::reader(file)?;
        let failed = |error| explain(file, &error);
        connection.busy_timeout(Duration::ZERO).map_err(failed)?;
        connection.pragma_update(None, "query_only", false).map_err(failed)?;
        let shrinks = number(&connection, "auto_vacuum").map_err(failed)? == 2;
        let mut log = file.as_os_str().to_owned();
        log.push("-wal");
        Ok(StoreTending { connection, log: log.into(), shrinks, gave_back: false, before: VecDeque::new() })
    }

    /// Looks, and says what is to be done.
    pub(super) fn look(&mut self, commits: u64) -> rusqlite::Result<(StoreRoom, StoreChores)> {
        let size = number(&self.connection, "page_size")?;
        let (pages, free_pages) =
            (number(&self.connection, "page_count")?, number(&self.connection, "freelist_count")?);
        let log_bytes = std::fs::metadata(&self.log).map_or(0, |log| log.len());
        let now = RoomLook { free_pages, log_bytes, commits };
        let mut chores = chores(&self.before, now);
        if !self.shrinks {
            chores.pages = 0;
        }
        chores.empty_log |= self.gave_back && chores.pages == 0;
        self.before.push_back(now);
        if self.before.len() >= LOOKS {
            self.before.pop_front();
        }
        Ok((StoreRoom { bytes: pages * size, free_bytes: free_pages * size, log_bytes }, chores))
    }

    /// Copies the log into the database and cuts it off. Commits go on meanwhile; where a reader or a commit is in the
    /// way, it is left for the next time.
    pub(super) fn empty_log(&mut self, flushes: &FlushCount) -> rusqlite::Result<()> {
        for kind in ["PASSIVE", "TRUNCATE"] {
            let was_busy = flushes.checkpoint(&self.connection, kind)?;
            self.gave_back &= was_busy || kind == "PASSIVE";
        }
        Ok(())
    }

    /// The commit that gives pages back is no sign of work.
    pub(super) fn gave_back(&mut self) {
        self.gave_back = true;
        if let Some(last) = self.before.back_mut() {
            last.commits += 1;
        }
    }
}

/// Who looks after the files of an open store.
pub(super) struct StoreCaretaker {
    /// Whether they are where they should be.
    pub(super) presence: Arc<FilePresence>,
    /// Nothing once it is closed.
    tending: Arc<Mutex<Option<StoreTending>>>,
    room: Mutex<StoreRoom>,
}

impl StoreCaretaker {
    /// Of what has just been opened.
    pub(super) fn of(opened: &OpenedDatabase) -> crate::store::Result<Self> {
        let mut tending = StoreTending::of(&opened.file)?;
        let (room, _) = tending.look(0).map_err(|error| explain(&opened.file, &error))?;
        Ok(StoreCaretaker {
            presence: Arc::new(FilePresence::of(opened.files())),
            tending: Arc::new(Mutex::new(Some(tending))),
            room: Mutex::new(room),
        })
    }

    /// What the files took when they were looked at last.
    pub(super) fn room(&self) -> Option<StoreRoom> {
        Some(*self.room.lock())
    }

    /// Looks, and does the next step; true where there is another one.
    pub(super) async fn tend(&self, writer: &StoreWriter, trouble: &StoreTrouble) -> bool {
        let presence = Arc::clone(&self.presence);
        match tokio::task::spawn_blocking(move || presence.check()).await {
            Ok(Ok(())) => {}
            Ok(Err(gone)) => {
                note(trouble, Some(&gone));
                return false;
            }
            Err(_) => return false,
        }
        let commits = writer.commits();
        let Some((room, chores)) = self.with(move |tending| tending.look(commits)).await else {
            return false;
        };
        *self.room.lock() = room;
        if chores.empty_log {
            let flushes = writer.flushes.clone();
            self.with(move |tending| tending.empty_log(&flushes)).await;
        }
        if chores.pages == 0 || trouble.lock().is_some() {
            return false;
        }
        let gave = writer.write(0, move |writing| give_back(writing.connection, chores.pages)).await;
        self.with(|tending| {
            tending.gave_back();
            Ok(())
        })
        .await;
        gave.is_ok()
    }

    pub(super) fn close(&self) {
        drop(self.tending.lock().take());
    }

    /// Runs something off the async threads. Nothing where it is closed or fails: then there is a next time.
    async fn with<T, F>(&self, work: F) -> Option<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut StoreTending) -> rusqlite::Result<T> + Send + 'static,
    {
        let tending = Arc::clone(&self.tending);
        let worked = tokio::task::spawn_blocking(move || tending.lock().as_mut().map(work));
        match worked.await {
            Ok(Some(Ok(came_to))) => Some(came_to),
            Ok(Some(Err(error))) => {
                tracing::debug!(%error, "the store's files cannot be looked after now");
                None
            }
            Ok(None) | Err(_) => None,
        }
    }
}

/// What follows from what is seen now and was before, the oldest first.
fn chores(before: &VecDeque<RoomLook>, now: RoomLook) -> StoreChores {
    let idle = before.back().is_some_and(|last| last.commits == now.commits);
    let empty_log = now.log_bytes > LARGE_LOG || idle && now.log_bytes > SMALL_LOG;
    let long_enough = before.len() + 1 >= LOOKS;
    let unused = before.iter().map(|looked| looked.free_pages).min().unwrap_or_default().min(now.free_pages);
    let pages = if long_enough { unused.saturating_sub(KEPT).min(STEP) } else { 0 };
    StoreChores { empty_log, pages }
}

/// Gives so many pages back, within a transaction of the writer's.
pub(super) fn give_back(connection: &Connection, pages: u64) -> rusqlite::Result<()> {
    // It answers a row for each page, and stops where nobody asks for the next one.
    let mut statement = connection.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Has a database of an older program give pages back from now on. That rewrites it, so a large one is left as it is:
/// for hours nobody would take events.
pub(super) fn let_shrink(connection: &Connection, file: &Path) -> rusqlite::Result<()> {
    if number(connection, "auto_vacuum")? == 2 {
        return Ok(());
    }
    let used = number(connection, "page_count")?.saturating_sub(number(connection, "freelist_count")?);
    let bytes = used * number(connection, "page_size")?;
    let file = file.display();
    if bytes > REWRITTEN_AT_START {
        tracing::warn!(
            %file, bytes,
            "the database keeps the room of what leaves it; to have it give room back, stop, make a backup and restore it"
        );
        return Ok(());
    }
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    match connection.execute_batch("VACUUM") {
        Ok(()) => {
            tracing::info!(%file, bytes, "the database was rewritten once, and gives room back from now on")
        }
        Err(error) => tracing::warn!(%file, %error, "the database cannot be rewritten and keeps its room"),
    }
    Ok(())
}

fn number(connection: &Connection, pragma: &str) -> rusqlite::Result<u64> {
    connection.query_row(&format!("PRAGMA {pragma}"), [], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(free_pages: u64, log_bytes: u64, commits: u64) -> RoomLook {
        RoomLook { free_pages, log_bytes, commits }
    }

    #[track_caller]
    fn check(before: &[RoomLook], now: RoomLook, empty_log: bool, pages: u64) {
        assert_eq!(chores(&before.iter().copied().collect(), now), StoreChores { empty_log, pages });
    }

    #[test]
    fn a_log_is_emptied_when_nothing_is_written_or_a_reader_has_made_it_large() {
        check(&[looked(0, 0, 5)], looked(0, SMALL_LOG + 1, 5), true, 0);
        check(&[looked(0, 0, 5)], looked(0, SMALL_LOG, 5), false, 0);
        check(&[looked(0, 0, 5)], looked(0, LARGE_LOG, 6), false, 0);
        check(&[looked(0, 0, 5)], looked(0, LARGE_LOG + 1, 6), true, 0);
        check(&[], looked(0, SMALL_LOG + 1, 5), false, 0);
    }

    #[test]
    fn pages_are_given_back_in_steps_when_they_were_free_for_long() {
        let free = |pages: [u64; 4]| pages.map(|pages| looked(pages, 0, 0));
        let now = |pages| looked(pages, 0, 1);
        check(&free([9_000; 4]), now(9_000), false, STEP);
        check(&free([9_000, 9_000, KEPT + 3, 9_000]), now(9_000), false, 3);
        check(&free([9_000, 100, 9_000, 9_000]), now(9_000), false, 0);
        check(&free([9_000; 4]), now(KEPT), false, 0);
        check(&free([9_000; 4])[1..], now(9_000), false, 0);
    }
}
