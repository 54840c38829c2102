//! Why a file is not taken as a module, and who may change one that is.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;

use super::generation::LoadFailure;
use super::inspect::UnfitFile;
use super::probe::ProbeRefusal;
use crate::harmless::harmless_path;
use crate::model::ModuleId;

/// Bytes of a file beyond which it is no module: reading it would be the host's memory.
pub(super) const LARGEST: u64 = 512 * 1024 * 1024;

/// Why a file is not taken. Each text continues a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum FileRefusal {
    /// It cannot be read or copied.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is something else, and was not opened.
    #[error("is {0} and not a regular file; it was not opened")]
    NotAFile(&'static str),
    /// It is too large.
    #[error("has {0} bytes; a module has at most {LARGEST}")]
    TooLarge(u64),
    /// Its file system does not answer.
    #[error("does not answer: looking at it takes longer than {} s; is its file system still there?", .0.as_secs())]
    Stuck(Duration),
    /// Somebody writes it, for long.
    #[error("is still being written; it is taken when that has ended")]
    StillWritten,
    /// Others may write it.
    #[error(transparent)]
    Untrusted(#[from] UntrustedFile),
    /// It is not a module.
    #[error(transparent)]
    Unfit(#[from] UnfitFile),
    /// The operator allows others only.
    #[error("has the SHA-256 {0}, which modules.allow_sha256 does not list")]
    NotAllowed(String),
    /// It did not survive being tried.
    #[error(transparent)]
    Probe(#[from] ProbeRefusal),
    /// It could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadFailure),
    /// Another file has its id.
    #[error("has the id {id} that {} has already; remove one of them", harmless_path(other))]
    Duplicate {
        /// The id.
        id: ModuleId,
        /// The file that has it.
        other: PathBuf,
    },
    /// The bus does not give it what it wants.
    #[error("cannot be bound to its events: {0}")]
    Unbound(String),
    /// Too much of earlier generations could not be unmapped.
    #[error(
        "is not loaded, as {0}; what serves goes on. Restart the host to load it, with a higher limit or with the module in modules.isolation"
    )]
    Exhausted(String),
}

impl FileRefusal {
    /// Whether it says nothing about the file, which is tried again soon.
    pub(super) fn is_of_the_moment(&self) -> bool {
        let halted = |refusal: &ProbeRefusal| matches!(refusal, ProbeRefusal::Halted { .. });
        match self {
            FileRefusal::Probe(refusal) | FileRefusal::Load(LoadFailure::Apart(refusal)) => halted(refusal),
            _ => false,
        }
    }
}

/// Who beside its owner may change a file, and so what this host runs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UntrustedFile {
    /// Group or others.
    #[error(
        "can be written by others than its owner (mode {mode:03o}), who could run their code in this host; run: chmod go-w {}",
        harmless_path(path)
    )]
    Mode {
        /// The file or folder.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Somebody else.
    #[error(
        "belongs to the user {owner}, who is neither the one that this host runs as ({own}) nor root; run: chown {own} {}",
        harmless_path(path)
    )]
    Owner {
        /// The file or folder.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// This process's user.
        own: u32,
    },
}

/// Whether what is at `path` can be changed by nobody but its owner, this process's user, and root.
///
/// # Errors
/// [`UntrustedFile`]
pub fn trusted(path: &Path, mode: u32, owner: u32, own: u32) -> Result<(), UntrustedFile> {
    if owner != own && owner != 0 {
        return Err(UntrustedFile::Owner { path: path.to_owned(), owner, own });
    }
    if mode & 0o022 != 0 {
        return Err(UntrustedFile::Mode { path: path.to_owned(), mode: mode & 0o7777 });
    }
    Ok(())
}

pub(super) fn trusted_metadata(path: &Path, metadata: &std::fs::Metadata) -> Result<(), UntrustedFile> {
    trusted(path, metadata.permissions().mode(), metadata.uid(), nix::unistd::geteuid().as_raw())
}

/// Whether the plugins folder can be changed by nobody else.
///
/// # Errors
/// It cannot be looked at, or [`UntrustedFile`]; the text names the folder and the setting.
pub fn trusted_folder(folder: &Path) -> anyhow::Result<()> {
    let naming = || format!("reading the plugins folder {} (plugins_dir, --plugins)", folder.display());
    let metadata = std::fs::metadata(folder).with_context(naming)?;
    trusted_metadata(folder, &metadata)
        .with_context(|| format!("the plugins folder {} (plugins_dir, --plugins)", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(mode: u32, owner: u32, says: Option<&str>) {
        let told =
            trusted(Path::new("/plugins"), mode, owner, 1000).map_err(|untrusted| untrusted.to_string());
        match says {
            None => assert_eq!(told, Ok(())),
            Some(says) => assert!(told.as_ref().is_err_and(|told| told.contains(says)), "{told:?}"),
        }
    }

    #[test]
    fn only_what_its_owner_alone_may_write_is_trusted() {
        check(0o100_644, 1000, None);
        check(0o040_755, 0, None);
        check(0o100_600, 1000, None);
        check(
            0o100_664,
            1000,
            Some("(mode 664), who could run their code in this host; run: chmod go-w /plugins"),
        );
        check(0o040_777, 0, Some("chmod go-w /plugins"));
        check(0o041_777, 0, Some("(mode 1777)"));
        check(0o100_644, 1001, Some("run: chown 1000 /plugins"));
    }
}
