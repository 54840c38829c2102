//! The transaction by which a file becomes the generation that serves, and a deleted file none.
//!
//! read → inspect → copy → try in another process → load on a thread of its own → bind what is new → swap → let
//! the old one finish its call → unbind what nobody wants → release the old one. Whatever fails before the swap
//! leaves the old generation serving, and the reason with the file until it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::time::Instant;
use tracing::warn;

use super::files::{
    FileReading, FileStamp, FoundFile, LOOK_WITHIN, PatientLooks, behind, module_files, read,
};
use super::generation::ReleaseResult;
use super::inspect::UnfitFile;
use super::loaded_module::{LoadedModule, pinned_cost};
use super::loading::{ModuleLoading, ReadModule};
use super::refusal::{FileRefusal, trusted_folder};
use super::registry::{FileRefused, ModuleRegistry};
use crate::background::spawn_background;
use crate::bus::Bus;
use crate::harmless::harmless_path;
use crate::model::ModuleId;
use crate::stall::StallMark;
use crate::store::Documents;
use crate::stream::HostStream;

mod outcome;
pub mod resetting;
mod swapping;

use self::resetting::{MetadataReset, NotReset};
use self::swapping::{ModuleSwapper, shown};

pub use outcome::{NotReloaded, ReloadOutcome};
pub use swapping::RELEASE_WITHIN;

/// How long a file that is no whole library may still become one, where the system does not tell who writes it.
const GROWING: Duration = Duration::from_millis(500);

/// How long a file may be in the writing before that is called a refusal, and it is looked at no more than others.
const STILL_WRITTEN: Duration = Duration::from_secs(10);

/// How old a file must be, when it is read, for its stamp to tell every later change.
const STAMP_RESOLUTION: Duration = Duration::from_millis(100);

/// How long a file must be gone before its module is: whoever replaces a file by deleting it first is not to take
/// the module away for a moment.
const GONE_FOR: Duration = Duration::from_millis(200);

/// Turns what is in the plugins folder into what is loaded.
pub struct ModuleReloader {
    folder: PathBuf,
    loading: ModuleLoading,
    swapper: ModuleSwapper,
    state: tokio::sync::Mutex<ReloadState>,
}

/// What was seen so far. It outlives the child that watches.
#[derive(Default)]
struct ReloadState {
    files: BTreeMap<PathBuf, SeenFile>,
    numbers: BTreeMap<ModuleId, u64>,
    folder_refused: bool,
    /// Looks that may hang: at the folder, behind links, into files.
    listing: PatientLooks<anyhow::Result<Vec<FoundFile>>>,
    links: PatientLooks<Result<Option<FileStamp>, FileRefusal>>,
    reading: PatientLooks<Result<FileReading, FileRefusal>>,
    /// Files that somebody writes, and since when.
    unfinished: BTreeMap<PathBuf, StallMark>,
    /// The folder was looked at before: what is in it at the start is not waited for.
    begun: bool,
}

/// A file as it was when it was last looked at.
struct SeenFile {
    stamp: FileStamp,
    /// It was not there when the folder was last looked at.
    gone_since: Option<Instant>,
    /// It was so young that it may have changed since without another stamp, or what it was refused for is not its own.
    look_again: bool,
}

/// Whether a file is looked at although nothing says that it changed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ReloadCause {
    Changed,
    Asked,
}

impl ModuleReloader {
    /// Nothing is loaded yet.
    #[must_use]
    pub fn new(
        folder: PathBuf,
        loading: ModuleLoading,
        registry: Arc<ModuleRegistry>,
        bus: Arc<dyn Bus>,
        documents: Arc<dyn Documents>,
        call_timeout: Duration,
        stream: Arc<HostStream>,
    ) -> Self {
        let state = tokio::sync::Mutex::default();
        let swapper = ModuleSwapper { registry, bus, documents, call_timeout, stream };
        ModuleReloader { folder, loading, swapper, state }
    }

