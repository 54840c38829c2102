//! How a file becomes a generation: inspected, copied, tried in a process of its own, and loaded.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::answer_watch::AnswerWatch;
use super::files::{ENDING, FileReading, read};
use super::generation::{Generation, IsolationMode, LibrarySource};
use super::inspect::{InspectedFile, inspect};
use super::isolated::IsolationLimits;
use super::probe::probe;
use super::program::ModuleProgram;
use super::refusal::FileRefusal;
use super::services::LendableServices;
use crate::config::Isolation;
use crate::model::ModuleId;

/// How long a module may take to load, `init` included.
pub const LOAD_WITHIN: Duration = Duration::from_secs(10);

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
    watch: Option<AnswerWatch>,
    opened: Arc<AtomicU64>,
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
            watch: None,
            opened: Arc::default(),
        }
    }

    /// The same with another limit for loading.
    #[must_use]
    pub fn within(self, within: Duration) -> Self {
        ModuleLoading { within, ..self }
    }

    /// The same, and this watch sees what the modules answer.
    #[must_use]
    pub fn watched_by(self, watch: Option<AnswerWatch>) -> Self {
        ModuleLoading { watch, ..self }
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
        if let Some(reason) = &read.inspected.pin_reason {
            generation.keep_mapped(reason.clone());
        }
        if let Some(watch) = &self.watch {
            generation.show_answers_to(watch.clone());
        }
        Ok(generation)
    }

    /// Whether this module runs in the host's process.
    pub(super) fn loads_here(&self, module: &ModuleId) -> bool {
        matches!(self.how(module), IsolationMode::Here)
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
