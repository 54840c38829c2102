//! The embedded store: one SQLite file in the data folder, one writer thread, one reading connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rusqlite::{Connection, ErrorCode};
use tokio::sync::Mutex as AsyncMutex;

use super::{
    Accepted, AcceptedEvent, AccountStore, AttemptQuery, AttemptScan, AttemptStore, AuditEntry, AuditKeep,
    AuditQuery, AuditStore, Backup, DeliveryCounts, DeliveryQuery, DeliveryRow, DeliveryStore, DisablerStore,
    FailureChange, HookFailure, HookIdQuery, HookStore, ListedDocuments, ListedKind, ListingStore,
    MetadataStore, NewAttempt, NewReplay, Replay, ReplayStore, Result, SettingStore, StoreBackend,
    StoreError, StoreRoom, StoredAuditEntry, StoredDelivery, StoredFailing, StoredOutcome, StoredToken,
    TokenStore, WaitingRow,
};
use crate::model::Document;
use documents::DocumentKind;
use reader::ReadingThread;
use readers::ListingReaders;
use tending::StoreCaretaker;
use writer::{StoreWrite, StoreWriter};

mod attempts;
mod access;
mod backup;
mod deliveries;
mod documents;
mod digest;
mod disabler;
mod open;
mod pieces;
mod presence;
mod reader;
mod readers;
mod replays;
pub mod restore;
mod tending;
#[cfg(test)]
mod tests;
mod writer;

pub use open::FILE as DATABASE;

/// How much a commit promises.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// A commit survives a power cut.
    #[default]
    Full,
    /// A commit survives the end of the process; a power cut may cost the last ones, never the file.
    Normal,
}

/// How the store is opened.
#[derive(Debug, Clone, Copy, Default)]
pub struct Options {
    /// How much a commit promises.
    pub synchronous: Synchronous,
}

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
    /// One copy at a time: each needs room on the disk.
    copying: Arc<AsyncMutex<()>>,
    caretaker: StoreCaretaker,
}

/// What the last write failed with.
type StoreTrouble = Arc<Mutex<Option<StoreError>>>;

impl SqliteStore {
    /// Opens `hookline.db` in `dir` and makes both when they are missing.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when another host holds the folder, [`StoreError::Corrupt`] when the file is
    /// damaged, [`StoreError::TooNew`] when a newer program wrote it.
    pub fn open(dir: &Path, options: Options) -> Result<Self> {
        let opened = open::open(dir, options)?;
        let file = Arc::new(opened.file.clone());
        let reader = open::reader(&opened.file)?;
        let readers = ListingReaders::open(&opened.file)?;
        let caretaker = StoreCaretaker::of(&opened)?;
        let trouble = StoreTrouble::default();
        let writer = StoreWriter::start(opened, Arc::clone(&caretaker.presence), Arc::clone(&trouble))?;
        let reader = Arc::new(Mutex::new(Some(reader)));
        let deliveries = ReadingThread::start(&file, "delivery-reader")?;
        Ok(Self { writer, reader, deliveries, readers, file, trouble, copying: Arc::default(), caretaker })
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
        if let Err(damage @ StoreError::Corrupt(_)) = &answer {
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
        if let Err(damage @ StoreError::Corrupt(_)) = &answer {
            note(&self.trouble, Some(damage));
        }
        answer
    }

    async fn save(&self, kind: DocumentKind, doc: Document) -> Result<Document> {
        let mut doc = doc;
        documents::give_id(&mut doc);
        self.writer.write(1, move |writing| documents::save(writing.connection, kind, &doc)).await?
    }
}

/// What an error of SQLite means to the host.
fn explain(file: &Path, error: &rusqlite::Error) -> StoreError {
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
fn damaged(file: &Path, found: &str) -> StoreError {
    StoreError::Corrupt(format!(
        "{} is damaged ({found}): restore it from a backup, or move it (and its -wal and -shm files) away to start empty",
        file.display()
    ))
}

/// Notes how a write, or a read of damage, ended; says so where that is news.
fn note(trouble: &StoreTrouble, error: Option<&StoreError>) {
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

fn closed() -> StoreError {
    StoreError::Unavailable("it is closed".to_owned())
}

#[async_trait]
impl AccountStore for SqliteStore {
    async fn accounts(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Account)).await
    }

    async fn account(&self, id: &str) -> Result<Option<Document>> {
        let id = id.to_owned();
        self.look(move |connection| documents::one(connection, DocumentKind::Account, &id)).await
    }

    async fn save_account(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Account, doc).await
    }
}