    /// The folder that it looks at.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Looks at every file that is new or has changed, and takes away modules whose file is gone. Says whether
    /// a file was still being written, so that it should be looked at again soon.
    ///
    /// # Errors
    /// The folder cannot be read or trusted; what is loaded stays.
    pub async fn scan(&self) -> anyhow::Result<bool> {
        let mut state = self.state.lock().await;
        let state = &mut *state;
        if let Err(error) = trusted_folder(&self.folder) {
            state.folder_refused = true;
            return Err(error);
        }
        // What was turned down because of the folder has another chance now.
        if std::mem::take(&mut state.folder_refused) {
            state.files.clear();
        }
        let found = state.listing.look(&self.folder, LOOK_WITHIN, module_files).await;
        let found =
            found.with_context(|| format!("the plugins folder {}", harmless_path(&self.folder)))??;
        let mut soon = false;
        let mut present: BTreeSet<&PathBuf> = BTreeSet::new();
        for found in &found {
            let Some(stamp) = self.stamp_of(state, found).await else { continue };
            let file = &found.path;
            present.insert(file);
            if let Some(seen) = state.files.get_mut(file) {
                seen.gone_since = None;
                if stamp.is_some_and(|stamp| seen.stamp == stamp) && !seen.look_again {
                    continue;
                }
            }
            if stamp.is_some() {
                soon |= self.look(state, file, ReloadCause::Changed).await;
            }
        }
        // What was refused before it was read is not among the files that were seen.
        for FileRefused { file, .. } in self.swapper.registry.refused() {
            if !present.contains(&file) && !state.files.contains_key(&file) {
                self.swapper.registry.forget_refusal(&file);
            }
        }
        let gone: Vec<PathBuf> = state.files.keys().filter(|file| !present.contains(file)).cloned().collect();
        for file in gone {
            let since =
                state.files.get_mut(&file).map(|seen| *seen.gone_since.get_or_insert_with(Instant::now));
            if since.is_some_and(|since| since.elapsed() < GONE_FOR) {
                soon = true;
                continue;
            }
            state.files.remove(&file);
            self.swapper.registry.forget_refusal(&file);
            for waiting in self.swapper.take_away(&file).await {
                state.files.remove(&waiting);
                soon = true;
            }
        }
        state.begun = true;
        Ok(soon)
    }

    /// Loads the file of a module again, whether it changed or not.
    ///
    /// # Errors
    /// [`NotReloaded`]; the old generation serves.
    pub async fn reload(&self, id: &str) -> Result<u64, NotReloaded> {
        let mut state = self.state.lock().await;
        let current = self.swapper.registry.current();
        let module = current.module(id).ok_or_else(|| NotReloaded::Unknown(id.to_owned()))?;
        let name = shown(&module.file);
        match self.consider(&mut state, &module.file.clone(), ReloadCause::Asked).await {
            ReloadOutcome::Loaded { generation, .. } => Ok(generation),
            ReloadOutcome::Unchanged | ReloadOutcome::Unfinished => Err(NotReloaded::Unfinished(name)),
            ReloadOutcome::Refused(reason) => Err(NotReloaded::Refused(format!("{name} {reason}"))),
        }
    }

    /// Writes the documents of all loaded modules anew and takes those of others away; with an id, only that one's.
    /// The `webhooks_` in front of an id may be left out.
    ///
    /// # Errors
    /// [`NotReset`]; what was reset before stays so, and repeating it is harmless.
    pub async fn reset_metadata(&self, id: Option<&str>) -> Result<MetadataReset, NotReset> {
        // No module comes, changes or goes meanwhile.
        let _state = self.state.lock().await;
        resetting::reset(self.swapper.documents.as_ref(), &self.swapper.registry.current(), id).await
    }

    /// The stamp of what is to be loaded. Nothing for a link that leads nowhere; nothing in it where that is refused.
    async fn stamp_of(&self, state: &mut ReloadState, found: &FoundFile) -> Option<Option<FileStamp>> {
        if !found.is_link {
            return Some(Some(found.stamp));
        }
        match state.links.look(&found.path, LOOK_WITHIN, behind).await {
            Ok(Ok(stamp)) => stamp.map(Some),
            Ok(Err(refusal)) | Err(refusal) => {
                self.refuse(&found.path, None, &refusal);
                Some(None)
            }
        }
    }

    /// Says whether the file should be looked at again soon.
    async fn look(&self, state: &mut ReloadState, file: &Path, why: ReloadCause) -> bool {
        if !matches!(self.consider(state, file, why).await, ReloadOutcome::Unfinished) {
            state.unfinished.remove(file);
            return state.files.get(file).is_some_and(|seen| seen.look_again);
        }
        let since = state.unfinished.entry(file.to_owned()).or_insert_with(StallMark::now);
        let soon = since.ran() < STILL_WRITTEN;
        if !soon {
            self.refuse(file, None, &FileRefusal::StillWritten);
        }
        soon
    }

