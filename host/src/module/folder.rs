//! The plugins folder: which files are in it, and what becomes of each.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use time::OffsetDateTime;
use tokio::io::AsyncWriteExt as _;
use tracing::{info, warn};

use super::ModuleId;
use super::generation::{Generation, LoadError, Source};
use super::inspect::{Inspected, Unfit, inspect};
use super::registry::{Module, Refused, Snapshot};
use super::services::Lendable;

/// How long a module may take to load, `init` included.
pub const LOAD_WITHIN: Duration = Duration::from_secs(10);

/// Ending of a module's file on this system.
pub const ENDING: &str = std::env::consts::DLL_EXTENSION;

/// How files become modules.
#[derive(Clone, Debug)]
pub struct Loading {
    copies: PathBuf,
    lendable: Lendable,
    allow_sha256: Vec<String>,
    opened: Arc<AtomicU64>,
}

/// Why a file is not taken. Each text continues a sentence that begins with the file's name.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It cannot be read or copied.
    #[error("{doing}: {error}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// What the system said.
        error: std::io::Error,
    },
    /// It is not a module.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// The operator allows others only.
    #[error("has the SHA-256 {0}, which modules.allow_sha256 does not list")]
    NotAllowed(String),
    /// It could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Another file has its id.
    #[error("has the id {id} that {} has already; remove one of them", other.display())]
    Duplicate {
        /// The id.
        id: ModuleId,
        /// The file that has it.
        other: PathBuf,
    },
}

impl Loading {
    /// How files become modules; copies go to `copies`, which nobody else writes to.
    #[must_use]
    pub fn new(copies: PathBuf, lendable: Lendable, allow_sha256: Vec<String>) -> Self {
        Loading { copies, lendable, allow_sha256, opened: Arc::default() }
    }

    /// Inspects a file, copies it and loads the copy.
    ///
    /// # Errors
    /// [`Refusal`].
    pub async fn load(&self, file: &Path, number: u64) -> Result<(Generation, Inspected), Refusal> {
        let read = self.inspect(file).await?;
        self.open(read, number).await
    }

    /// Reads a file and looks at its bytes; nothing of it runs.
    async fn inspect(&self, file: &Path) -> Result<Read, Refusal> {
        let bytes =
            tokio::fs::read(file).await.map_err(|error| Refusal::Io { doing: "cannot be read", error })?;
        let inspected = inspect(&bytes)?;
        let allowed = |digest: &String| digest.eq_ignore_ascii_case(&inspected.sha256);
        if !self.allow_sha256.is_empty() && !self.allow_sha256.iter().any(allowed) {
            return Err(Refusal::NotAllowed(inspected.sha256));
        }
        Ok(Read { bytes, inspected })
    }

    async fn open(&self, read: Read, number: u64) -> Result<(Generation, Inspected), Refusal> {
        let Read { bytes, inspected } = read;
        let module = ModuleId::new(&inspected.manifest.id);
        // A name that was never used before: what was opened once stays mapped, also after a refusal, and
        // writing to a mapped file would end the process. It tells backtraces and maps which code runs.
        let nth = self.opened.fetch_add(1, Ordering::Relaxed);
        let copy = self.copies.join(format!("{module}.g{number}.{nth}.{ENDING}"));
        write_new(&copy, &bytes).await.map_err(|error| Refusal::Io { doing: "cannot be copied", error })?;
        let source = Source { module, number, copy: &copy };
        let generation = Generation::load(source, self.lendable.clone(), LOAD_WITHIN).await?;
        Ok((generation, inspected))
    }
}

/// A file that was read and may be opened.
struct Read {
    bytes: Vec<u8>,
    inspected: Inspected,
}

async fn write_new(file: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut created = tokio::fs::File::create_new(file).await?;
    created.write_all(bytes).await?;
    created.flush().await
}

/// Loads every module of the folder. A file that cannot be used is refused and disturbs nothing.
///
/// # Errors
/// The folder itself cannot be read.
pub async fn load_all(folder: &Path, loading: &Loading) -> anyhow::Result<Snapshot> {
    let mut modules: Vec<Module> = Vec::new();
    let mut refused = Vec::new();
    for file in module_files(folder).await? {
        match load_one(&file, loading, &modules).await {
            Ok(module) => {
                let version = &module.inspected.manifest.version;
                let sha256 = &module.inspected.sha256;
                info!(module = %module.id, version, generation = 1, sha256, file = %file.display(), "module loaded");
                modules.push(module);
            }
            Err(refusal) => {
                let reason = refusal.to_string();
                warn!(file = %file.display(), reason, "file refused");
                refused.push(Refused { file, reason, at: OffsetDateTime::now_utc() });
            }
        }
    }
    Ok(Snapshot::new(modules, refused))
}

async fn load_one(file: &Path, loading: &Loading, loaded: &[Module]) -> Result<Module, Refusal> {
    let read = loading.inspect(file).await?;
    let id = &read.inspected.manifest.id;
    if let Some(other) = loaded.iter().find(|module| module.id.as_str() == id) {
        return Err(Refusal::Duplicate { id: other.id.clone(), other: other.file.clone() });
    }
    let (generation, inspected) = loading.open(read, 1).await?;
    Module::serve(generation, inspected, file.to_owned())
        .map_err(|error| Refusal::Io { doing: "gets no thread", error })
}

/// The libraries directly in the folder, by name; hidden files are somebody's unfinished copy.
async fn module_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let naming = || format!("reading the plugins folder {} (plugins_dir, --plugins)", folder.display());
    let mut entries = tokio::fs::read_dir(folder).await.with_context(naming)?;
    let mut files = Vec::new();
    while let Some(entry) = entries.next_entry().await.with_context(naming)? {
        let path = entry.path();
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let library = path.extension().is_some_and(|ending| ending == ENDING);
        if library && !hidden {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
