//! Whether the host lives, and whether it is ready.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde_json::json;

use super::Api;
use super::envelope::Reply;
use super::error::Failure;

pub(super) async fn alive() -> Reply {
    Reply::ok(json!({"alive": true}))
}

pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<Reply, Failure> {
    match api.health.ready() {
        Ok(()) => Ok(Reply::ok(json!({"ready": true}))),
        Err(parts) => Err(Failure::with_data(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            json!({"message": "the host is not ready", "ready": false, "not_ready": parts}),
        )),
    }
}
