//! What lies in the plugins folder, and how it is read: by its type before it is opened, and so that nothing there
//! makes the host wait.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use tokio::task::JoinHandle;

use super::refusal::{FileRefusal, LARGEST, trusted_metadata};
use super::tls_keys;
use crate::stall;

/// Ending of a module's file on this system.
pub(super) const ENDING: &str = std::env::consts::DLL_EXTENSION;

/// How long one file may take to be looked at or read, in which the host could run.
pub(super) const LOOK_WITHIN: Duration = Duration::from_secs(10);

/// What no library has at its beginning is not read further.
const HEAD: u64 = 4096;

/// A file of more bytes is not read while it changes, since that would be done again and again.
const LARGE: u64 = 16 * 1024 * 1024;

/// How long a large file must be as it is.
const QUIET: Duration = Duration::from_millis(500);

/// What tells that a file was changed, or is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    device: u64,
    inode: u64,
    size: u64,
    modified_ns: i128,
    changed_ns: i128,
}

impl FileStamp {
    fn of(metadata: &std::fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| i128::from(seconds) * 1_000_000_000 + i128::from(ns);
        FileStamp {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified_ns: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// How long ago the file was changed; nothing for a time to come.
    pub(super) fn age(&self) -> Duration {
        let now = crate::clock::now().unix_timestamp_nanos();
        let ns = (now - self.modified_ns.max(self.changed_ns)).max(0);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

/// What reading a file came to.
pub(super) enum FileReading {
    /// Somebody still writes it.
    Unfinished,
    /// Its bytes at this stamp; only the first ones of what is no library.
    Whole(FileStamp, Vec<u8>),
}

/// Reads a file that nobody is writing, and that nobody else could have written.
pub(super) fn read(file: &Path) -> Result<FileReading, FileRefusal> {
    let io = |doing: &'static str| move |error| FileRefusal::Io { doing, error };
    // Opening a pipe waits for a writer, and opening a device may do anything.
    regular(&std::fs::metadata(file).map_err(io("cannot be looked at"))?)?;
    let mut options = std::fs::OpenOptions::new();
    // Another kind may have been put in its place since.
    let options = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    let opened = options.open(file).map_err(io("cannot be opened"))?;
    let metadata = opened.metadata().map_err(io("cannot be looked at"))?;
    regular(&metadata)?;
    trusted_metadata(file, &metadata)?;
    // Behind a link, its folder decides who may put another file there.
    if let Ok(target) = file.canonicalize()
        && let Some(folder) = target.parent()
        && let Ok(metadata) = std::fs::metadata(folder)
    {
        trusted_metadata(folder, &metadata)?;
    }
    let stamp = FileStamp::of(&metadata);
    if stamp.size > LARGEST {
        return Err(FileRefusal::TooLarge(stamp.size));
    }
    let is_changing = stamp.size > LARGE && stamp.age() < QUIET;
    if is_changing || tls_keys::is_being_written(&opened) == Some(true) {
        return Ok(FileReading::Unfinished);
    }
    let mut bytes = Vec::new();
    let mut from = (&opened).take(HEAD);
    from.read_to_end(&mut bytes).map_err(io("cannot be read"))?;
    if bytes.is_empty() || object::FileKind::parse(bytes.as_slice()).is_ok() {
        bytes.reserve_exact(usize::try_from(stamp.size).unwrap_or_default().saturating_sub(bytes.len()));
        // One that grows while it is read has no end.
        from.set_limit(stamp.size.saturating_sub(bytes.len() as u64) + 1);
        from.read_to_end(&mut bytes).map_err(io("cannot be read"))?;
        if bytes.len() as u64 != stamp.size {
            return Ok(FileReading::Unfinished);
        }
    }
    let after = std::fs::metadata(file).map_err(io("cannot be looked at"))?;
    match FileStamp::of(&after) == stamp {
        true => Ok(FileReading::Whole(stamp, bytes)),
        false => Ok(FileReading::Unfinished),
    }
}

fn regular(metadata: &std::fs::Metadata) -> Result<(), FileRefusal> {
    let kind = metadata.file_type();
    let what = match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_dir() => "a folder",
        _ if kind.is_fifo() => "a named pipe",
        _ if kind.is_socket() => "a socket",
        _ if kind.is_char_device() || kind.is_block_device() => "a device",
        _ => "something else",
    };
    Err(FileRefusal::NotAFile(what))
}

/// Something in the folder that is called like a library.
#[derive(Debug)]
pub(super) struct FoundFile {
    pub(super) path: PathBuf,
    /// Of the name itself; what a link leads to is looked at by [`behind`].
    pub(super) stamp: FileStamp,
    pub(super) is_link: bool,
}

/// What is called like a library directly in the folder, by name; hidden files are somebody's unfinished copy. Nothing
/// is opened, and no link is followed: where it leads may not answer.
///
/// # Errors
/// The folder itself cannot be read.
pub(super) fn module_files(folder: &Path) -> anyhow::Result<Vec<FoundFile>> {
    let naming = || format!("reading the plugins folder {} (plugins_dir, --plugins)", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(naming)? {
        let entry = entry.with_context(naming)?;
        let path = entry.path();
        let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
        let library = path.extension().is_some_and(|ending| ending == ENDING);
        if library
            && !hidden
            && let Ok(metadata) = std::fs::symlink_metadata(&path)
        {
            files.push(FoundFile { path, stamp: FileStamp::of(&metadata), is_link: metadata.is_symlink() });
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(files)
}

/// The stamp of what a link leads to; nothing where it leads nowhere: that is a file that is gone.
pub(super) fn behind(link: &Path) -> Result<Option<FileStamp>, FileRefusal> {
    match std::fs::metadata(link) {
        Ok(metadata) => Ok(Some(FileStamp::of(&metadata))),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(FileRefusal::Io { doing: "cannot be looked at", error }),
    }
}

/// Looks at files on threads that may hang, each on one of its own: one whose file system does not answer is not waited
/// for, and not asked again before it has answered.
pub(super) struct PatientLooks<T>(BTreeMap<PathBuf, JoinHandle<T>>);

impl<T> Default for PatientLooks<T> {
    fn default() -> Self {
        PatientLooks(BTreeMap::new())
    }
}

impl<T: Send + 'static> PatientLooks<T> {
    /// What looking at this file comes to.
    ///
    /// # Errors
    /// [`FileRefusal::Stuck`] after `within`, and at once while an earlier look at it has not ended.
    pub(super) async fn look(
        &mut self,
        file: &Path,
        within: Duration,
        work: impl FnOnce(&Path) -> T + Send + 'static,
    ) -> Result<T, FileRefusal> {
        let mut under_way = match self.0.remove(file) {
            Some(under_way) if !under_way.is_finished() => {
                self.0.insert(file.to_owned(), under_way);
                return Err(FileRefusal::Stuck(within));
            }
            Some(ended) => ended,
            None => {
                let path = file.to_owned();
                tokio::task::spawn_blocking(move || work(&path))
            }
        };
        match stall::timeout(within, &mut under_way).await {
            Ok(Ok(came_to)) => Ok(came_to),
            Ok(Err(error)) => Err(FileRefusal::Io { doing: "cannot be read", error: error.into() }),
            Err(stall::Overdue) => {
                self.0.insert(file.to_owned(), under_way);
                Err(FileRefusal::Stuck(within))
            }
        }
    }
}

#[cfg(test)]
mod tests;
