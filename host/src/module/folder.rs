//! The plugins folder: which files are in it, whether they can be trusted and are whole, and how one becomes a
//! generation.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use tokio::io::AsyncWriteExt as _;

use super::files::{FileReading, LARGEST, read};
use super::generation::{Generation, IsolationMode, LibrarySource, UnloadResult};
use super::inspect::{InspectedFile, UnfitFile, inspect};
use super::isolated::IsolationLimits;
use super::probe::{ProbeRefusal, probe};
use super::program::ModuleProgram;
use super::services::LendableServices;
use crate::config::Isolation;
use crate::harmless::harmless_path;
use crate::model::ModuleId;

/// How long a module may take to load, `init` included.
pub const LOAD_WITHIN: Duration = Duration::from_secs(10);

/// Ending of a module's file on this system.
pub const ENDING: &str = std::env::consts::DLL_EXTENSION;

/// How files become modules.
#[derive(Clone, Debug)]
pub struct ModuleLoading {
    copies: PathBuf,
    lendable: LendableServices,
    program: ModuleProgram,
    allow_sha256: Vec<String>,
    isolation: Isolation,
    call_timeout: Duration,
    within: Duration,
    opened: Arc<AtomicU64>,
}

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
    Load(#[from] UnloadResult),
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
    #[error("is not loaded, as {0}; restart the host to load it, or run the module with modules.isolation")]
    Exhausted(String),
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

/// A file that was read whole and looked at.
pub struct ReadModule {
    pub(super) bytes: Vec<u8>,
    /// What it says about itself.
    pub inspected: InspectedFile,
}

impl ModuleLoading {
    /// How files become modules; copies go to `copies`, which nobody else writes to.
    #[must_use]
    pub fn new(copies: PathBuf, lendable: LendableServices, modules: &crate::config::Modules) -> Self {
        ModuleLoading {
            copies,
            lendable,
            program: modules.program.clone(),
            allow_sha256: modules.allow_sha256.clone(),
            isolation: modules.isolation.clone(),
            call_timeout: modules.call_timeout(),
            within: LOAD_WITHIN,
            opened: Arc::default(),
        }
    }

    /// The same with another limit for loading.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        ModuleLoading { within, ..self }
    }

    /// Reads a file, tries it in a process of its own, and loads it.
    ///
    /// # Errors
    /// [`FileRefusal`].
    pub async fn load(&self, file: &Path, number: u64) -> Result<(Generation, InspectedFile), FileRefusal> {
        let path = file.to_owned();
        let reading = tokio::task::spawn_blocking(move || read(&path)).await;
        let reading =
            reading.map_err(|error| FileRefusal::Io { doing: "cannot be read", error: error.into() })?;
        let FileReading::Whole(_, bytes) = reading? else { return Err(FileRefusal::StillWritten) };
        let read = self.inspect(bytes)?;
        let copy = self.copy(&read, number).await?;
        let loaded = self.open(&read, number, &copy).await;
        loaded.map(|generation| (generation, read.inspected))
    }

    /// Looks at the bytes of a file; nothing of it runs.
    pub(super) fn inspect(&self, bytes: Vec<u8>) -> Result<ReadModule, FileRefusal> {
        let inspected = inspect(&bytes)?;
        let allowed = |digest: &String| digest.eq_ignore_ascii_case(&inspected.sha256);
        if !self.allow_sha256.is_empty() && !self.allow_sha256.iter().any(allowed) {
            return Err(FileRefusal::NotAllowed(inspected.sha256));
        }
        Ok(ReadModule { bytes, inspected })
    }

    /// Writes a private copy, whose name was never used before: the loader tells libraries apart by their names,
    /// and backtraces and maps show by it which code runs.
    pub(super) async fn copy(&self, read: &ReadModule, number: u64) -> Result<PathBuf, FileRefusal> {
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        let module = &read.inspected.manifest.id;
        let copy = self.copies.join(format!("{module}.g{number}.{nth}.{ENDING}"));
        write_new(&copy, &read.bytes)
            .await
            .map_err(|error| FileRefusal::Io { doing: "cannot be copied", error })?;
        Ok(copy)
    }

    /// Tries the copy in a process that may die of it, then loads it. The copy of a file that was refused
    /// before it was opened here is deleted.
    pub(super) async fn open(
        &self,
        read: &ReadModule,
        number: u64,
        copy: &Path,
    ) -> Result<Generation, FileRefusal> {
        let module = ModuleId::new(&read.inspected.manifest.id);
        let how = self.how(&module);
        if let IsolationMode::Here = how {
            let tried = probe(&self.program, &module, number, copy, &self.lendable, self.within).await;
            if let Err(refusal) = tried {
                _ = tokio::fs::remove_file(copy).await;
                return Err(refusal.into());
            }
        }
        let source = LibrarySource { module, number, copy };
        let generation = Generation::load(source, self.lendable.clone(), how, self.within).await?;
        if let Some(reason) = &read.inspected.stays {
            generation.keep_mapped(reason.clone());
        }
        Ok(generation)
    }

    fn how(&self, module: &ModuleId) -> IsolationMode {
        let isolated = match &self.isolation {
            Isolation::None => false,
            Isolation::Process => true,
            Isolation::Only(ids) => ids.iter().any(|id| id == module.as_str()),
        };
        if !isolated {
            return IsolationMode::Here;
        }
        let limits = IsolationLimits { load_within: self.within, call_timeout: self.call_timeout };
        IsolationMode::Apart(self.program.clone(), limits)
    }
}

async fn write_new(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut created = tokio::fs::File::create_new(file).await?;
    created.write_all(bytes).await?;
    created.flush().await
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
