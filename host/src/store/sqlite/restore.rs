//! What must hold before a file becomes the database of a data folder, and that nothing is lost on the way.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use time::macros::format_description;

use super::digest::{self, BackupSeal};
use super::{database, open};
use crate::store::StoreError;

#[cfg(test)]
mod tests;

/// Why a file was not restored. The data folder is as it was.
#[derive(Debug, thiserror::Error)]
pub enum NotRestored {
    /// It is no database, or a damaged one.
    #[error("{} cannot be restored: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// It is a sound database of something else.
    #[error("{} is a database, but none of Hookline's", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A newer program wrote it.
    #[error("{} has schema version {found}, this program knows {known}: restore it with the newer program", path.display())]
    TooNew {
        /// The file.
        path: PathBuf,
        /// The version found in it.
        found: u32,
        /// The newest version that this program knows.
        known: u32,
    },
    /// Part of it is in another file.
    #[error(
        "{} has a write-ahead log beside it ({}): it is a database in use, or the copy of one, and no backup; \
         make one with `hookline backup`",
        path.display(),
        log.display()
    )]
    InPieces {
        /// The file.
        path: PathBuf,
        /// The log.
        log: PathBuf,
    },
    /// The folder is not free.
    #[error(transparent)]
    Folder(#[from] StoreError),
    /// A file cannot be read or written.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

type Result<T> = std::result::Result<T, NotRestored>;

/// What a database holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BackupContents {
    /// The version of its schema.
    pub schema: u32,
    /// Accounts that are not deleted.
    pub accounts: u64,
    /// Hooks that are not deleted.
    pub hooks: u64,
    /// Hooks that are not deleted and have a secret, which only `secrets.key` can read.
    pub secrets: u64,
    /// Deliveries that wait for their first or next try.
    pub owed: u64,
    /// Deliveries that were given up.
    pub dead: u64,
}

/// What was done.
#[derive(Debug)]
pub struct RestoredBackup {
    /// What the folder holds now.
    pub contents: BackupContents,
    /// Whether a checksum has shown that each byte is as it was written. An older program's backup has none, nor has a
    /// database that was copied.
    pub checked: bool,
    /// Where the database is that was there before.
    pub aside: Option<PathBuf>,
}

/// What a backup holds, after a check of all of it. Nothing is written.
///
/// # Errors
/// It is no whole database of this program or an older one.
pub fn contents(file: &Path) -> Result<BackupContents> {
    let mut opened = doing(format!("reading {}", file.display()), File::open(file))?;
    let sealed = sealed(file, &mut opened)?;
    looked_through(file, sealed.is_some())
}

/// How long the database is that a checksum follows, and speaks well of.
fn sealed(file: &Path, opened: &mut File) -> Result<Option<u64>> {
    match doing(format!("reading {}", file.display()), digest::look(opened))? {
        BackupSeal::Whole { bytes } => Ok(Some(bytes)),
        BackupSeal::Missing => Ok(None),
        BackupSeal::Broken(reason) => Err(NotRestored::Damaged { path: file.to_owned(), reason }),
    }
}

/// No checksum follows the copy any more, and it says so.
fn unsealed(copy: &Path) -> rusqlite::Result<()> {
    let connection = Connection::open(copy)?;
    digest::renounce(&connection)?;
    connection.close().map_err(|(_, error)| error)
}

fn looked_through(file: &Path, sealed: bool) -> Result<BackupContents> {
    let damaged = |reason: String| NotRestored::Damaged { path: file.to_owned(), reason };
    let sqlite = |error: rusqlite::Error| damaged(error.to_string());
    let connection = database::reader(file).map_err(|error| damaged(error.to_string()))?;
    let verdict: String =
        connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
    if verdict != "ok" {
        return Err(damaged(verdict));
    }
    let schema: u32 = connection.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(sqlite)?;
    let known = open::newest();
    if schema > known {
        return Err(NotRestored::TooNew { path: file.to_owned(), found: schema, known });
    }
    if !sealed && schema > 0 && digest::is_announced(&connection).unwrap_or_default() {
        return Err(damaged("its end is missing or was changed, where its checksum was".to_owned()));
    }
    counted(&connection, schema).ok().flatten().ok_or_else(|| NotRestored::Foreign { path: file.to_owned() })
}

/// Nothing, or an error, where the tables are not those of a store.
fn counted(connection: &Connection, schema: u32) -> rusqlite::Result<Option<BackupContents>> {
    if schema == 0 {
        return Ok(None);
    }
    let count = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0).map(i64::cast_unsigned));
    Ok(Some(BackupContents {
        schema,
        accounts: count("SELECT count(*) FROM documents WHERE kind = 'account' AND deleted = 0")?,
        hooks: count("SELECT count(*) FROM documents WHERE kind = 'hook' AND deleted = 0")?,
        secrets: count(
            "SELECT count(*) FROM documents \
             WHERE kind = 'hook' AND deleted = 0 AND json_extract(doc, '$.pvt_secrets') IS NOT NULL",
        )?,
        owed: count("SELECT count(*) FROM deliveries WHERE state = 0")?,
        dead: count("SELECT count(*) FROM deliveries WHERE state = 1")?,
    }))
}

