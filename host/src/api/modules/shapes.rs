//! The loaded modules and the refused files, as the API shows them.

use plugin_api::{Binding, Responder};
use serde::Serialize;
use utoipa::ToSchema;

/// A loaded module as the API shows it.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
#[schema(as = Module)]
pub struct ModuleShape {
    /// Its crate's name.
    pub id: String,
    /// Its crate's version.
    pub version: String,
    /// Of the boundary that it was built for.
    pub abi: String,
    /// The compiler that it was built with.
    pub rustc: String,
    /// Where it was loaded from; what is no text in the name is escaped.
    pub file: String,
    /// Digest of the file.
    pub sha256: String,
    /// How often the module was loaded: 1, 2, …
    pub generation: u64,
    /// `active`, or `quarantined` when it hung too often.
    pub state: &'static str,
    /// When it is tried again, while it is quarantined.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tried_again_at: Option<String>,
    /// `none`, or `process`: it runs in a process of its own.
    pub isolation: &'static str,
    /// What it has bound on the bus.
    #[schema(value_type = Vec<serde_json::Map<String, serde_json::Value>>)]
    pub bindings: Vec<Binding>,
    /// Which events it answers.
    #[schema(value_type = Vec<serde_json::Map<String, serde_json::Value>>)]
    pub responders: Vec<Responder>,
    /// Events that were handed to it, over all generations.
    pub calls: u64,
    /// Events that it did not answer properly, over all generations.
    pub failures: u64,
    /// Events that it could not handle and that are kept.
    pub failed_events: u64,
    /// Bytes of these.
    pub failed_bytes: u64,
    /// Calls of this generation that were given up.
    pub hung: usize,
    /// Microseconds spent in calls of this generation.
    pub time_spent_us: u64,
    /// Since when this generation serves.
    pub loaded_at: String,
    /// Bytes that this generation takes.
    pub memory_bytes: Option<u64>,
    /// Generations that serve no more and cannot be unloaded.
    pub pinned: Vec<PinnedShape>,
    /// The process that it runs in, where it has one of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<ProcessShape>,
    /// The last event that it failed on, whichever generation it was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<FailureShape>,
    /// Why a newer file was turned down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_refusal: Option<RefusedFile>,
}

/// A process of a module's own.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ModuleProcess)]
pub struct ProcessShape {
    /// Its number; none while it is started again.
    pub pid: Option<u32>,
    /// How often it was started again.
    pub restarts: u64,
    /// How often it died.
    pub deaths: u64,
    /// How often it was ended because it did not answer.
    pub timeouts: u64,
    /// What has stopped it, and for how long; its events wait until it goes on. None while it runs.
    pub stopped: Option<String>,
}

/// A module's failure on one event.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = ModuleFailure)]
pub struct FailureShape {
    /// When.
    pub at: String,
    /// Of which generation.
    pub generation: u64,
    /// What tells the event from others, where it has that.
    pub event: Option<String>,
    /// What happened.
    pub message: String,
    /// Where it panicked, `file:line`; nothing for all other failures.
    pub place: Option<String>,
    /// The functions of the module that a panic came through, the innermost first, with their places as far as its file has
    /// line tables; offsets in its library where it has no names, and for the moment until they are known.
    pub backtrace: Vec<String>,
}

/// A generation that cannot be unloaded.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PinnedGeneration)]
pub struct PinnedShape {
    /// Which.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Bytes that it is counted with: the pages of its segments, and a fixed sum for what is beside them.
    pub bytes: u64,
}

/// What old generations that cannot be unloaded have used up, and of what. At either limit no file is loaded until the host
/// is started again, and what serves goes on.
#[derive(Debug, Clone, Copy, Default, Serialize, ToSchema)]
#[schema(as = PinnedUse)]
pub struct PinnedUseShape {
    /// How many there are.
    pub generations: usize,
    /// Bytes that they are counted with.
    pub bytes: u64,
    /// Bytes that they may have (`modules.pinned_memory_limit`).
    pub limit_bytes: u64,
    /// Thread-local keys of the process that are taken.
    pub thread_local_keys: u32,
    /// How many may be.
    pub thread_local_keys_limit: u32,
}

/// A file that was not taken.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct RefusedFile {
    /// Which.
    pub file: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: String,
}

/// The modules, and beside them the files that were refused.
#[derive(Debug, Clone, Default)]
pub struct LoadedModules {
    /// By id.
    pub modules: Vec<ModuleShape>,
    /// Those that lie in the plugins folder right now.
    pub refused: Vec<RefusedFile>,
    /// What bounds how often modules can be replaced.
    pub pinned: PinnedUseShape,
}
