//! Whether the host lives, and whether it is ready.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use utoipa::ToSchema;

use super::Api;
use super::envelope::{Answer, Reply};
use super::error::Failure;

mod degraded;

pub use degraded::DegradedPart;

/// That the host lives.
#[derive(Serialize, ToSchema)]
#[schema(as = Alive)]
pub(super) struct LivenessAnswer {
    alive: bool,
}

/// Whether the host lives
#[utoipa::path(get, path = "/healthz", tag = "Operation", operation_id = "alive")]
pub(super) async fn alive() -> Reply<LivenessAnswer> {
    Reply::of(&LivenessAnswer { alive: true })
}

/// That the host is ready.
#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
pub(super) struct ReadyAnswer {
    ready: bool,
    /// What does not work although events are taken; empty when all is well.
    degraded: Vec<DegradedPart>,
}

/// Whether the host is ready to take events
#[utoipa::path(get, path = "/readyz", tag = "Operation", operation_id = "ready", responses(
    (status = 503, description = "It is not; `data.not_ready` says why")
))]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Answer<ReadyAnswer> {
    match api.health.ready() {
        Ok(()) => Ok(Reply::of(&ReadyAnswer { ready: true, degraded: api.health.degraded() })),
        Err(parts) => Err(Failure::with_data(
            StatusCode::SERVICE_UNAVAILABLE,
            "not_ready",
            json!({"message": "the host is not ready", "ready": false, "not_ready": parts}),
        )),
    }
}
