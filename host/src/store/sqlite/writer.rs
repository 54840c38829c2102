//! The thread that writes: each group of what waits is one transaction, answered once it is durable.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::database::{self, OpenedDatabase};
use super::flushes::FlushCount;
use super::options::Synchronous;
use super::presence::FilePresence;
use super::totals::TotalsChange;
use super::trouble::{StoreTrouble, explain, note};
use super::writing::{IdList, StoreWrite};
use super::{deliveries, identities, unfinished};
use crate::clock::now_ms;
use crate::store::{Result, StoreError};

mod jobs;
mod queue;

use jobs::{WriterJob, WriterTask, answer};
pub(super) use queue::PATIENCE;
use queue::WriterQueue;

/// The handle of the writer thread.
pub(super) struct StoreWriter {
    queue: Arc<WriterQueue>,
    thread: Mutex<Option<JoinHandle<()>>>,
    commits: Arc<AtomicU64>,
    /// What its commits and everybody's checkpoints have flushed.
    pub(super) flushes: FlushCount,
    /// Events whose pieces are to be removed, as not all of them came.
    pub(super) abandoned: Arc<Mutex<Vec<i64>>>,
}

impl StoreWriter {
    pub(super) fn start(
        opened: OpenedDatabase,
        presence: Arc<FilePresence>,
        trouble: StoreTrouble,
        synchronous: Synchronous,
    ) -> Result<Self> {
        let (commits, flushes) = (Arc::new(AtomicU64::new(0)), FlushCount::default());
        let abandoned: Arc<Mutex<Vec<i64>>> = Arc::default();
        let queue = Arc::new(WriterQueue::new());
        let OpenedDatabase { file, mut connection, lock } = opened;
        let ids = IdList::load(&connection).map_err(|error| explain(&file, &error))?;
        flushes.watch(&mut connection, synchronous).map_err(|error| explain(&file, &error))?;
        let state = WriterState {
            connection,
            file,
            ids,
            pruned: PruneState::default(),
            commits: Arc::clone(&commits),
            flushes: flushes.clone(),
            abandoned: Arc::clone(&abandoned),
            presence,
            trouble,
            _lock: lock,
        };
        let abandoning = AbandonedAtEnd(Arc::clone(&queue));
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || state.run(&abandoning.0))
            .map_err(|error| StoreError::Unavailable(format!("starting the writer thread: {error}")))?;
        Ok(Self { queue, thread: Mutex::new(Some(thread)), commits, flushes, abandoned })
    }

    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// Runs `work` in a transaction, with others; answers once it is durable. `rows` is about how much it
    /// writes. `work` runs again when somebody else's work spoilt the common transaction.
    pub(super) async fn write<T, F>(&self, rows: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreWrite<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.queue.push(Box::new(WriterTask { rows, work, result: None, answer })).await?;
        answered.await.map_err(|_| ended())?
    }

    /// As [`write`](StoreWriter::write), for what can wait a little: it joins one of the next commits, and causes one only
    /// when there is none for [`PATIENCE`], or when many such wait.
    pub(super) async fn write_patiently<T, F>(&self, rows: usize, work: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnMut(&mut StoreWrite<'_>) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        self.queue.push_patient(Box::new(WriterTask { rows, work, result: None, answer }))?;
        answered.await.map_err(|_| ended())?
    }

    /// Lets the thread finish what is queued, and waits for its end.
    pub(super) async fn close(&self) -> Result<()> {
        self.queue.close();
        let Some(thread) = self.thread.lock().take() else {
            return Ok(());
        };
        match tokio::task::spawn_blocking(move || thread.join()).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(StoreError::Unavailable("its writer ended in a panic".to_owned())),
        }
    }
}

impl Drop for StoreWriter {
    fn drop(&mut self) {
        self.queue.close();
        if let Some(thread) = self.thread.lock().take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer ended in a panic");
        }
    }
}

/// Whoever waits is told when the thread ends, however it does.
struct AbandonedAtEnd(Arc<WriterQueue>);

impl Drop for AbandonedAtEnd {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

fn ended() -> StoreError {
    StoreError::Unavailable("its writer ended".to_owned())
}

/// Why a group was rolled back.
enum SpoiltTransaction {
    /// By one of its jobs: the others may succeed alone.
    ByJob(StoreError),
    /// By the file: it would be so for each.
    ByFile(StoreError),
}

struct WriterState {
    connection: Connection,
    file: PathBuf,
    ids: IdList,
    pruned: PruneState,
    commits: Arc<AtomicU64>,
    flushes: FlushCount,
    abandoned: Arc<Mutex<Vec<i64>>>,
    presence: Arc<FilePresence>,
    trouble: StoreTrouble,
    _lock: File,
}

impl WriterState {
    fn run(mut self, queue: &WriterQueue) {
        let mut idle_since = Instant::now();
        while let Some(group) = queue.next(idle_since) {
            self.commit(group);
            self.shorten_log();
            idle_since = Instant::now();
        }
        if let Err(error) = database::mark(&self.connection, false) {
            tracing::warn!(%error, "the store was not marked as closed");
        }
    }

