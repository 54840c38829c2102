//! What the host answers over HTTP: the list of routes, and what stands around each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, delete, get, patch, post, put};
use bytes::Bytes;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;

use crate::access::Access;
use crate::disabler::Disabler;
use crate::hooks::Document;
use crate::hooks::editor::Editor;
use crate::module::reload::NotReloaded;
use crate::replays::Replays;
use crate::store::Store;
use crate::stream::Stream;
use crate::trail::Origin;

mod accounts;
mod attempts;
mod audit;
mod auth;
mod backup;
mod body;
mod cloud_events;
mod configs;
pub mod connections;
mod deliveries;
mod envelope;
mod error;
mod events;
mod failures;
mod filters;
mod health;
mod hooks;
mod listing;
mod metrics;
mod modules;
mod rules;
mod stream;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;
mod written;

/// What the routes work with.
pub struct Api {
    /// Changes hooks and accounts.
    pub editor: Arc<Editor>,
    /// What is known of hooks that fail.
    pub disabler: Arc<Disabler>,
    /// What was tried, what waits or is dead, and what was set about hooks that fail.
    pub store: Arc<dyn Store>,
    /// Takes posted events.
    pub intake: Arc<dyn Intake>,
    /// Shows the loaded modules.
    pub modules: Arc<dyn ModulesView>,
    /// Shows the modules' metadata documents.
    pub metadata: Arc<dyn MetadataView>,
    /// Says whether the host is ready.
    pub health: Arc<dyn Health>,
    /// Says what is counted.
    pub figures: Arc<dyn Figures>,
    /// Sends dead deliveries again.
    pub replays: Replays,
    /// What happens, for those who watch.
    pub stream: Arc<Stream>,
    /// Places for those who watch.
    pub watchers: Arc<Semaphore>,
    /// Ends what would go on for ever.
    pub stop: CancellationToken,
    /// Says who reaches what, and writes down who changed what.
    pub access: Arc<Access>,
    /// What a request may cost.
    pub limits: Limits,
    /// The name of this host in envelopes.
    pub node: String,
}

/// How many may watch the stream at once.
#[must_use]
pub fn watchers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(stream::WATCHERS))
}

/// What a request may cost.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of one event, and of the body of any other request.
    pub event_bytes: usize,
    /// Bytes of a request with events.
    pub request_bytes: usize,
    /// Bytes of a request's headers, names and values together.
    pub header_bytes: usize,
    /// Within this time a body must have arrived.
    pub body_timeout: Duration,
    /// Within this time a request must be answered.
    pub request_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            event_bytes: 1 << 20,
            request_bytes: 8 << 20,
            header_bytes: 32 << 10,
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
        }
    }
}

/// Where posted events go.
#[async_trait]
pub trait Intake: Send + Sync {
    /// Takes all events of a request or none; returns once what they cause is durable. Each is the text of a
    /// JSON object with a category and a name. `route` is an exchange and a routing key, in place of those
    /// that the event itself implies. Answers how many were accepted.
    async fn take(
        &self,
        events: Vec<Bytes>,
        route: Option<(String, String)>,
        origin: Origin,
    ) -> Result<usize, IntakeError>;
}

/// Why events were not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IntakeError {
    /// One of them is not an event.
    #[error("event {index} is malformed: {reason}")]
    Malformed {
        /// Its place in the request, from 0.
        index: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// They cannot be taken right now.
    #[error("events cannot be taken: {0}")]
    Unavailable(String),
    /// Nobody listens where they were sent.
    #[error("nothing is bound to exchange {exchange:?} for routing key {routing_key:?}")]
    Unroutable {
        /// Name of the exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
}

/// The modules as the API shows them.
#[async_trait]
pub trait ModulesView: Send + Sync {
    /// `{"data": [module, …], "refused": [{"file", "reason", "at"}, …]}`.
    fn list(&self) -> Value;
    /// One module by its id.
    fn show(&self, id: &str) -> Option<Value>;
    /// Loads the file of a module again; answers the module.
    ///
    /// # Errors
    /// There is no such module, or its file is not taken and the old generation serves on.
    async fn reload(&self, id: &str) -> Result<Value, NotReloaded>;
    /// Sample payloads by the id of their module.
    fn samples(&self) -> BTreeMap<String, Vec<Value>>;
}

/// The metadata documents of the loaded modules.
pub trait MetadataView: Send + Sync {
    /// The documents as stored (`_id` is `webhooks_<name>`).
    fn metadata(&self) -> Vec<Document>;
}

/// Whether the host can do its work.
pub trait Health: Send + Sync {
    /// # Errors
    /// A sentence for each part that is not ready.
    fn ready(&self) -> Result<(), Vec<String>>;
}

/// What the host counts.
#[async_trait]
pub trait Figures: Send + Sync {
    /// All figures in Prometheus's text format. Nothing in it belongs to one account or hook.
    ///
    /// # Errors
    /// The text cannot be written: a bug.
    async fn exposition(&self) -> Result<String, std::fmt::Error>;
}

/// All routes of the host. Every answer, whatever goes wrong, is an envelope.
pub fn router(api: Arc<Api>) -> Router {
    routes()
        .router
        .route_layer(from_fn_with_state(Arc::clone(&api), auth::gate))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&api), envelope::wrap))
        .with_state(api)
}

