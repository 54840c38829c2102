//! The loaded modules, and the files that were refused.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde_json::Value;

use super::Api;
use super::envelope::Reply;
use super::error::Failure;
use crate::module::reload::NotReloaded;

pub(super) async fn list(State(api): State<Arc<Api>>) -> Reply {
    let Value::Object(mut fields) = api.modules.list() else {
        return Reply::ok(Value::Array(Vec::new()));
    };
    let data = fields.shift_remove("data").unwrap_or_default();
    fields.into_iter().fold(Reply::ok(data), |reply, (key, value)| reply.beside(&key, value))
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Reply, Failure> {
    api.modules.show(&id).map(Reply::ok).ok_or_else(|| Failure::bad_identifier(&id))
}

pub(super) async fn reload(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Result<Reply, Failure> {
    match api.modules.reload(&id).await {
        Ok(module) => Ok(Reply::ok(module)),
        Err(NotReloaded::Unknown(id)) => Err(Failure::bad_identifier(&id)),
        Err(error @ NotReloaded::Unfinished(_)) => {
            Err(Failure::new(StatusCode::CONFLICT, "module_unfinished", error.to_string()))
        }
        Err(error @ NotReloaded::Refused(_)) => {
            Err(Failure::new(StatusCode::UNPROCESSABLE_ENTITY, "module_refused", error.to_string()))
        }
    }
}
