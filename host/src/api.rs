//! What the host answers over HTTP: what stands around each of its routes.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::{Extension, Router};
use tokio::sync::Semaphore;
use tower_http::cors::CorsLayer;

use self::openapi::FixedDescription;
use self::routes::described;

mod accounts;
mod arriving;
mod asked;
mod attempts;
mod audit;
mod audit_layer;
mod auth;
mod backup;
mod body;
mod caller;
mod cloud_events;
mod configs;
pub mod connections;
mod deliveries;
mod docs;
mod envelope;
mod error;
mod events;
mod fallbacks;
mod failed_events;
mod failures;
mod filters;
mod health;
mod hooks;
mod known;
mod lingering;
mod limits;
mod listing;
mod log_in;
mod metadata;
mod metrics;
mod modules;
mod offload;
mod openapi;
pub mod pacing;
mod posted_event;
mod reading_client;
mod routes;
mod rules;
mod shapes;
mod state;
mod stream;
mod test_send;
#[cfg(test)]
mod tests;
mod tokens;
mod typed;
mod unreadable_body;
mod views;
mod webhooks;

pub use health::DegradedPart;
pub use modules::{
    FailureShape as ModuleFailure, LoadedModules, ModuleShape, PinnedShape as PinnedGeneration,
    PinnedUseShape as PinnedUse, ProcessShape as ModuleProcess, RefusedFile,
};
pub use openapi::fixed as description;
pub use state::{Api, ApiLimits, StrangerLimits};
pub use views::{EventIntake, FigureSource, HostHealth, IntakeError, MetadataView, ModulesView, TestSender};

/// How many may watch the stream at once.
#[must_use]
pub fn watchers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(stream::WATCHERS))
}

/// All routes of the host. Every answer, whatever goes wrong, is an envelope.
pub fn router(api: Arc<Api>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .route_layer(from_fn_with_state(Arc::clone(&api), auth::gate))
        .fallback(fallbacks::no_such_route)
        .method_not_allowed_fallback(fallbacks::wrong_method)
        .layer(Extension(FixedDescription(openapi::fixed)))
        .layer(from_fn_with_state(Arc::clone(&api), envelope::wrap))
        .with_state(api)
}

/// Headers that pages may send: those of the dashboard, and those that Crossbar lets through, of which Monster UI sends
/// some with every request.
const SENT_BY_PAGES: [&str; 15] = [
    "accept",
    "authorization",
    "cache-control",
    "content-type",
    "depth",
    "if-match",
    "if-modified-since",
    "last-event-id",
    "x-auth-token",
    "x-file-name",
    "x-file-size",
    "x-http-method-override",
    "x-kazoo-cluster-id",
    "x-request-id",
    "x-requested-with",
];

/// Lets pages of these origins read answers, and of no other. Tokens are sent by scripts, not by the browser itself.
pub fn with_cors(router: Router, origins: &[String]) -> Router {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return router;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers(SENT_BY_PAGES.map(HeaderName::from_static))
        .expose_headers([HeaderName::from_static("x-request-id"), header::LOCATION, header::RETRY_AFTER])
        .max_age(Duration::from_mins(10));
    router.layer(cors)
}