/// Lets pages of these origins read answers, and of no other. Tokens are sent by scripts, not by the browser itself.
pub fn with_cors(router: Router, origins: &[String]) -> Router {
    let origins: Vec<HeaderValue> = origins.iter().filter_map(|origin| origin.parse().ok()).collect();
    if origins.is_empty() {
        return router;
    }
    let cors = CorsLayer::new()
        .allow_origin(origins)
        .allow_methods([Method::GET, Method::PUT, Method::POST, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("x-auth-token"),
            HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([HeaderName::from_static("x-request-id"), header::LOCATION, header::RETRY_AFTER])
        .max_age(Duration::from_mins(10));
    router.layer(cors)
}

/// Routes with the list of their paths, which a router does not tell.
#[derive(Default)]
struct Routes {
    router: Router<Arc<Api>>,
    paths: Vec<&'static str>,
}

impl Routes {
    fn route(mut self, path: &'static str, methods: MethodRouter<Arc<Api>>) -> Self {
        self.paths.push(path);
        Self { router: self.router.route(path, methods), ..self }
    }
}

/// Who may use each of them is said in `rules.rs`; administrators alone, where it is not said.
fn routes() -> Routes {
    Routes::default()
        .route("/healthz", get(health::alive))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::exposition))
        .route("/v2/webhooks", get(webhooks::available))
        .route("/v2/webhooks/samples", get(webhooks::samples))
        .route("/v2/webhooks/samples/{id}", get(webhooks::sample))
        .route("/v2/accounts", put(accounts::create))
        .route(
            "/v2/accounts/{account}",
            get(accounts::show)
                .put(accounts::create_below)
                .post(accounts::replace)
                .patch(accounts::patch)
                .delete(accounts::delete),
        )
        .route("/v2/accounts/{account}/children", get(accounts::children))
        .route("/v2/accounts/{account}/descendants", get(accounts::descendants))
        .route(
            "/v2/accounts/{account}/webhooks",
            get(webhooks::list).put(webhooks::create).patch(webhooks::enable),
        )
        .route("/v2/accounts/{account}/descendants/webhooks", patch(webhooks::enable_descendants))
        .route(
            "/v2/accounts/{account}/configs/webhooks",
            get(configs::show).patch(configs::patch).delete(configs::delete),
        )
        .route(
            "/v2/system_configs/webhooks",
            get(configs::show_system).patch(configs::patch_system).delete(configs::delete_system),
        )
        .route("/v2/accounts/{account}/webhooks/attempts", get(attempts::of_account))
        .route("/v2/accounts/{account}/webhooks/{hook}/attempts", get(attempts::of_hook))
        .route(
            "/v2/accounts/{account}/webhooks/{hook}",
            get(webhooks::show).post(webhooks::replace).patch(webhooks::patch).delete(webhooks::delete),
        )
        .route("/v2/accounts/{account}/tokens", get(tokens::list).put(tokens::create))
        .route("/v2/accounts/{account}/tokens/{token}", delete(tokens::revoke))
        .route("/v2/accounts/{account}/audit", get(audit::list_of))
        .route("/events", post(events::take))
        .route("/hooks", get(hooks::list))
        .route("/hooks/enable", post(failures::enable))
        .route("/failures", get(failures::list).delete(failures::flush))
        .route("/deliveries", get(deliveries::list))
        .route("/deliveries/replay", post(deliveries::replay_many))
        .route("/deliveries/{id}", get(deliveries::show))
        .route("/deliveries/{id}/replay", post(deliveries::replay))
        .route("/replays", get(deliveries::replays))
        .route("/replays/{id}", get(deliveries::show_replay).delete(deliveries::cancel_replay))
        .route("/stream", get(stream::watch))
        .route("/tokens", get(tokens::list_all))
        .route("/tokens/{token}", delete(tokens::revoke_any))
        .route("/audit", get(audit::list))
        .route("/backup", post(backup::send))
        .route("/modules", get(modules::list))
        .route("/modules/{id}", get(modules::show))
        .route("/modules/{id}/reload", post(modules::reload))
}