    async fn consider(&self, state: &mut ReloadState, file: &Path, why: ReloadCause) -> ReloadOutcome {
        let reading = state.reading.look(file, LOOK_WITHIN, read).await.and_then(std::convert::identity);
        let (stamp, bytes) = match reading {
            Ok(FileReading::Whole(stamp, bytes)) => (stamp, bytes),
            Ok(FileReading::Unfinished) => return ReloadOutcome::Unfinished,
            // It went away meanwhile: the next scan sees that.
            Err(FileRefusal::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
                return ReloadOutcome::Unfinished;
            }
            Err(refusal) => return self.refuse(file, None, &refusal),
        };
        let look_again = stamp.age() < STAMP_RESOLUTION;
        let inspecting = self.loading.clone();
        let read = match spawn_background(move || inspecting.inspect(bytes)).await {
            Ok(Ok(read)) => read,
            Ok(Err(FileRefusal::Unfit(
                UnfitFile::Empty | UnfitFile::CutShort { .. } | UnfitFile::NotALibrary(_),
            ))) if state.begun && stamp.age() < GROWING => {
                return ReloadOutcome::Unfinished;
            }
            Ok(Err(refusal)) => {
                state.files.insert(file.to_owned(), SeenFile { stamp, gone_since: None, look_again });
                return self.refuse(file, None, &refusal);
            }
            Err(error) => {
                let refusal =
                    FileRefusal::Io { doing: "cannot be read", error: std::io::Error::other(error) };
                return self.refuse(file, None, &refusal);
            }
        };
        state.files.insert(file.to_owned(), SeenFile { stamp, gone_since: None, look_again });
        let id = ModuleId::new(&read.inspected.manifest.id);
        match self.take(state, file, read, why).await {
            Ok(outcome) => {
                self.swapper.registry.forget_refusal(file);
                outcome
            }
            Err(refusal) => {
                if let Some(seen) = state.files.get_mut(file) {
                    seen.look_again |= refusal.is_of_the_moment();
                }
                self.refuse(file, Some(id), &refusal)
            }
        }
    }

    fn refuse(&self, file: &Path, id: Option<ModuleId>, refusal: &FileRefusal) -> ReloadOutcome {
        let reason = refusal.to_string();
        let at = crate::clock::now();
        let refused = FileRefused { file: file.to_owned(), id: id.clone(), reason: reason.clone(), at };
        if self.swapper.registry.refuse(refused) {
            self.swapper.happened(id.as_ref(), None, file, "refused", Some(reason.clone()));
            warn!(file = %harmless_path(file), reason, "file refused");
        }
        ReloadOutcome::Refused(reason)
    }

    /// From the bytes of a file to the generation that serves.
    async fn take(
        &self,
        state: &mut ReloadState,
        file: &Path,
        read: ReadModule,
        why: ReloadCause,
    ) -> Result<ReloadOutcome, FileRefusal> {
        let id = ModuleId::new(&read.inspected.manifest.id);
        let before = self.swapper.registry.current().module(id.as_str()).cloned();
        if let Some(before) = &before {
            // A file under another name takes over where the old one is gone: it was renamed.
            if before.file != file && before.file.exists() {
                return Err(FileRefusal::Duplicate { id, other: before.file.clone() });
            }
            let same = before.file == file && before.inspected.sha256 == read.inspected.sha256;
            if same && why == ReloadCause::Changed {
                return Ok(ReloadOutcome::Unchanged);
            }
        }
        if self.loading.loads_here(&id) {
            self.swapper.room(before.as_deref())?;
        }
        let number = state.numbers.get(&id).copied().unwrap_or_default() + 1;
        let copy = self.loading.copy(&read, number).await?;
        let cost = pinned_cost(&read.inspected);
        let generation = match self.loading.open(&read, number, &copy).await {
            Ok(generation) => Arc::new(generation),
            Err(refusal) => {
                if let FileRefusal::Load(failure) = &refusal
                    && failure.leaves_it_mapped()
                {
                    self.swapper.put_away(&id, number, ReleaseResult::Pinned(failure.to_string()), cost);
                }
                return Err(refusal);
            }
        };
        if let Err(refusal) = self.swapper.bind(&generation, before.as_deref()).await {
            self.swapper.put_away(&id, number, generation.release(RELEASE_WITHIN).await, cost);
            return Err(refusal);
        }
        state.numbers.insert(id.clone(), number);
        let inspected = read.inspected;
        let module = Arc::new(LoadedModule::new(generation, inspected, file.to_owned(), before.as_deref()));
        self.swapper.swap(&module, before).await;
        Ok(ReloadOutcome::Loaded { id, generation: number })
    }
}
