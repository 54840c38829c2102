//! What the API sees of the parts: each of its traits, answered by them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;

use futures_util::future::join_all;
use serde_json::Value;
use time::format_description::well_known::Rfc3339;

use super::HostParts;
use crate::api::{
    self, Api, ApiLimits, DegradedPart, EventIntake, FigureSource, HostHealth, IntakeError, LoadedModules,
    MetadataView, ModulesView, StrangerLimits, TestSender,
};
use crate::bus::embedded::{EventInlet, PostError};
use crate::bus::{Bus, PublishError};
use crate::delivery::test_send::{NotTested, TestSends};
use crate::disabler::Disabler;
use crate::event::RawEvent;
use crate::harmless::harmless_path;
use crate::hooks::accounts::{AccountRecord, Accounts};
use crate::hooks::document::{Events, UriRules, validate};
use crate::hooks::editor::{DocumentValidator, EditorTables};
use crate::hooks::table::HookTable;
use crate::hooks::vault::Vault;
use crate::model::payload::Payload;
use crate::model::{AccountId, Document, Hook, HookId};
use crate::module::metadata::public_fields;
use crate::module::registry::{FileRefused, LoadedModule, ModuleRegistry, ModuleSnapshot, PinnedGeneration};
use crate::module::reload::NotReloaded;
use crate::module::reload::resetting::{MetadataReset, NotReset};
use crate::store::{Ledger, StoreError};
use crate::supervision::ChildContext;
use crate::trail::Origin;

/// Serves the API until it is told to stop, then lets requests in hand end.
pub(super) async fn serve(
    parts: Arc<HostParts>,
    listener: std::net::TcpListener,
    context: ChildContext,
) -> anyhow::Result<()> {
    let api = Arc::new(Api {
        editor: Arc::clone(&parts.editor),
        disabler: Arc::clone(&parts.disabler),
        documents: Arc::clone(&parts.documents),
        ledger: Arc::clone(&parts.ledger),
        intake: Arc::new(ListenerIntake {
            inlet: parts.inlet.clone(),
            bus: Arc::clone(&parts.bus),
            ledger: Arc::clone(&parts.ledger),
        }),
        modules: Arc::clone(&parts) as Arc<dyn ModulesView>,
        metadata: Arc::clone(&parts.registry) as Arc<dyn MetadataView>,
        health: Arc::clone(&parts) as Arc<dyn HostHealth>,
        figures: Arc::clone(&parts) as Arc<dyn FigureSource>,
        replays: parts.replays.clone(),
        tests: Arc::clone(&parts.test_sends) as Arc<dyn TestSender>,
        stream: Arc::clone(&parts.stream),
        watchers: api::watchers(),
        stop: context.stop.clone(),
        access: Arc::clone(&parts.access),
        limits: ApiLimits {
            event_bytes: parts.config.api.max_event_bytes,
            request_bytes: parts.config.api.max_request_bytes,
            body_timeout: parts.config.api.body_timeout(),
            ..ApiLimits::default()
        },
        memory: Arc::clone(&parts.memory),
        node: node_name(),
        strangers: StrangerLimits::default(),
    });
    let router = api::with_cors(api::router(api), &parts.config.api.cors_origins);
    context.ready.ready();
    Ok(api::connections::serve(listener, router, Arc::clone(&parts.connections), context.stop).await?)
}

/// `hookline@HOST`: what envelopes call this process, as KAZOO's name an Erlang node.
pub(super) fn node_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "localhost" } else { host.trim() };
    format!("hookline@{host}")
}

/// The way in for posted events: without a route straight to the listener, with one onto the bus.
struct ListenerIntake {
    inlet: EventInlet,
    bus: Arc<dyn Bus>,
    ledger: Arc<dyn Ledger>,
}

