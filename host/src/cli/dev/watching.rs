//! Which files of a module's folder are watched, and when a change of them is one: after a moment of quiet, and by what
//! the files are then. Notifications are hints only.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout, timeout_at};

/// How long the folder must be quiet: editors write, rename and delete.
const QUIET: Duration = Duration::from_millis(100);

/// How long a folder that is never quiet is waited for.
const NEVER_QUIET: Duration = Duration::from_secs(1);

/// How often the folder is looked at although nothing was said, as over networks nothing is.
const RESCAN: Duration = Duration::from_secs(2);

/// Files of a module.
const MOST_FILES: usize = 10_000;

/// Written by a build, and also by whoever changes what is built with.
const LOCK: &str = "Cargo.lock";

/// What marks a folder as one that can be made again; Cargo writes it into every target folder.
const CACHE: &str = "CACHEDIR.TAG";

/// What tells that a file was changed, or is another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileMark {
    inode: u64,
    size: u64,
    modified_ns: i128,
}

/// The watched files of a folder at one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct FolderMarks {
    files: BTreeMap<PathBuf, FileMark>,
    folders: BTreeSet<PathBuf>,
}

impl FolderMarks {
    /// Looks at a folder.
    ///
    /// # Errors
    /// It cannot be read, or has too many files.
    pub(super) async fn of(folder: &Path) -> anyhow::Result<Self> {
        let folder = folder.to_owned();
        tokio::task::spawn_blocking(move || look(&folder)).await.context("looking at the module's folder")?
    }

    /// The files that are new, gone or others than they were, in their folder.
    pub(super) fn changes_since(&self, before: &FolderMarks) -> Vec<PathBuf> {
        let new = self.files.iter().filter(|(path, mark)| before.files.get(*path) != Some(mark));
        let gone = before.files.keys().filter(|path| !self.files.contains_key(*path));
        let changed: BTreeSet<PathBuf> = new.map(|(path, _)| path).chain(gone).cloned().collect();
        changed.into_iter().collect()
    }

    /// What a build itself may write is as it is after it.
    pub(super) fn settle_lock(&mut self, after: &FolderMarks) {
        match after.files.get(Path::new(LOCK)) {
            Some(mark) => drop(self.files.insert(LOCK.into(), *mark)),
            None => drop(self.files.remove(Path::new(LOCK))),
        }
    }
}

fn look(folder: &Path) -> anyhow::Result<FolderMarks> {
    let mut marks = FolderMarks::default();
    let mut open = vec![folder.to_owned()];
    while let Some(below) = open.pop() {
        let entries = match std::fs::read_dir(&below) {
            Ok(entries) => entries,
            Err(error) if below == folder => {
                return Err(error).with_context(|| format!("reading the folder {}", folder.display()));
            }
            // It went meanwhile.
            Err(_) => continue,
        };
        for entry in entries.flatten() {
            let path = entry.path();
            // What a link leads to may be anywhere, but its changes are changes of the module.
            let Ok(metadata) = std::fs::metadata(&path) else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            if metadata.is_dir() {
                if !is_link && is_source_folder(&name, path.join(CACHE).exists()) {
                    open.push(path);
                }
            } else if metadata.is_file() && is_source_file(&name) {
                let modified =
                    i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
                let mark = FileMark { inode: metadata.ino(), size: metadata.size(), modified_ns: modified };
                marks.files.insert(path.strip_prefix(folder).unwrap_or(&path).to_owned(), mark);
            }
        }
        marks.folders.insert(below);
        if marks.files.len().max(marks.folders.len()) > MOST_FILES {
            bail!(
                "{} has more than {MOST_FILES} files beside target folders; is it a module's folder?",
                folder.display()
            );
        }
    }
    Ok(marks)
}

/// Whether files below a folder are the module's: not what is built, nor what tools keep for themselves.
fn is_source_folder(name: &str, is_cache: bool) -> bool {
    name != "target" && !is_cache && (!name.starts_with('.') || name == ".cargo")
}

/// Whether a file is the module's: not what an editor keeps beside it for a moment.
fn is_source_file(name: &str) -> bool {
    let of_editor = ["~", ".swp", ".swx", ".tmp"].iter().any(|ending| name.ends_with(ending));
    !name.starts_with(['.', '#']) && !of_editor && name != "4913"
}

