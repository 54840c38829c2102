//! The loaded modules, and the files that were refused.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use plugin_api::{Binding, Responder};
use serde::Serialize;
use utoipa::ToSchema;

use super::Api;
use super::envelope::{Answer, ListBody, Reply};
use super::error::Failure;
use crate::module::reload::NotReloaded;

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
}

/// A generation that cannot be unloaded.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = PinnedGeneration)]
pub struct PinnedShape {
    /// Which.
    pub generation: u64,
    /// Why.
    pub reason: String,
    /// Bytes that it takes.
    pub bytes: u64,
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
}

/// Lists the loaded modules
///
/// Beside them, as `refused`, the files in the plugins folder that were not taken.
#[utoipa::path(get, path = "/modules", tag = "Modules")]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Reply<ListBody<ModuleShape>> {
    let LoadedModules { modules, refused } = api.modules.list();
    let refused = serde_json::to_value(refused).unwrap_or_default();
    Reply::many(&modules).beside("refused", refused)
}

/// Shows a module
#[utoipa::path(get, path = "/modules/{id}", tag = "Modules")]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<ModuleShape> {
    api.modules.show(&id).map(|module| Reply::of(&module)).ok_or_else(|| Failure::bad_identifier(&id))
}

/// Loads a module's file again
#[utoipa::path(post, path = "/modules/{id}/reload", tag = "Modules", responses(
    (status = 409, description = "The file is still being written"),
    (status = 422, description = "The file is not taken; `data.message` says why, and the old generation serves on")
))]
pub(super) async fn reload(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<ModuleShape> {
    match api.modules.reload(&id).await {
        Ok(module) => Ok(Reply::of(&module)),
        Err(NotReloaded::Unknown(id)) => Err(Failure::bad_identifier(&id)),
        Err(error @ NotReloaded::Unfinished(_)) => {
            Err(Failure::new(StatusCode::CONFLICT, "module_unfinished", error.to_string()))
        }
        Err(error @ NotReloaded::Refused(_)) => {
            Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "module_refused", error.to_string()))
        }
    }
}