#[async_trait]
impl HookStore for SqliteStore {
    async fn hooks(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Hook)).await
    }

    async fn hooks_of(&self, account: &str) -> Result<Vec<Document>> {
        let account = account.to_owned();
        self.look(move |connection| documents::of_account(connection, DocumentKind::Hook, &account)).await
    }

    async fn hook(&self, id: &str) -> Result<Option<Document>> {
        let id = id.to_owned();
        self.look(move |connection| documents::one(connection, DocumentKind::Hook, &id)).await
    }

    async fn save_hook(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Hook, doc).await
    }
}

#[async_trait]
impl ListingStore for SqliteStore {
    async fn hook_ids(&self, wanted: HookIdQuery) -> Result<Vec<String>> {
        self.look(move |connection| documents::hook_ids(connection, &wanted)).await
    }

    async fn listed(&self, kind: ListedKind, ids: Vec<String>, bytes: usize) -> Result<ListedDocuments> {
        self.look(move |connection| documents::listed(connection, kind, &ids, bytes)).await
    }
}

#[async_trait]
impl MetadataStore for SqliteStore {
    async fn metadata(&self) -> Result<Vec<Document>> {
        self.read(|connection| documents::all(connection, DocumentKind::Metadata)).await
    }

    async fn save_metadata(&self, doc: Document) -> Result<Document> {
        self.save(DocumentKind::Metadata, doc).await
    }

    async fn delete_metadata(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.writer
            .write(1, move |writing| documents::delete(writing.connection, DocumentKind::Metadata, &id))
            .await
    }
}

#[async_trait]
impl SettingStore for SqliteStore {
    async fn setting(&self, name: &str) -> Result<Option<String>> {
        let name = name.to_owned();
        self.read(move |connection| documents::setting(connection, &name)).await
    }

    async fn set_setting(&self, name: &str, value: &str) -> Result<()> {
        let (name, value) = (name.to_owned(), value.to_owned());
        self.writer.write(1, move |writing| documents::set_setting(writing.connection, &name, &value)).await
    }

    async fn configs(&self) -> Result<Vec<(String, Document)>> {
        self.read(disabler::configs).await
    }

    async fn save_config(&self, account: &str, doc: Document) -> Result<()> {
        let account = account.to_owned();
        self.writer.write(1, move |writing| disabler::save_config(writing.connection, &account, &doc)).await
    }
}

#[async_trait]
impl DeliveryStore for SqliteStore {
    async fn accept_many(&self, events: Vec<AcceptedEvent>) -> Result<Vec<Accepted>> {
        let rows = events.iter().map(|event| event.deliveries.len()).sum();
        if rows == 0 {
            return Ok(vec![Accepted::New(Vec::new()); events.len()]);
        }
        if pieces::are_needed(&events) {
            return pieces::accept(&self.writer, events).await;
        }
        let accept = move |writing: &mut StoreWrite<'_>| {
            events.iter().map(|event| deliveries::accept(writing, event)).collect()
        };
        self.writer.write(rows, accept).await
    }

    async fn finish(&self, outcomes: Vec<StoredOutcome>) -> Result<()> {
        if outcomes.is_empty() {
            return Ok(());
        }
        self.writer.write_patiently(move |writing| deliveries::finish(writing, &outcomes)).await
    }

    async fn pending(&self, after_id: i64, limit: usize) -> Result<Vec<StoredDelivery>> {
        self.read_deliveries(move |connection| deliveries::pending(connection, after_id, limit)).await
    }

    async fn load(&self, ids: &[i64]) -> Result<Vec<StoredDelivery>> {
        let ids = ids.to_vec();
        self.read_deliveries(move |connection| deliveries::load(connection, &ids)).await
    }

    async fn waiting_after(&self, after_id: i64, limit: usize) -> Result<Vec<WaitingRow>> {
        self.read_deliveries(move |connection| deliveries::waiting_after(connection, after_id, limit)).await
    }

    async fn waiting(&self, ids: &[i64]) -> Result<Vec<WaitingRow>> {
        let ids = ids.to_vec();
        self.read_deliveries(move |connection| deliveries::waiting(connection, &ids)).await
    }

    async fn counts(&self) -> Result<DeliveryCounts> {
        self.read(deliveries::counts).await
    }
}

