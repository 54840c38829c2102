//! The loaded modules, and the files that were refused.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::Api;
use super::envelope::{Answer, ListBody, Reply};
use super::error::Failure;
use crate::module::reload::NotReloaded;

mod shapes;

pub use shapes::{
    FailureShape, LoadedModules, ModuleShape, PinnedShape, PinnedUseShape, ProcessShape, RefusedFile,
};

/// Lists the loaded modules
///
/// Beside them, as `refused`, the files in the plugins folder that were not taken, and as `pinned` what old generations that
/// cannot be unloaded have used up, and of what: at either limit no file is loaded, and what serves goes on.
#[utoipa::path(get, path = "/modules", tag = "Modules")]
pub(super) async fn list(State(api): State<Arc<Api>>) -> Reply<ListBody<ModuleShape>> {
    let LoadedModules { modules, refused, pinned } = api.modules.list();
    let refused = serde_json::to_value(refused).unwrap_or_default();
    let pinned = serde_json::to_value(pinned).unwrap_or_default();
    Reply::many(&modules).beside("refused", refused).beside("pinned", pinned)
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