#[async_trait]
impl EventIntake for ListenerIntake {
    async fn take(
        &self,
        events: Vec<RawEvent>,
        route: Option<(String, String)>,
        origin: Origin,
    ) -> Result<usize, IntakeError> {
        // Also where nothing would be written: what is taken now may be told to people as kept.
        if let Some(gone @ StoreError::Gone { .. }) = self.ledger.trouble() {
            return Err(IntakeError::Unavailable(gone.to_string()));
        }
        let Some((exchange, key)) = route else {
            return self.inlet.post_from(&origin, events, None).await.map_err(|error| match error {
                PostError::Unroutable { exchange, routing_key } => {
                    IntakeError::Unroutable { exchange, routing_key }
                }
                PostError::Unavailable(reason) => IntakeError::Unavailable(match self.ledger.trouble() {
                    Some(trouble) => format!("{reason}, as the store cannot be written: {trouble}"),
                    None => reason,
                }),
                PostError::Unhandled { module, reason } => IntakeError::Unhandled { module, reason },
                PostError::Refused(index, refusal) => {
                    IntakeError::Malformed { index, reason: refusal.to_string() }
                }
            });
        };
        let count = events.len();
        let publish = |event| self.bus.publish_from(&origin, &exchange, &key, event);
        let published = events.into_iter().map(publish);
        for published in join_all(published).await {
            published.map_err(|error| match error {
                PublishError::Unroutable { exchange, routing_key } => {
                    IntakeError::Unroutable { exchange, routing_key }
                }
                other => IntakeError::Unavailable(other.to_string()),
            })?;
        }
        Ok(count)
    }
}

#[async_trait]
impl TestSender for TestSends {
    async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested> {
        TestSends::send(self, hook, payload).await
    }
}

impl HostHealth for HostParts {
    fn ready(&self) -> Result<(), Vec<String>> {
        HostParts::ready(self)
    }

    fn degraded(&self) -> Vec<DegradedPart> {
        let mut parts = degraded(&self.registry.current(), self.bus.dead_letters(), &self.config.bus.queue);
        parts.extend(self.kept_files.lost_files().map(|file| DegradedPart {
            module: None,
            queue: None,
            file: Some(file),
            reason: "the next start needs it, and it is gone or changed: put it back".to_owned(),
        }));
        parts
    }
}

/// What does not work although the host takes events.
fn degraded(modules: &ModuleSnapshot, dead_letters: Option<u64>, queue: &str) -> Vec<DegradedPart> {
    let mut degraded = Vec::new();
    for module in modules.modules() {
        let figures = module.figures();
        let reason = match module.process() {
            _ if figures.quarantined => format!(
                "it is quarantined after {} calls that never ended; events for it are not accepted",
                figures.hung
            ),
            Some(process) if process.pid.is_none() => "it has no process; events for it wait".to_owned(),
            _ => continue,
        };
        degraded.push(DegradedPart { module: Some(module.id.to_string()), queue: None, file: None, reason });
    }
    if let Some(messages) = dead_letters.filter(|messages| *messages > 0) {
        let reason = format!("{messages} messages were dead-lettered; their headers say why");
        degraded.push(DegradedPart {
            module: None,
            queue: Some(format!("{queue}.dead")),
            file: None,
            reason,
        });
    }
    degraded
}

#[async_trait]
impl ModulesView for HostParts {
    fn list(&self) -> LoadedModules {
        let current = self.registry.current();
        LoadedModules {
            modules: current.modules().map(|module| shown(&self.registry, module)).collect(),
            refused: self.registry.refused().iter().map(shown_refusal).collect(),
        }
    }

