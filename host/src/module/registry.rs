//! Which module answers which event: what is loaded, what was refused, and what could not be unmapped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use foldhash::HashMap;
use parking_lot::Mutex;
use plugin_api::Binding;
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;
use tracing::warn;

pub use super::loaded_module::{LoadedModule, MAX_HANGS, ModuleFigures};
use super::pinned_room::PinnedUse;
use super::tls_keys;
use crate::model::ModuleId;
use crate::stall;

/// A file in the plugins folder that was not taken.
#[derive(Clone, Debug)]
pub struct FileRefused {
    /// The file.
    pub file: PathBuf,
    /// The module that it would have been, as far as its manifest could be read.
    pub id: Option<ModuleId>,
    /// Why, continuing a sentence that begins with the file's name.
    pub reason: String,
    /// When.
    pub at: OffsetDateTime,
}

/// A generation that ended and could not be unmapped.
#[derive(Clone, Debug)]
pub struct PinnedGeneration {
    /// Whose.
    pub module: ModuleId,
    /// Which.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Bytes that it is counted with ([`pinned_room`](super::pinned_room)).
    pub bytes: u64,
}

/// Everything loaded at one moment; an event sees one of these.
#[derive(Default)]
pub struct ModuleSnapshot {
    modules: BTreeMap<ModuleId, Arc<LoadedModule>>,
    routes: HashMap<String, HashMap<String, Vec<Arc<LoadedModule>>>>,
}

impl ModuleSnapshot {
    /// Everything loaded, with its routes.
    #[must_use]
    pub fn new(modules: impl IntoIterator<Item = Arc<LoadedModule>>) -> Self {
        let modules: BTreeMap<_, _> = modules.into_iter().map(|module| (module.id.clone(), module)).collect();
        let mut routes: HashMap<String, HashMap<String, Vec<Arc<LoadedModule>>>> = HashMap::default();
        for module in modules.values() {
            for responder in &module.wants().responders {
                let names = routes.entry(responder.category.clone()).or_default();
                let answering = names.entry(responder.name.clone()).or_default();
                if !answering.iter().any(|other| other.id == module.id) {
                    answering.push(Arc::clone(module));
                }
            }
        }
        ModuleSnapshot { modules, routes }
    }

    /// The modules that answer an event: those for exactly its category and name, and those with a `*` in the
    /// place of either. Each once, whatever it lists.
    #[must_use]
    pub fn answering(&self, category: &str, name: &str) -> Vec<Arc<LoadedModule>> {
        let mut answering: Vec<Arc<LoadedModule>> = Vec::new();
        for category in [category, "*"] {
            let Some(names) = self.routes.get(category) else { continue };
            for module in [name, "*"].iter().filter_map(|name| names.get(*name)).flatten() {
                if !answering.iter().any(|other| other.id == module.id) {
                    answering.push(Arc::clone(module));
                }
            }
        }
        answering
    }

    /// The union of what the modules bind.
    #[must_use]
    pub fn bindings(&self) -> Vec<Binding> {
        let mut bindings: Vec<Binding> =
            self.modules.values().flat_map(|module| module.wants().bindings.iter().cloned()).collect();
        bindings.sort();
        bindings.dedup();
        bindings
    }

    /// The modules by id.
    pub fn modules(&self) -> impl Iterator<Item = &Arc<LoadedModule>> {
        self.modules.values()
    }

    /// One module.
    #[must_use]
    pub fn module(&self, id: &str) -> Option<&Arc<LoadedModule>> {
        self.modules.values().find(|module| module.id.as_str() == id)
    }

    /// The same with this module in the place of the one of its id.
    pub(super) fn with(&self, module: Arc<LoadedModule>) -> Self {
        let others = self.modules.values().filter(|other| other.id != module.id);
        Self::new(others.cloned().chain([Arc::clone(&module)]).collect::<Vec<_>>())
    }

    /// The same without this module.
    pub(super) fn without(&self, id: &ModuleId) -> Self {
        Self::new(self.modules.values().filter(|other| other.id != *id).cloned().collect::<Vec<_>>())
    }
}

/// What is loaded now, and what came of everything else.
#[derive(Default)]
pub struct ModuleRegistry {
    current: ArcSwap<ModuleSnapshot>,
    version: AtomicU64,
    refused: Mutex<BTreeMap<PathBuf, FileRefused>>,
    pinned: Mutex<Vec<PinnedGeneration>>,
    pinned_memory_limit: u64,
    counters: ModuleCounters,
}