#[async_trait]
impl DisablerStore for SqliteStore {
    async fn failures(&self) -> Result<Vec<HookFailure>> {
        self.read(disabler::failures).await
    }

    async fn failing(&self) -> Result<Vec<StoredFailing>> {
        self.read(disabler::failing).await
    }

    async fn note_failures(&self, changes: Vec<FailureChange>) -> Result<()> {
        if changes.is_empty() {
            return Ok(());
        }
        self.writer.write_patiently(move |writing| disabler::note(writing.connection, &changes)).await
    }
}

#[async_trait]
impl AttemptStore for SqliteStore {
    async fn add_attempts(&self, attempts: Vec<NewAttempt>, max_rows: u64) -> Result<()> {
        if attempts.is_empty() {
            return Ok(());
        }
        self.writer.write_patiently(move |writing| attempts::add(writing, &attempts, max_rows)).await
    }

    async fn attempts(&self, wanted: AttemptQuery) -> Result<AttemptScan> {
        self.look(move |connection| attempts::list(connection, &wanted)).await
    }

    async fn clean_attempts(&self, before_ms: i64, limit: usize) -> Result<usize> {
        self.writer.write(limit, move |writing| attempts::clean(writing.connection, before_ms, limit)).await
    }
}

#[async_trait]
impl TokenStore for SqliteStore {
    async fn tokens(&self) -> Result<Vec<StoredToken>> {
        self.read(access::tokens).await
    }

    async fn add_token(&self, token: StoredToken) -> Result<()> {
        self.writer.write(1, move |writing| access::add_token(writing.connection, &token)).await
    }

    async fn remove_tokens(&self, ids: Vec<String>) -> Result<usize> {
        self.writer.write(1, move |writing| access::remove_tokens(writing.connection, &ids)).await
    }

    async fn note_uses(&self, uses: Vec<(String, i64)>) -> Result<()> {
        self.writer.write_patiently(move |writing| access::note_uses(writing.connection, &uses)).await
    }
}

#[async_trait]
impl ReplayStore for SqliteStore {
    async fn deliveries(&self, wanted: DeliveryQuery) -> Result<Vec<DeliveryRow>> {
        self.look(move |connection| replays::list(connection, &wanted)).await
    }

    async fn delivery(&self, id: i64) -> Result<Option<(DeliveryRow, Bytes)>> {
        self.look(move |connection| replays::one(connection, id)).await
    }

    async fn revive(&self, id: i64) -> Result<bool> {
        self.writer.write(1, move |writing| replays::revive(writing, id)).await
    }

    async fn untried(&self, ids: &[i64]) -> Result<usize> {
        let ids = ids.to_vec();
        self.read(move |connection| replays::untried(connection, &ids)).await
    }

    async fn clean_dead(&self, before_ms: i64, limit: usize) -> Result<usize> {
        self.writer.write(limit, move |writing| replays::clean(writing, before_ms, limit)).await
    }

    async fn begin_replay(&self, wanted: NewReplay) -> Result<Replay> {
        self.writer.write(1, move |writing| replays::begin(writing, &wanted)).await
    }

    async fn replays(&self, below: i64, limit: usize) -> Result<Vec<Replay>> {
        self.look(move |connection| replays::jobs(connection, below, limit)).await
    }

    async fn replay(&self, id: i64) -> Result<Option<Replay>> {
        self.look(move |connection| replays::job(connection, id)).await
    }

    async fn running_replays(&self) -> Result<Vec<i64>> {
        self.read(replays::running).await
    }

    async fn step_replay(&self, id: i64, limit: usize) -> Result<Vec<i64>> {
        self.writer.write(limit, move |writing| replays::step(writing, id, limit)).await
    }

    async fn cancel_replay(&self, id: i64) -> Result<Option<Replay>> {
        self.writer.write(1, move |writing| replays::cancel(writing, id)).await
    }
}

#[async_trait]
impl AuditStore for SqliteStore {
    async fn add_audit(&self, entry: AuditEntry, keep: AuditKeep) -> Result<()> {
        self.writer.write(1, move |writing| access::add_audit(writing, &entry, keep)).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<Vec<StoredAuditEntry>> {
        self.look(move |connection| access::audit(connection, &query)).await
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
