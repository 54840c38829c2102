//! The embedded store: one SQLite file in the data folder, one writer thread, one reading connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Mutex as AsyncMutex;

use self::reader::ReadingThread;
use self::readers::ListingReaders;
use self::tending::StoreCaretaker;
use self::totals::OldestPending;
use self::trouble::{StoreTrouble, closed, explain, note};
use self::writer::StoreWriter;
use super::{Backup, Result, SettingStore as _, StoreBackend, StoreError, StoreRoom};

mod attempts;
#[cfg(test)]
mod backlog_tests;
mod access;
mod backup;
mod database;
mod deliveries;
mod document_store;
mod documents;
mod digest;
mod disabler;
mod failed_events;
mod flushes;
mod identities;
mod ledger_store;
mod module_replays;
mod open;
mod options;
mod pieces;
mod presence;
mod reader;
mod readers;
mod replays;
pub mod restore;
mod tending;
mod totals;
#[cfg(test)]
mod tests;
mod trouble;
mod unfinished;
mod writer;
mod writing;

pub use database::FILE as DATABASE;
pub use options::{Options, Synchronous};

/// The embedded store. Dropping it finishes what was handed in, as [`Store::close`] does.
pub struct SqliteStore {
    file: Arc<PathBuf>,
    writer: StoreWriter,
    /// For what the host reads for itself.
    reader: Arc<Mutex<Option<Connection>>>,
    /// For deliveries that are due, which wait for no other query.
    deliveries: ReadingThread,
    /// For people.
    readers: ListingReaders,
    trouble: StoreTrouble,
    oldest: Arc<OldestPending>,
    /// One copy at a time: each needs room on the disk.
    copying: Arc<AsyncMutex<()>>,
    caretaker: StoreCaretaker,
}

impl SqliteStore {
    /// Opens `hookline.db` in `dir` and makes both when they are missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another host holds the folder, [`StoreError::Corrupt`] when the file is
    /// damaged, [`StoreError::TooNew`] when a newer program wrote it.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let opened = open::open(dir, options)?;
        let file = Arc::new(opened.file.clone());
        let reader = database::reader(&opened.file)?;
        let readers = ListingReaders::open(&opened.file)?;
        let caretaker = StoreCaretaker::of(&opened)?;
        let trouble = StoreTrouble::default();
        let presence = Arc::clone(&caretaker.presence);
        let writer = StoreWriter::start(opened, presence, Arc::clone(&trouble), options.synchronous)?;
        let reader = Arc::new(Mutex::new(Some(reader)));
        let deliveries = ReadingThread::start(&file, "delivery-reader")?;
        let (oldest, copying) = Default::default();
        Ok(Self { writer, reader, deliveries, readers, file, trouble, oldest, copying, caretaker })
    }

    /// Runs one query off the async threads, on the reading connection.
    async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (reader, file) = (Arc::clone(&self.reader), Arc::clone(&self.file));
        let answer = tokio::task::spawn_blocking(move || match reader.lock().as_ref() {
            Some(connection) => query(connection).map_err(|error| explain(&file, &error)),
            None => Err(closed()),
        });
        let answer = answer.await;
        let answer =
            answer.map_err(|error| StoreError::Unavailable(format!("a read was broken off: {error}")))?;
        self.notice_damage(answer)
    }

    /// As [`read`](SqliteStore::read), for what deliveries wait for.
    async fn read_deliveries<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        self.notice_damage(self.deliveries.read(query).await)
    }

    fn notice_damage<T>(&self, answer: Result<T>) -> Result<T> {
        if let Err(damage @ StoreError::Corrupt { .. }) = &answer {
            note(&self.trouble, Some(damage));
        }
        answer
    }

    /// Runs a query of people, which never keeps deliveries waiting.
    async fn look<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let file = Arc::clone(&self.file);
        let answer = self.readers.read(query, move |error| explain(&file, error)).await;
        if let Err(damage @ StoreError::Corrupt { .. }) = &answer {
            note(&self.trouble, Some(damage));
        }
        answer
    }
}

#[async_trait]
impl StoreBackend for SqliteStore {
    async fn try_write(&self) -> Result<()> {
        const NAME: &str = "store.tried";
        const BYTES: usize = 64 * 1024;
        self.set_setting(NAME, &"x".repeat(BYTES)).await?;
        self.set_setting(NAME, "").await
    }

    fn commits(&self) -> u64 {
        self.writer.commits()
    }

    fn flushes(&self) -> u64 {
        self.writer.flushes.total()
    }

    fn trouble(&self) -> Option<StoreError> {
        self.trouble.lock().clone()
    }

    async fn tend(&self) -> bool {
        self.caretaker.tend(&self.writer, &self.trouble).await
    }

    fn room(&self) -> Option<StoreRoom> {
        self.caretaker.room()
    }

    async fn backup(&self) -> Result<Backup> {
        self.caretaker.presence.check()?;
        let busy = |_| StoreError::Unavailable("another backup is being made".to_owned());
        let place = Arc::clone(&self.copying).try_lock_owned().map_err(busy)?;
        let file = Arc::clone(&self.file);
        let copied = tokio::task::spawn_blocking(move || backup::copy(&file, place));
        copied.await.map_err(|error| StoreError::Unavailable(format!("a backup was broken off: {error}")))?
    }

    async fn close(&self) -> Result<()> {
        // The writer closes last, so that SQLite folds the write-ahead log into the file.
        drop(self.reader.lock().take());
        self.deliveries.close().await;
        self.readers.close().await;
        self.caretaker.close();
        self.writer.close().await
    }
}
