//! Whether the files that are open are still those that the next start finds: what is written into others is lost.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::store::{Result, StoreError};

/// Open files by their paths, each with what tells it from another one there.
#[derive(Debug)]
pub(super) struct FilePresence(Vec<(PathBuf, FileId)>);

/// Which file it is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> std::io::Result<Self> {
        let metadata = std::fs::metadata(path)?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

impl FilePresence {
    /// Of files that have just been opened. One that is not there is not looked after.
    pub(super) fn of(paths: impl IntoIterator<Item = PathBuf>) -> Self {
        let known = |path: PathBuf| FileId::of(&path).ok().map(|id| (path, id));
        FilePresence(paths.into_iter().filter_map(known).collect())
    }

    /// Looks at each path, which takes some microseconds.
    ///
    /// # Errors
    /// [`StoreError::Gone`] names the first that is gone or another one.
    pub(super) fn check(&self) -> Result<()> {
        self.0.iter().try_for_each(|(path, opened)| match FileId::of(path) {
            Ok(found) if found == *opened => Ok(()),
            found => Err(gone(path, how(found.ok(), *opened))),
        })
    }
}

fn gone(path: &Path, how: &str) -> StoreError {
    StoreError::Gone(format!(
        "{} {how} under the running host, so that what is written now would be lost: nothing is taken any more; put the \
         same file back, or stop the host, bring the data folder back (hookline restore) and start it again",
        path.display()
    ))
}

fn how(found: Option<FileId>, opened: FileId) -> &'static str {
    match found {
        None => "was deleted or moved away",
        Some(found) if found.device == opened.device => "was replaced by another file",
        Some(_) => "lies on another file system now",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_file_is_told_and_the_same_file_back_in_its_place_is_well() {
        let folder = tempfile::tempdir().unwrap();
        let (path, elsewhere) = (folder.path().join("file"), folder.path().join("elsewhere"));
        std::fs::write(&path, "x").unwrap();
        let presence = FilePresence::of([path.clone(), folder.path().join("never there")]);
        let told = || presence.check().map_err(|error| error.to_string());
        assert_eq!(told(), Ok(()));

        std::fs::rename(&path, &elsewhere).unwrap();
        assert!(told().is_err_and(|told| told.contains("file was deleted or moved away")));
        std::fs::copy(&elsewhere, &path).unwrap();
        assert!(told().is_err_and(|told| told.contains("file was replaced by another file")));
        std::fs::rename(&elsewhere, &path).unwrap();
        assert_eq!(told(), Ok(()));
    }

    #[test]
    fn another_file_system_is_told() {
        let id = |device, inode| FileId { device, inode };
        assert_eq!(how(Some(id(2, 7)), id(1, 7)), "lies on another file system now");
    }
}