    /// After those who wait for the commit have been answered.
    fn shorten_log(&self) {
        if self.flushes.log_is_long()
            && let Err(error) = self.flushes.checkpoint(&self.connection, "PASSIVE")
        {
            // The next commit tries it again, and what is in the log is durable.
            tracing::debug!(%error, "the store's log cannot be copied into the database now");
        }
    }

    fn commit(&mut self, mut group: Vec<Box<dyn WriterJob>>) {
        match self.together(&mut group) {
            Ok(()) => answer(group, Ok(())),
            Err(SpoiltTransaction::ByJob(_)) if group.len() > 1 => {
                for job in group {
                    let mut alone = vec![job];
                    let outcome = self.together(&mut alone);
                    answer(alone, outcome.map_err(SpoiltTransaction::into_error));
                }
            }
            Err(spoilt) => answer(group, Err(spoilt.into_error())),
        }
    }

    /// As one transaction; what kept it from being written is noted for those who ask how the store is.
    fn together(&mut self, group: &mut [Box<dyn WriterJob>]) -> std::result::Result<(), SpoiltTransaction> {
        let outcome = self.transaction(group);
        let error = outcome
            .as_ref()
            .err()
            .map(|(SpoiltTransaction::ByJob(error) | SpoiltTransaction::ByFile(error))| error);
        note(&self.trouble, error);
        outcome
    }

    fn transaction(
        &mut self,
        group: &mut [Box<dyn WriterJob>],
    ) -> std::result::Result<(), SpoiltTransaction> {
        let by_file = |error: rusqlite::Error| SpoiltTransaction::ByFile(explain(&self.file, &error));
        self.connection
            .prepare_cached("BEGIN IMMEDIATE")
            .and_then(|mut begin| begin.execute([]))
            .map_err(by_file)?;
        let reserved = self.ids.reserved();
        let outcome = self.apply(group);
        let outcome = outcome.and_then(|()| {
            // What is written into a file that nobody finds again is not kept.
            self.presence.check().map_err(SpoiltTransaction::ByFile)?;
            let commit = self.connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
            commit.map(drop).map_err(|error| SpoiltTransaction::ByFile(explain(&self.file, &error)))
        });
        match outcome {
            Ok(()) => {
                self.commits.fetch_add(1, Ordering::Relaxed);
                Ok(())
            }
            Err(spoilt) => {
                self.roll_back();
                self.ids.give_back_to(reserved);
                Err(spoilt)
            }
        }
    }

    fn apply(&mut self, group: &mut [Box<dyn WriterJob>]) -> std::result::Result<(), SpoiltTransaction> {
        let mut writing = StoreWrite {
            connection: &self.connection,
            ids: &mut self.ids,
            now_ms: now_ms(),
            touched: Vec::new(),
            identities: 0,
            totals: TotalsChange::default(),
        };
        for job in group {
            job.apply(&mut writing).map_err(|error| SpoiltTransaction::ByJob(explain(&self.file, &error)))?;
        }
        let tidy = deliveries::forget_payloads(&mut writing)
            .and_then(|()| writing.totals.write(&self.connection))
            .and_then(|()| unfinished::remove_abandoned(&self.connection, &self.abandoned))
            .and_then(|()| self.pruned.step(&self.connection, writing.now_ms, writing.identities));
        tidy.map_err(|error| SpoiltTransaction::ByFile(explain(&self.file, &error)))
    }

    fn roll_back(&self) {
        // After some errors SQLite has rolled back by itself.
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "a transaction of the store was not rolled back");
        }
    }
}

impl SpoiltTransaction {
    fn into_error(self) -> StoreError {
        match self {
            Self::ByJob(error) | Self::ByFile(error) => error,
        }
    }
}

/// Identities leave at twice the pace at which they come, so no commit pays for a day at once.
#[derive(Default)]
struct PruneState {
    /// When the oldest identity was accepted, as far as known.
    oldest_ms: Option<i64>,
}

impl PruneState {
    fn step(&mut self, connection: &Connection, now_ms: i64, added: usize) -> rusqlite::Result<()> {
        let remembered = now_ms - identities::REMEMBERED_MS..=now_ms + identities::AHEAD_MS;
        if self.oldest_ms.is_some_and(|oldest| remembered.contains(&oldest)) {
            return Ok(());
        }
        self.oldest_ms = identities::prune(connection, now_ms, 2 * added + 100)?;
        Ok(())
    }
}