/// Waits for changes of a folder.
pub(super) struct FolderWatch {
    folder: PathBuf,
    hints: Arc<Notify>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

impl FolderWatch {
    /// Where the system tells of no changes, the folder is looked at from time to time.
    pub(super) fn new(folder: PathBuf) -> Self {
        let hints = Arc::new(Notify::new());
        let told = Arc::clone(&hints);
        let watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Looking at files is told of, too.
            if event.map_or(true, |event| !event.kind.is_access()) {
                told.notify_one();
            }
        });
        FolderWatch { folder, hints, watcher: watcher.ok(), watched: BTreeSet::new() }
    }

    /// Waits until the watched files are others than they were; with those that are, by their path in the folder.
    ///
    /// # Errors
    /// The folder cannot be looked at.
    pub(super) async fn change(&mut self, before: &FolderMarks) -> anyhow::Result<Vec<PathBuf>> {
        self.follow(&before.folders);
        loop {
            // First: it may have changed before anybody listened.
            let now = FolderMarks::of(&self.folder).await?;
            self.follow(&now.folders);
            let changed = now.changes_since(before);
            if !changed.is_empty() {
                return Ok(changed);
            }
            if timeout(RESCAN, self.hints.notified()).await.is_ok() {
                self.quiet().await;
            }
        }
    }

    /// Each folder for itself: below the folder of a build there are thousands.
    fn follow(&mut self, folders: &BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.watched.difference(folders) {
            // It is gone, and so is what watched it.
            _ = watcher.unwatch(gone);
        }
        self.watched.retain(|folder| folders.contains(folder));
        for new in folders {
            if !self.watched.contains(new) && watcher.watch(new, RecursiveMode::NonRecursive).is_ok() {
                self.watched.insert(new.clone());
            }
        }
    }

    async fn quiet(&self) {
        let at_last = Instant::now() + NEVER_QUIET;
        loop {
            let quiet = (Instant::now() + QUIET).min(at_last);
            if timeout_at(quiet, self.hints.notified()).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_watched_and_what_is_built_or_kept_by_tools_is_not() {
        for (name, is_cache, watched) in [
            ("src", false, true),
            ("tests", false, true),
            ("plugin-api", false, true),
            (".cargo", false, true),
            ("target", false, false),
            ("build", true, false),
            (".git", false, false),
            (".idea", false, false),
        ] {
            assert_eq!(is_source_folder(name, is_cache), watched, "{name}");
        }
        for (name, watched) in [
            ("lib.rs", true),
            ("Cargo.toml", true),
            ("Cargo.lock", true),
            ("greeted.json", true),
            ("rust-toolchain", true),
            (".lib.rs.swp", false),
            (".#lib.rs", false),
            ("#lib.rs#", false),
            ("lib.rs~", false),
            ("lib.rs.tmp", false),
            ("4913", false),
        ] {
            assert_eq!(is_source_file(name), watched, "{name}");
        }
    }

    fn write(folder: &Path, files: &[(&str, &str)]) {
        for (path, text) in files {
            std::fs::create_dir_all(folder.join(path).parent().unwrap()).unwrap();
            std::fs::write(folder.join(path), text).unwrap();
        }
    }

    #[test]
    fn new_changed_and_deleted_files_are_changes_and_what_is_built_is_none() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path();
        write(folder, &[("src/lib.rs", "1"), ("src/old.rs", "1"), ("Cargo.lock", "1")]);
        let before = look(folder).unwrap();
        let changes = |before: &FolderMarks| {
            let changed = look(folder).unwrap().changes_since(before);
            changed.iter().map(|path| path.display().to_string()).collect::<Vec<_>>()
        };

        write(
            folder,
            &[("target/debug/x", "1"), ("out/CACHEDIR.TAG", ""), ("out/x", ""), ("src/lib.rs~", "")],
        );
        assert_eq!(changes(&before), Vec::<String>::new());
        write(folder, &[("src/lib.rs", "22"), ("src/deep/new.rs", "1"), ("Cargo.lock", "22")]);
        std::fs::remove_file(folder.join("src/old.rs")).unwrap();
        assert_eq!(changes(&before), ["Cargo.lock", "src/deep/new.rs", "src/lib.rs", "src/old.rs"]);

        let mut settled = before;
        settled.settle_lock(&look(folder).unwrap());
        assert_eq!(changes(&settled), ["src/deep/new.rs", "src/lib.rs", "src/old.rs"]);
    }

    #[test]
    fn a_folder_that_is_gone_is_told_by_its_name() {
        let root = tempfile::tempdir().unwrap();
        let gone = root.path().join("gone");
        let said = format!("{:#}", look(&gone).unwrap_err());
        assert!(said.contains("gone") && said.contains("No such file"), "{said}");
    }

    #[tokio::test]
    async fn a_change_is_noticed_also_in_a_folder_that_is_new() {
        let root = tempfile::tempdir().unwrap();
        write(root.path(), &[("src/lib.rs", "1")]);
        let before = FolderMarks::of(root.path()).await.unwrap();
        let mut watch = FolderWatch::new(root.path().to_owned());
        write(root.path(), &[("src/deep/new.rs", "1")]);
        assert_eq!(watch.change(&before).await.unwrap(), [Path::new("src/deep/new.rs")]);
        let before = FolderMarks::of(root.path()).await.unwrap();
        write(root.path(), &[("src/deep/new.rs", "22")]);
        assert_eq!(watch.change(&before).await.unwrap(), [Path::new("src/deep/new.rs")]);
    }
}
