//! How one generation follows another in service: what is bound before, what is released after, and when no more may
//! be loaded.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::{info, warn};

use crate::bus::{Binding, Bus};
use crate::clock;
use crate::harmless::harmless_path;
use crate::model::ModuleId;
use crate::module::generation::{Generation, ReleaseResult};
use crate::module::loaded_module::LoadedModule;
use crate::module::metadata;
use crate::module::refusal::FileRefusal;
use crate::module::registry::{FileRefused, ModuleRegistry, PinnedGeneration};
use crate::store::{Documents, StoreError};
use crate::stream::{HostEvent, HostStream};

/// How long an old generation's thread may take to end, `shutdown` included, before it is left mapped.
pub const RELEASE_WITHIN: Duration = Duration::from_secs(2);

/// The loaded modules, and those who learn of a change to them.
pub(super) struct ModuleSwapper {
    pub(super) registry: Arc<ModuleRegistry>,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) documents: Arc<dyn Documents>,
    pub(super) call_timeout: Duration,
    pub(super) stream: Arc<HostStream>,
}

impl ModuleSwapper {
    /// Tells those who watch what happened to a file.
    pub(super) fn happened(
        &self,
        module: Option<&ModuleId>,
        generation: Option<u64>,
        file: &Path,
        change: &'static str,
        reason: Option<String>,
    ) {
        let (module, file) = (module.cloned(), shown(file));
        self.stream.tell(HostEvent::Module { module, generation, file, change, reason });
    }

    /// Whether another generation may be loaded in the place of this one.
    pub(super) fn room(&self, before: Option<&LoadedModule>) -> Result<(), FileRefusal> {
        let to_come = before.filter(|before| before.will_stay_mapped()).map_or(0, LoadedModule::pinned_bytes);
        self.registry.pinned_use().room(to_come).map_err(FileRefusal::Exhausted)
    }

    /// Binds what the generation wants and nobody has bound for this module.
    pub(super) async fn bind(
        &self,
        generation: &Generation,
        before: Option<&LoadedModule>,
    ) -> Result<(), FileRefusal> {
        let bound = before.map(|before| bindings(before.wants())).unwrap_or_default();
        let new: Vec<Binding> = bindings(&generation.wants).difference(&bound).cloned().collect();
        if new.is_empty() {
            return Ok(());
        }
        self.bus.bind(&new).await.map_err(|error| FileRefusal::Unbound(error.to_string()))
    }

    /// From here on this generation serves; the one before finishes its call, and ends.
    pub(super) async fn swap(&self, module: &Arc<LoadedModule>, before: Option<Arc<LoadedModule>>) {
        let current = self.registry.current();
        self.registry.forget_refusal(&module.file);
        self.registry.set(current.with(Arc::clone(module)));
        if let Some(before) = &before {
            before.retire(self.call_timeout).await;
        }
        module.serve();
        self.registry.counters().loaded.fetch_add(1, Ordering::Relaxed);
        let (version, sha256) = (&module.inspected.manifest.version, &module.inspected.sha256);
        let generation = module.figures().generation;
        info!(module = %module.id, version, generation, sha256, file = %harmless_path(&module.file), "module loaded");
        self.happened(Some(&module.id), Some(generation), &module.file, "loaded", None);
        self.store_metadata(module).await;
        if let Some(before) = before {
            self.unbind(&before).await;
            self.end(&before).await;
        }
    }

    /// Unbinds what this module wanted and no module wants now.
    async fn unbind(&self, before: &LoadedModule) {
        let current = self.registry.current();
        let wanted: BTreeSet<Binding> =
            current.modules().flat_map(|module| bindings(module.wants())).collect();
        let unwanted: Vec<Binding> = bindings(before.wants()).difference(&wanted).cloned().collect();
        if !unwanted.is_empty()
            && let Err(error) = self.bus.unbind(&unwanted).await
        {
            warn!(module = %before.id, %error, "what no module wants any more stays bound");
        }
    }

    async fn end(&self, module: &LoadedModule) {
        let fate = module.release(RELEASE_WITHIN).await;
        self.put_away(&module.id, module.figures().generation, fate, module.pinned_bytes());
    }

    /// Counts a generation that has ended, or notes why it stays mapped.
    pub(super) fn put_away(&self, id: &ModuleId, generation: u64, fate: ReleaseResult, bytes: u64) {
        match fate {
            ReleaseResult::Released => {
                self.registry.counters().released.fetch_add(1, Ordering::Relaxed);
            }
            ReleaseResult::Pinned(reason) => {
                warn!(module = %id, generation, reason, "an old generation stays mapped until the host ends");
                self.registry.pin(PinnedGeneration { module: id.clone(), generation, reason, bytes });
            }
        }
    }

    async fn store_metadata(&self, module: &LoadedModule) {
        let id = module.id.as_str();
        let written = async {
            let stored = self.documents.metadata().await?;
            let known = stored.iter().find(|document| document.get("_id").is_some_and(|known| known == id));
            match metadata::update(&module.id, known, module.metadata(), clock::gregorian_now()) {
                None => Ok(false),
                Some(document) => self.documents.save_metadata(document).await.map(|_| true),
            }
        };
        match written.await {
            Ok(true) => info!(module = id, "metadata document written"),
            // Unchanged, or another host was faster with the same words.
            Ok(false) | Err(StoreError::Conflict { .. }) => {}
            Err(error) => warn!(module = id, %error, "the module's metadata document cannot be written"),
        }
    }

    /// Takes the module away whose file is gone. Answers files of its id that wait to take its place.
    pub(super) async fn take_away(&self, file: &Path) -> Vec<PathBuf> {
        let current = self.registry.current();
        let Some(module) = current.modules().find(|module| module.file == file).cloned() else {
            return Vec::new();
        };
        self.registry.set(current.without(&module.id));
        drop(current);
        module.remove(self.call_timeout).await;
        self.registry.counters().removed.fetch_add(1, Ordering::Relaxed);
        let generation = module.figures().generation;
        info!(module = %module.id, generation, file = %harmless_path(file), "module removed, its file is gone");
        self.happened(Some(&module.id), None, file, "removed", None);
        self.unbind(&module).await;
        self.end(&module).await;
        let waits = |refused: &FileRefused| refused.id.as_ref() == Some(&module.id);
        self.registry.refused().into_iter().filter(waits).map(|refused| refused.file).collect()
    }
}

fn bindings(wants: &plugin_api::BindingsAndResponders) -> BTreeSet<Binding> {
    let binding =
        |binding: &plugin_api::Binding| Binding::new(binding.exchange.as_str(), binding.routing_key.as_str());
    wants.bindings.iter().map(binding).collect()
}

/// The name of a file, as people are shown it.
pub(super) fn shown(file: &Path) -> String {
    harmless_path(Path::new(file.file_name().unwrap_or_default()))
}
