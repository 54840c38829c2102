//! What the API shows of the modules, and how it sends tests: its traits, answered by what does the work.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::editor_tables::events;
use super::parts::modules::ModuleParts;
use crate::api::{self, LoadedModules, MetadataView, ModulesView, TestSender};
use crate::delivery::test_send::{NotTested, TestSends};
use crate::harmless::harmless_path;
use crate::hooks::document::Events;
use crate::model::payload::Payload;
use crate::model::{Document, HookId};
use crate::module::NotedFailure;
use crate::module::metadata::public_fields;
use crate::module::pinned_room::{MAX_KEYS, PinnedUse};
use crate::module::registry::{FileRefused, LoadedModule, ModuleRegistry, PinnedGeneration};
use crate::module::reload::NotReloaded;
use crate::module::reload::resetting::{MetadataReset, NotReset};

#[async_trait]
impl TestSender for TestSends {
    async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested> {
        TestSends::send(self, hook, payload).await
    }
}

#[async_trait]
impl ModulesView for ModuleParts {
    fn list(&self) -> LoadedModules {
        let current = self.registry.current();
        LoadedModules {
            modules: current.modules().map(|module| shown(self, module)).collect(),
            refused: self.registry.refused().iter().map(shown_refusal).collect(),
            pinned: shown_use(self.registry.pinned_use()),
        }
    }

    fn show(&self, id: &str) -> Option<api::ModuleShape> {
        self.registry.current().module(id).map(|module| shown(self, module))
    }

    async fn reload(&self, id: &str) -> Result<api::ModuleShape, NotReloaded> {
        self.reloader.reload(id).await?;
        self.show(id).ok_or_else(|| NotReloaded::Unknown(id.to_owned()))
    }

    async fn reset_metadata(&self, id: Option<&str>) -> Result<MetadataReset, NotReset> {
        self.reloader.reset_metadata(id).await
    }

    fn samples(&self) -> BTreeMap<String, Vec<Value>> {
        let current = self.registry.current();
        let samples = |module: &Arc<LoadedModule>| (module.id.to_string(), module.metadata().samples.clone());
        current.modules().map(samples).filter(|(_, samples)| !samples.is_empty()).collect()
    }
}

fn shown(parts: &ModuleParts, module: &LoadedModule) -> api::ModuleShape {
    let registry = &parts.registry;
    let failed = parts.failures.figures_of(&module.id);
    let (figures, wants, manifest) = (module.figures(), module.wants(), &module.inspected.manifest);
    let process = module.process();
    api::ModuleShape {
        id: module.id.to_string(),
        version: manifest.version.to_string(),
        abi: format!("{}.{}", manifest.api.0, manifest.api.1),
        rustc: manifest.rustc.to_string(),
        file: harmless_path(&module.file),
        sha256: module.inspected.sha256.to_string(),
        generation: figures.generation,
        state: if figures.quarantined { "quarantined" } else { "active" },
        tried_again_at: figures
            .tried_again_at
            .filter(|_| figures.quarantined)
            .and_then(|at| at.format(&Rfc3339).ok()),
        isolation: if process.is_some() { "process" } else { "none" },
        bindings: wants.bindings.clone(),
        responders: wants.responders.clone(),
        calls: figures.calls,
        failures: figures.failures,
        failed_events: failed.events.load(Ordering::Relaxed),
        failed_bytes: failed.bytes.load(Ordering::Relaxed),
        hung: figures.hung,
        time_spent_us: u64::try_from(figures.busy.as_micros()).unwrap_or(u64::MAX),
        loaded_at: module.loaded_at.format(&Rfc3339).unwrap_or_default(),
        memory_bytes: module.memory(),
        pinned: registry.pinned(&module.id).into_iter().map(shown_pinned).collect(),
        process: process.map(|process| api::ModuleProcess {
            pid: process.pid,
            restarts: process.restarts,
            deaths: process.deaths,
            timeouts: process.timeouts,
            stopped: process.halted.map(|halt| halt.to_string()),
        }),
        last_failure: module.last_failure().map(shown_failure),
        last_refusal: registry.last_refusal(module).as_ref().map(shown_refusal),
    }
}

fn shown_pinned(pinned: PinnedGeneration) -> api::PinnedGeneration {
    let PinnedGeneration { generation, reason, bytes, .. } = pinned;
    api::PinnedGeneration { generation, reason, bytes }
}

fn shown_use(used: PinnedUse) -> api::PinnedUse {
    api::PinnedUse {
        generations: used.generations,
        bytes: used.bytes,
        limit_bytes: used.limit,
        thread_local_keys: used.keys,
        thread_local_keys_limit: MAX_KEYS,
    }
}

fn shown_failure(noted: NotedFailure) -> api::ModuleFailure {
    api::ModuleFailure {
        at: noted.at.format(&Rfc3339).unwrap_or_default(),
        generation: noted.generation,
        event: noted.event,
        message: noted.reason.message,
        place: noted.reason.place,
        backtrace: noted.backtrace.to_vec(),
    }
}

fn shown_refusal(refused: &FileRefused) -> api::RefusedFile {
    api::RefusedFile {
        file: harmless_path(&refused.file),
        reason: format!("{} {}", file_name(&refused.file), refused.reason),
        at: refused.at.format(&Rfc3339).unwrap_or_default(),
    }
}

fn file_name(file: &Path) -> String {
    harmless_path(Path::new(file.file_name().unwrap_or_default()))
}

impl MetadataView for ModuleRegistry {
    fn metadata(&self) -> Vec<Document> {
        let document = |module: &Arc<LoadedModule>| {
            let mut document = public_fields(module.metadata());
            document.insert("_id".to_owned(), module.id.as_str().into());
            document
        };
        self.current().modules().map(document).collect()
    }

    fn events(&self) -> Events {
        events(&self.current())
    }

    fn version(&self) -> u64 {
        ModuleRegistry::version(self)
    }
}
