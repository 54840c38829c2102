//! What must hold before the store is used: the folder is ours, the file is whole, its schema is today's.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _};

use super::database::{BUSY, FILE, LOCK, LOG, OpenedDatabase, in_use, mark};
use super::trouble::{damaged, explain};
use super::{Options, Synchronous, backup, digest, tending, unfinished};
use crate::store::{Result, StoreError};

/// Each file once, in the order of their numbers. Which ones were applied stands in the table `migrations`, so that a
/// number may come later than a higher one; the highest of them is the file's `user_version`.
const MIGRATIONS: &[(u32, &str)] = &[
    (1, include_str!("../migrations/0001_start.sql")),
    (2, include_str!("../migrations/0002_attempts.sql")),
    (3, include_str!("../migrations/0003_replays.sql")),
    (4, include_str!("../migrations/0004_disabler.sql")),
    (5, include_str!("../migrations/0005_tokens.sql")),
    (6, include_str!("../migrations/0006_origins.sql")),
    (7, include_str!("../migrations/0007_waits.sql")),
    (8, include_str!("../migrations/0008_failed_events.sql")),
    (10, include_str!("../migrations/0010_backlog.sql")),
];
/// The numbers that there were before the table `migrations`: then all up to the file's `user_version` were applied.
const FIRST_NUMBERS: [u32; 2] = [1, 5];
/// How often a lock that somebody else has is tried for, and the pause between.
const LOCK_TRIES: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

pub(super) fn open(dir: &Path, options: Options) -> Result<OpenedDatabase> {
    let failed = |what: &str, path: &Path, error: std::io::Error| {
        StoreError::Unavailable(format!("{what} {}: {error}", path.display()))
    };
    std::fs::create_dir_all(dir).map_err(|error| failed("making", dir, error))?;
    let (lock, holder) = lock(&dir.join(LOCK))?;
    backup::tidy(dir).map_err(|error| failed("tidying", dir, error))?;
    let file = dir.join(FILE);
    refuse_emptied(&file, &holder)?;
    make_private(&file).map_err(|error| failed("making", &file, error))?;
    keep_names(dir).map_err(|error| failed("writing", dir, error))?;

    let sqlite = |error: rusqlite::Error| explain(&file, &error);
    let mut connection = Connection::open(&file).map_err(sqlite)?;
    set_up(&connection, options).map_err(sqlite)?;
    migrate(&mut connection, &file)?;
    if in_use(&connection).map_err(sqlite)? {
        tracing::info!(file = %file.display(), "the last stop was unclean, checking the store");
        check(&connection, &file)?;
    }
    unfinished::remove_unfinished(&mut connection).map_err(sqlite)?;
    tending::let_shrink(&connection, &file).map_err(sqlite)?;
    digest::renounce(&connection).map_err(sqlite)?;
    mark(&connection, true).map_err(sqlite)?;
    write_holder(&lock).map_err(|error| failed("writing", &dir.join(LOCK), error))?;
    Ok(OpenedDatabase { file, connection, lock })
}

/// Keeps hosts out of a folder for as long as the answer lives.
pub(super) fn hold(dir: &Path) -> Result<File> {
    lock(&dir.join(LOCK)).map(|(lock, _)| lock)
}

