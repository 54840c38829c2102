//! Connections for what people look at: few, apart from the one that deliveries are read with, and each query bounded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rusqlite::Connection;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::database;
use super::trouble::closed;
use crate::background::spawn_background;
use crate::store::{Result, StoreError};

/// How many queries of people run at once.
const READERS: usize = 2;

/// How long one query may take. Listings read in pieces, so that only a query which finds nothing in very much comes near.
const LONGEST: Duration = Duration::from_secs(5);

/// After so many steps of SQLite's the time is looked at.
const STEPS: i32 = 10_000;

/// The connections, each with one user at a time.
pub(super) struct ListingReaders {
    places: Arc<Semaphore>,
    idle: Arc<Mutex<Option<Vec<Connection>>>>,
    file: Arc<PathBuf>,
}

impl ListingReaders {
    pub(super) fn open(file: &Path) -> Result<Self> {
        let connections = (0..READERS).map(|_| database::reader(file)).collect::<Result<Vec<_>>>()?;
        Ok(Self {
            places: Arc::new(Semaphore::new(READERS)),
            idle: Arc::new(Mutex::new(Some(connections))),
            file: Arc::new(file.to_owned()),
        })
    }

    /// Runs a query on a connection of its own, once one is free, on a thread where it may block.
    pub(super) async fn read<T, F>(
        &self,
        query: F,
        explain: impl Fn(&rusqlite::Error) -> StoreError + Send + 'static,
    ) -> Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let place = Arc::clone(&self.places).acquire_owned().await.map_err(|_| closed())?;
        let (idle, file) = (Arc::clone(&self.idle), Arc::clone(&self.file));
        let read = spawn_background(move || {
            let _place = place;
            let free = idle.lock().as_mut().map(Vec::pop).ok_or_else(closed)?;
            // One is missing after a query that panicked.
            let mut connection = free.map_or_else(|| database::reader(&file), Ok)?;
            let begun = Instant::now();
            let bounded = connection.progress_handler(STEPS, Some(move || begun.elapsed() > LONGEST));
            let answer = bounded.and_then(|()| query(&connection));
            if let Some(idle) = idle.lock().as_mut() {
                idle.push(connection);
            }
            answer.map_err(|error| match error.sqlite_error_code() {
                Some(rusqlite::ErrorCode::OperationInterrupted) => StoreError::TooSlow { limit: LONGEST },
                _ => explain(&error),
            })
        });
        read.await.map_err(|error| StoreError::Unavailable(format!("a read was broken off: {error}")))?
    }

    /// Waits for the queries under way and closes the connections.
    pub(super) async fn close(&self) {
        let all = self.places.acquire_many(READERS as u32).await;
        drop(self.idle.lock().take());
        drop(all);
    }
}
