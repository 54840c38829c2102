//! What a backup is: one SQLite file, whole in itself, as of one moment, made while the writer goes on.

use std::fs::File;
use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::OwnedMutexGuard;

use super::trouble::explain;
use super::{database, digest};
use crate::store::{Backup, Result, StoreError};

/// How folders begin in which a copy is made. One that is there at a start was left behind by a crash.
const SCRATCH: &str = ".backup-";

/// Copies the database as it is now. Readers and the writer go on; the write-ahead log grows meanwhile.
///
/// The copy is compact, needs no log beside it, says that no host has it open, and ends with its checksum. Its name is gone when this returns:
/// whoever holds the file holds all of it, and a crash leaves nothing behind. `place` is held as long.
pub(super) fn copy(file: &Path, place: OwnedMutexGuard<()>) -> Result<Backup> {
    let failed = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::StorageFull => StoreError::Full,
        _ => StoreError::Unavailable(format!("copying {}: {error}", file.display())),
    };
    let folder = file.parent().unwrap_or(Path::new("."));
    // Readable by its owner only, and on the disk that has room for a database like this.
    let scratch = tempfile::Builder::new().prefix(SCRATCH).tempdir_in(folder).map_err(failed)?;
    let copy = scratch.path().join(database::FILE);
    copy_into(file, &copy).map_err(|error| explain(file, &error))?;
    let mut copied = File::options().read(true).write(true).open(&copy).map_err(failed)?;
    let bytes = digest::seal(&mut copied).map_err(failed)?;
    scratch.close().map_err(failed)?;
    Ok(Backup { file: copied, bytes, place })
}

fn copy_into(file: &Path, copy: &Path) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let source = Connection::open_with_flags(file, flags)?;
    source.busy_timeout(database::BUSY)?;
    // The copy can give room back, whatever the source can.
    if source.query_row("PRAGMA auto_vacuum", [], |row| row.get::<_, i64>(0))? == 0 {
        source.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    source.execute("VACUUM INTO ?1", [copy.to_string_lossy()])?;
    let copied = Connection::open(copy)?;
    digest::announce(&copied)?;
    database::mark(&copied, false)?;
    copied.close().map_err(|(_, error)| error)
}

/// Removes what a crash in the middle of a backup has left. Only whoever holds the folder's lock may.
pub(super) fn tidy(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(SCRATCH) && entry.file_type()?.is_dir() {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