/// What has happened to modules since the start.
#[derive(Debug, Default)]
pub struct ModuleCounters {
    /// Generations that began to serve.
    pub loaded: AtomicU64,
    /// Files that were refused.
    pub refused: AtomicU64,
    /// Generations that were unmapped.
    pub released: AtomicU64,
    /// Modules whose file was taken away.
    pub removed: AtomicU64,
    /// Threads of this process that were lost to calls which never ended.
    pub lost_threads: AtomicU64,
}

impl ModuleRegistry {
    /// Nothing is loaded. Generations that cannot be unmapped may have so many bytes together.
    #[must_use]
    pub fn new(pinned_memory_limit: u64) -> Self {
        ModuleRegistry { pinned_memory_limit, ..Self::default() }
    }

    /// What is loaded now.
    #[must_use]
    pub fn current(&self) -> Arc<ModuleSnapshot> {
        self.current.load_full()
    }

    /// Replaces what is loaded.
    pub(super) fn set(&self, snapshot: ModuleSnapshot) {
        self.current.store(Arc::new(snapshot));
        self.version.fetch_add(1, Ordering::Release);
    }

    /// How often what is loaded was replaced. Whoever reads it before [`current`](ModuleRegistry::current) never takes the old
    /// for the new.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// What has happened so far.
    #[must_use]
    pub fn counters(&self) -> &ModuleCounters {
        &self.counters
    }

    /// Files that were not taken, by name.
    #[must_use]
    pub fn refused(&self) -> Vec<FileRefused> {
        self.refused.lock().values().cloned().collect()
    }

    /// Why the newest file of a module was turned down; nothing when it was not.
    #[must_use]
    pub fn last_refusal(&self, module: &LoadedModule) -> Option<FileRefused> {
        let refused = self.refused.lock();
        let of_module =
            |refused: &&FileRefused| refused.file == module.file || refused.id.as_ref() == Some(&module.id);
        refused.values().filter(of_module).max_by_key(|refused| refused.at).cloned()
    }

    /// Notes a refusal; says whether it is news.
    pub(super) fn refuse(&self, refused: FileRefused) -> bool {
        let file = refused.file.clone();
        let reason = refused.reason.clone();
        let before = self.refused.lock().insert(file, refused);
        let news = before.is_none_or(|before| before.reason != reason);
        if news {
            self.counters.refused.fetch_add(1, Ordering::Relaxed);
        }
        news
    }

    /// A file was taken, or is gone.
    pub(super) fn forget_refusal(&self, file: &Path) {
        self.refused.lock().remove(file);
    }

    /// The generations of a module that could not be unmapped.
    #[must_use]
    pub fn pinned(&self, id: &ModuleId) -> Vec<PinnedGeneration> {
        self.pinned.lock().iter().filter(|pinned| pinned.module == *id).cloned().collect()
    }

    /// What has been used of all that bounds how often modules can be replaced.
    #[must_use]
    pub fn pinned_use(&self) -> PinnedUse {
        let pinned = self.pinned.lock();
        PinnedUse {
            generations: pinned.len(),
            bytes: pinned.iter().map(|pinned| pinned.bytes).fold(0, u64::saturating_add),
            limit: self.pinned_memory_limit,
            keys: tls_keys::next_key(),
        }
    }

    pub(super) fn pin(&self, pinned: PinnedGeneration) {
        self.pinned.lock().push(pinned);
    }

    /// Ends the modules: their threads, each after the call in hand, and their `shutdown`. Returns after twice as long at
    /// the latest: there are processes that not even a kill ends, such as frozen ones.
    pub async fn stop(&self, within: Duration) {
        let current = self.current();
        let ends = current.modules().map(|module| module.end(within));
        if stall::timeout(2 * within, futures_util::future::join_all(ends)).await.is_err() {
            warn!(waited_ms = (2 * within).as_millis(), "modules do not end, the host ends without them");
        }
    }

    /// Gives up calls that take longer than `limit` until `stop`: a hang cannot be ended inside a process. Notices processes
    /// of modules that are halted.
    pub async fn watch_hangs(&self, limit: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval((limit / 4).max(Duration::from_millis(5)));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = tick.tick() => {}
            }
            for module in self.current().modules() {
                let lost = module.give_up_hanging(limit);
                self.counters.lost_threads.fetch_add(lost as u64, Ordering::Relaxed);
                module.look_at_process();
            }
        }
    }
}