fn lock(path: &Path) -> Result<(File, String)> {
    let failed =
        |error: std::io::Error| StoreError::Unavailable(format!("locking {}: {error}", path.display()));
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(failed)?;
    let taken = take(&file);
    let mut holder = String::new();
    file.read_to_string(&mut holder).map_err(failed)?;
    match taken {
        Ok(()) => Ok((file, holder)),
        Err(TryLockError::WouldBlock) => {
            let holder = match holder.trim() {
                "" => "another host".to_owned(),
                pid => format!("process {pid}"),
            };
            Err(StoreError::InUse(format!(
                "{} is locked: {holder} uses this data folder; stop it or choose another data_dir",
                path.display()
            )))
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

/// Tries for a moment: a host that has just ended may have left the lock to a process that it was about to start.
fn take(file: &File) -> std::result::Result<(), TryLockError> {
    for _ in 0..LOCK_TRIES {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => std::thread::park_timeout(LOCK_PAUSE),
            taken => return taken,
        }
    }
    file.try_lock()
}

fn write_holder(mut lock: &File) -> std::io::Result<()> {
    lock.set_len(0)?;
    lock.rewind()?;
    writeln!(lock, "{}", std::process::id())
}

/// SQLite takes a file of no bytes for a new database. Where a host has worked before, it is a lost one.
fn refuse_emptied(file: &Path, last_holder: &str) -> Result<()> {
    let bytes = |path: &Path| std::fs::metadata(path).ok().map(|found| found.len());
    match bytes(file) {
        Some(0) if !last_holder.is_empty() => {
            Err(damaged(file, "it is empty although this folder has been in use"))
        }
        // SQLite would throw the log away, with what was committed last.
        None if bytes(&file.with_file_name(LOG)).is_some_and(|bytes| bytes > 0) => {
            Err(damaged(file, "it is missing although its log, hookline.db-wal, is there"))
        }
        _ => Ok(()),
    }
}

/// Payloads and secrets of hooks are nobody else's business.
pub(super) fn make_private(file: &Path) -> std::io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(file).map(drop)
}

/// A file that is new can be lost with its name, however well its content is kept: the names are flushed, too.
pub(super) fn keep_names(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()?;
    match dir.canonicalize()?.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn set_up(connection: &Connection, options: Options) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(64);
    // Of a database that is made now; others see to it in `tending`.
    connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Somewhat more than it has where no reader keeps old pages alive.
    connection.pragma_update(None, "journal_size_limit", 48 << 20)?;
    connection.pragma_update(
        None,
        "synchronous",
        match options.synchronous {
            Synchronous::Full => "FULL",
            Synchronous::Normal => "NORMAL",
        },
    )?;
    // Fewer, larger checkpoints: pages that change often are written to the file once.
    connection.pragma_update(None, "wal_autocheckpoint", 10_000)?;
    // Deliveries that arrive soon come back to the same few pages; what is older is in the system's memory at any rate.
    connection.pragma_update(None, "cache_size", -8_192)?;
    connection.pragma_update(None, "foreign_keys", true)
}

/// The schema that this program works with.
pub(super) fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |(version, _)| *version)
}

fn migrate(connection: &mut Connection, file: &Path) -> Result<()> {
    let sqlite = |error: rusqlite::Error| explain(file, &error);
    let found: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let known = newest();
    if found > known {
        return Err(StoreError::TooNew(format!(
            "{} has schema version {found}, this program knows {known}: use the newer program or another data_dir",
            file.display()
        )));
    }
    apply(connection, MIGRATIONS, found).map_err(sqlite)
}

/// Applies what was not applied yet, each in a transaction of its own.
pub(super) fn apply(
    connection: &mut Connection,
    migrations: &[(u32, &str)],
    found: u32,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    transaction.execute_batch("CREATE TABLE IF NOT EXISTS migrations (number INTEGER PRIMARY KEY)")?;
    let known: u32 = transaction.query_row("SELECT count(*) FROM migrations", [], |row| row.get(0))?;
    if known == 0 {
        for number in FIRST_NUMBERS.iter().filter(|number| **number <= found) {
            transaction.execute("INSERT INTO migrations VALUES (?1)", [number])?;
        }
    }
    transaction.commit()?;
    for &(number, sql) in migrations {
        let transaction = connection.transaction()?;
        if transaction.execute("INSERT OR IGNORE INTO migrations VALUES (?1)", [number])? == 0 {
            continue;
        }
        transaction.execute_batch(sql)?;
        let version: u32 = transaction.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        transaction.pragma_update(None, "user_version", version.max(number))?;
        transaction.commit()?;
    }
    Ok(())
}

fn check(connection: &Connection, file: &Path) -> Result<()> {
    let verdict: Option<String> = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .optional()
        .map_err(|error| explain(file, &error))?;
    match verdict.as_deref() {
        Some("ok") => Ok(()),
        other => Err(damaged(file, other.unwrap_or("the check gave no answer"))),
    }
}