    fn show(&self, id: &str) -> Option<api::ModuleShape> {
        self.registry.current().module(id).map(|module| shown(&self.registry, module))
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

fn shown(registry: &ModuleRegistry, module: &LoadedModule) -> api::ModuleShape {
    let (figures, wants, manifest) = (module.figures(), module.wants(), &module.inspected.manifest);
    let process = module.process();
    let pinned = registry.pinned();
    let pinned = pinned.iter().filter(|pinned| pinned.module == module.id);
    api::ModuleShape {
        id: module.id.to_string(),
        version: manifest.version.to_string(),
        abi: format!("{}.{}", manifest.api.0, manifest.api.1),
        rustc: manifest.rustc.to_string(),
        file: harmless_path(&module.file),
        sha256: module.inspected.sha256.to_string(),
        generation: figures.generation,
        state: if figures.quarantined { "quarantined" } else { "active" },
        isolation: if process.is_some() { "process" } else { "none" },
        bindings: wants.bindings.clone(),
        responders: wants.responders.clone(),
        calls: figures.calls,
        failures: figures.failures,
        hung: figures.hung,
        time_spent_us: u64::try_from(figures.busy.as_micros()).unwrap_or(u64::MAX),
        loaded_at: module.loaded_at.format(&Rfc3339).unwrap_or_default(),
        memory_bytes: module.memory(),
        pinned: pinned.map(shown_pinned).collect(),
        process: process.map(|process| api::ModuleProcess {
            pid: process.pid,
            restarts: process.restarts,
            deaths: process.deaths,
            timeouts: process.timeouts,
        }),
        last_refusal: registry.last_refusal(module).as_ref().map(shown_refusal),
    }
}

fn shown_pinned(pinned: &PinnedGeneration) -> api::PinnedGeneration {
    api::PinnedGeneration {
        generation: pinned.generation,
        reason: pinned.reason.clone(),
        bytes: pinned.bytes,
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

/// The hooks and accounts in memory.
pub(super) struct HookCache {
    pub(super) table: Arc<HookTable>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) vault: Arc<Vault>,
    pub(super) disabler: Arc<Disabler>,
}

impl EditorTables for HookCache {
    fn put_hook(&self, document: &Document) -> Result<(), String> {
        let mut hook = Hook::from_document(document).map_err(|error| error.to_string())?;
        self.vault.unlock(document, &mut hook);
        let (account, id) = (hook.account.clone(), hook.id.clone());
        self.table.put(hook);
        // As in the original, where whoever edits a hook gives it a new start.
        self.disabler.changed_hook(&account, &id);
        Ok(())
    }

    fn remove_hook(&self, id: &str) {
        if let Some(hook) = self.table.remove(&HookId::from(id)) {
            self.disabler.changed_hook(&hook.account, &hook.id);
        }
    }

    fn put_account(&self, document: &Document) {
        if let Some(account) = AccountRecord::from_document(document) {
            self.accounts.put(account);
        }
    }

    fn remove_account(&self, id: &str) {
        self.accounts.remove(&AccountId::from(id));
    }

    fn children(&self, id: &str) -> Vec<AccountId> {
        ids(&self.accounts.children(&AccountId::from(id)))
    }

    fn descendants(&self, id: &str) -> Vec<AccountId> {
        ids(&self.accounts.descendants(&AccountId::from(id)))
    }
}

fn ids(accounts: &[Arc<AccountRecord>]) -> Vec<AccountId> {
    accounts.iter().map(|account| account.id.clone()).collect()
}

/// Checks hooks against the events that the loaded modules offer, and against where they may be sent.
pub(super) struct Schema {
    pub(super) registry: Arc<ModuleRegistry>,
    pub(super) uris: UriRules,
}

impl DocumentValidator for Schema {
    fn validate_hook(&self, document: &mut Document) -> Result<(), Value> {
        let events = events(&self.registry.current());
        validate(document, &events, &self.uris).map_err(|errors| Value::Object(errors.to_json()))
    }
}

fn events(modules: &ModuleSnapshot) -> Events {
    let mut events = Events::default();
    for module in modules.modules() {
        let modifiers = &module.metadata().modifiers;
        events.insert(module.id.hook_name(), (!modifiers.is_empty()).then(|| modifiers.clone()));
    }
    events
}
