//! Files for their owner alone that appear whole or not at all, and that a loss of power does not take away again.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

/// A file that is being written and has no name yet.
#[derive(Debug)]
pub struct PrivateFile {
    part: NamedTempFile,
    folder: PathBuf,
    path: PathBuf,
}

impl PrivateFile {
    /// Begins the file that will be there. Nothing is at its path before [`keep`](Self::keep).
    ///
    /// # Errors
    /// Its folder is missing or cannot be written to.
    pub fn begin(path: &Path) -> io::Result<Self> {
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            Some(_) => Path::new("."),
            None => return Err(io::Error::new(io::ErrorKind::InvalidInput, "it has no folder")),
        };
        // Temporary files are readable by their owner only.
        let part = tempfile::Builder::new().prefix(".hookline-").tempfile_in(folder)?;
        Ok(PrivateFile { part, folder: folder.to_owned(), path: path.to_owned() })
    }

    /// Where what is written so far can be read.
    #[must_use]
    pub fn part(&self) -> &Path {
        self.part.path()
    }

    /// Gives it its name. Without this it is gone when it is dropped.
    ///
    /// # Errors
    /// Something has that name already, or the disk does not take it.
    pub fn keep(self) -> io::Result<File> {
        self.part.as_file().sync_all()?;
        let kept = self.part.persist_noclobber(&self.path).map_err(|error| error.error)?;
        // The content is safe, and the name would not be: it is the folder's.
        File::open(&self.folder)?.sync_all()?;
        Ok(kept)
    }
}

impl Write for PrivateFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.flush()
    }
}

/// Writes a file of one line.
///
/// # Errors
/// As [`PrivateFile::begin`] and [`PrivateFile::keep`].
pub fn write_line(path: &Path, line: &str) -> io::Result<()> {
    let mut file = PrivateFile::begin(path)?;
    writeln!(file, "{line}")?;
    file.keep().map(drop)
}

/// The mode of a file that others than its owner may read or write.
#[must_use]
pub fn mode_open_to_others(path: &Path) -> Option<u32> {
    let mode = std::fs::metadata(path).ok()?.permissions().mode() & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_its_owners_whole_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");

        write_line(&path, "first").unwrap();

        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
        assert_eq!(mode_open_to_others(&path), None);
        assert_eq!(write_line(&path, "second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "first\n");
        let names: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|it| it.unwrap().file_name()).collect();
        assert_eq!(names, ["key"]);
    }

    #[test]
    fn what_is_not_kept_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let mut file = PrivateFile::begin(&folder.path().join("backup")).unwrap();
        file.write_all(b"half").unwrap();
        assert_eq!(std::fs::read(file.part()).unwrap(), b"half");

        drop(file);

        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_mode_that_lets_others_in_is_told() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (mode, told) in [(0o600, None), (0o400, None), (0o640, Some(0o640)), (0o602, Some(0o602))] {
            std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(mode_open_to_others(file.path()), told, "{mode:o}");
        }
    }
}
