//! The files of a database, and the connections to it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::documents;
use super::trouble::explain;
use crate::store::Result;

/// The name of the database in the data folder.
pub const FILE: &str = "hookline.db";
pub(super) const LOG: &str = "hookline.db-wal";
const INDEX: &str = "hookline.db-shm";
pub(super) const LOCK: &str = "hookline.lock";
/// How long a statement waits for somebody who looks at the file with another tool.
pub(super) const BUSY: Duration = Duration::from_secs(5);
/// Set while a host has the file open, so that the next one knows whether it was closed properly.
const IN_USE: &str = "store.in_use";

/// A checked file, with the lock that keeps other hosts away for as long as it lives.
pub(super) struct OpenedDatabase {
    pub(super) file: PathBuf,
    pub(super) connection: Connection,
    pub(super) lock: File,
}

impl OpenedDatabase {
    /// What is open, and what the next start looks for.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        [FILE, LOG, INDEX, LOCK].map(|name| self.file.with_file_name(name)).into()
    }
}

/// A second connection that only reads, and so never waits for the writer.
pub(super) fn reader(file: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || {
        let connection = Connection::open_with_flags(file, flags)?;
        connection.busy_timeout(BUSY)?;
        connection.pragma_update(None, "query_only", true)?;
        connection.set_prepared_statement_cache_capacity(64);
        Ok(connection)
    };
    open().map_err(|error| explain(file, &error))
}

/// Writes down whether a host has the file open.
pub(super) fn mark(connection: &Connection, open: bool) -> rusqlite::Result<()> {
    documents::set_setting(connection, IN_USE, if open { "yes" } else { "no" })
}

/// Whether a host has had the file open that did not close it.
pub(super) fn in_use(connection: &Connection) -> rusqlite::Result<bool> {
    Ok(documents::setting(connection, IN_USE)?.as_deref() == Some("yes"))
}