/// Puts a copy of a backup into the place of a folder's database. No host may use the folder meanwhile.
///
/// What is checked is the copy that is put in place. The database that was there gets another name before, with its
/// log; at no moment is there none, and never does one meet the log of the other.
///
/// # Errors
/// Why not; the folder's database is then what it was.
pub fn restore(backup: &Path, folder: &Path) -> Result<RestoredBackup> {
    let log = beside(backup, "-wal");
    if std::fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        return Err(NotRestored::InPieces { path: backup.to_owned(), log });
    }
    let mut source = doing(format!("reading {}", backup.display()), File::open(backup))?;
    doing(format!("making {}", folder.display()), std::fs::create_dir_all(folder))?;
    let lock = open::hold(folder)?;

    let copying = || format!("copying {} into {}", backup.display(), folder.display());
    // Readable by its owner only, and gone with what SQLite puts beside it, whatever happens.
    let scratch = tempfile::Builder::new().prefix(".restore-").tempdir_in(folder);
    let scratch = doing(copying(), scratch)?;
    let copy = scratch.path().join(database::FILE);
    doing(copying(), open::make_private(&copy))?;
    let mut written = doing(copying(), File::options().read(true).write(true).open(&copy))?;
    doing(copying(), std::io::copy(&mut source, &mut written))?;
    let sealed = sealed(backup, &mut written)?;
    if let Some(bytes) = sealed {
        doing(copying(), written.set_len(bytes))?;
    }
    doing(copying(), written.sync_all())?;
    for file in [&lock, &written] {
        doing(copying(), give_to_owner_of(folder, file))?;
    }
    let contents = looked_through(&copy, sealed.is_some()).map_err(|error| error.of(backup))?;
    if sealed.is_some() {
        unsealed(&copy).map_err(|error| {
            let path = backup.to_owned();
            NotRestored::Damaged { path, reason: error.to_string() }
        })?;
    }

    let place = folder.join(database::FILE);
    let aside = doing(format!("keeping {}", place.display()), put_aside(&place))?;
    doing(format!("writing {}", place.display()), std::fs::rename(&copy, &place))?;
    doing(format!("writing {}", folder.display()), open::keep_names(folder))?;
    Ok(RestoredBackup { contents, checked: sealed.is_some(), aside })
}

/// Where an administrator restores for a host that runs as another user, the files are to be that user's.
fn give_to_owner_of(folder: &Path, file: &File) -> std::io::Result<()> {
    use std::os::unix::fs::{MetadataExt as _, fchown};
    let (of_folder, of_file) = (std::fs::metadata(folder)?, file.metadata()?);
    if of_folder.uid() == of_file.uid() {
        return Ok(());
    }
    fchown(file, Some(of_folder.uid()), Some(of_folder.gid()))
}

impl NotRestored {
    /// The copy was looked at, but people know the file.
    fn of(self, file: &Path) -> Self {
        let path = file.to_owned();
        match self {
            Self::Damaged { reason, .. } => Self::Damaged { path, reason },
            Self::Foreign { .. } => Self::Foreign { path },
            Self::TooNew { found, known, .. } => Self::TooNew { path, found, known },
            other => other,
        }
    }
}

/// Gives a database and its log a second name, then takes the log's first one away.
fn put_aside(place: &Path) -> std::io::Result<Option<PathBuf>> {
    let log = beside(place, "-wal");
    let mut aside = None;
    if place.try_exists()? {
        let name = free_name(place)?;
        second_name(place, &name)?;
        if log.try_exists()? {
            second_name(&log, &beside(&name, "-wal"))?;
        }
        aside = Some(name);
    }
    // A log would be taken for one of the new database, also where its own is gone.
    remove_if_there(&log)?;
    remove_if_there(&beside(place, "-shm"))?;
    Ok(aside)
}

fn free_name(place: &Path) -> std::io::Result<PathBuf> {
    let format = format_description!("[year][month][day]T[hour][minute][second]Z");
    let now = crate::clock::now().format(format).map_err(std::io::Error::other)?;
    let first = beside(place, &format!(".before-{now}"));
    let names = std::iter::once(first.clone()).chain((2..100).map(|n| beside(&first, &format!("-{n}"))));
    for name in names {
        if !name.try_exists()? {
            return Ok(name);
        }
    }
    Err(std::io::Error::new(ErrorKind::AlreadyExists, format!("{} exists", first.display())))
}

/// Not every file system has hard links.
fn second_name(file: &Path, name: &Path) -> std::io::Result<()> {
    std::fs::hard_link(file, name).or_else(|_| {
        std::fs::copy(file, name)?;
        File::open(name)?.sync_all()
    })
}

fn remove_if_there(file: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The path with something behind it.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

fn doing<T>(what: String, result: std::io::Result<T>) -> Result<T> {
    result.map_err(|source| NotRestored::Io { what, source })
}
