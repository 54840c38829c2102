//! A connection that only reads, on a thread of its own: its readers wait for nobody else's queries, nor for the threads
//! that look names up.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::database;
use super::trouble::{closed, explain};
use crate::store::{Result, StoreError};

type ReaderQuery = Box<dyn FnOnce(&Connection) + Send>;

/// The handle of the thread.
pub(super) struct ReadingThread {
    file: Arc<PathBuf>,
    queries: Mutex<Option<mpsc::UnboundedSender<ReaderQuery>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl ReadingThread {
    pub(super) fn start(file: &Arc<PathBuf>, name: &str) -> Result<Self> {
        let connection = database::reader(file)?;
        // Whoever asks waits for the answer, so what is queued is bounded by those who ask.
        let (queries, mut queue) = mpsc::unbounded_channel::<ReaderQuery>();
        let thread = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                while let Some(query) = queue.blocking_recv() {
                    // A query that panics drops the way to its answer; the others go on.
                    drop(catch_unwind(AssertUnwindSafe(|| query(&connection))));
                }
            })
            .map_err(|error| StoreError::Unavailable(format!("starting a reading thread: {error}")))?;
        Ok(ReadingThread {
            file: Arc::clone(file),
            queries: Mutex::new(Some(queries)),
            thread: Mutex::new(Some(thread)),
        })
    }

    pub(super) async fn read<T, F>(&self, query: F) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (answer, answered) = oneshot::channel();
        let queries = self.queries.lock().clone().ok_or_else(closed)?;
        let ask: ReaderQuery = Box::new(move |connection| drop(answer.send(query(connection))));
        queries.send(ask).map_err(|_| closed())?;
        drop(queries);
        let answer =
            answered.await.map_err(|_| StoreError::Unavailable("a read was broken off".to_owned()))?;
        answer.map_err(|error| explain(&self.file, &error))
    }

    /// Lets the thread finish what is queued, and waits for its end: the connection is closed then.
    pub(super) async fn close(&self) {
        drop(self.queries.lock().take());
        let Some(thread) = self.thread.lock().take() else { return };
        drop(tokio::task::spawn_blocking(move || thread.join()).await);
    }
}

impl Drop for ReadingThread {
    /// As [`close`](ReadingThread::close): who opens the file next finds it closed.
    fn drop(&mut self) {
        drop(self.queries.lock().take());
        if let Some(thread) = self.thread.lock().take() {
            drop(thread.join());
        }
    }
}
