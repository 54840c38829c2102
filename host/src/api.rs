//! What the host answers over HTTP: the list of routes, and what stands around each of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::from_fn_with_state;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower_http::cors::CorsLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::delivery::test_send::NotTested;
use crate::disabler::Disabler;
use crate::event::RawEvent;
use crate::hooks::document::Events;
use crate::hooks::editor::Editor;
use crate::memory::EventMemory;
use crate::model::payload::Payload;
use crate::model::{Document, HookId};
use crate::module::reload::NotReloaded;
use crate::module::reload::resetting::{MetadataReset, NotReset};
use crate::replays::Replays;
use crate::store::{Documents, Ledger};
use crate::stream::HostStream;
use crate::trail::Origin;

mod accounts;
mod arriving;
mod asked;
mod attempts;
mod audit;
mod auth;
mod backup;
mod body;
mod cloud_events;
mod configs;
pub mod connections;
mod deliveries;
mod docs;
mod envelope;
mod error;
mod events;
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
mod reading_client;
mod rules;
mod shapes;
mod stream;
mod test_send;
#[cfg(test)]
mod tests;
mod tokens;
mod webhooks;
mod written;

pub use health::DegradedPart;
pub use modules::{
    LoadedModules, ModuleShape, PinnedShape as PinnedGeneration, ProcessShape as ModuleProcess, RefusedFile,
};
pub use openapi::fixed as description;

/// What the routes work with.
pub struct Api {
    /// Changes hooks and accounts.
    pub editor: Arc<Editor>,
    /// What is known of hooks that fail.
    pub disabler: Arc<Disabler>,
    /// What was tried, what waits or is dead, and what was set about hooks that fail.
    pub ledger: Arc<dyn Ledger>,
    /// Hooks and accounts as they are stored, for listings.
    pub documents: Arc<dyn Documents>,
    /// Takes posted events.
    pub intake: Arc<dyn EventIntake>,
    /// Shows the loaded modules.
    pub modules: Arc<dyn ModulesView>,
    /// Shows the modules' metadata documents.
    pub metadata: Arc<dyn MetadataView>,
    /// Says whether the host is ready.
    pub health: Arc<dyn HostHealth>,
    /// Says what is counted.
    pub figures: Arc<dyn FigureSource>,
    /// Sends dead deliveries again.
    pub replays: Replays,
    /// Sends samples.
    pub tests: Arc<dyn TestSender>,
    /// What happens, for those who watch.
    pub stream: Arc<HostStream>,
    /// Places for those who watch.
    pub watchers: Arc<Semaphore>,
    /// Ends what would go on for ever.
    pub stop: CancellationToken,
    /// Says who reaches what, and writes down who changed what.
    pub access: Arc<Access>,
    /// What a request may cost.
    pub limits: ApiLimits,
    /// The memory that events may take.
    pub memory: Arc<EventMemory>,
    /// The name of this host in envelopes.
    pub node: String,
    /// What strangers may cost.
    pub strangers: StrangerLimits,
}

/// What is kept for those without a token, and the turns that they take.
pub struct StrangerLimits {
    /// The description, made anew when modules come or go.
    described: openapi::KeptDescription,
    /// Turns of whoever shows no known token.
    turns: pacing::StrangerTurns,
    /// Turns for what has some hundred kilobytes.
    large: pacing::StrangerTurns,
    /// Bodies of requests under way.
    bodies: Arc<arriving::BodiesByAccount>,
    /// Answers under way.
    answers: Arc<arriving::BodiesByAccount>,
}

impl Default for StrangerLimits {
    /// Some 2000 answers a second, and 50 large ones.
    fn default() -> Self {
        StrangerLimits {
            described: openapi::KeptDescription::default(),
            turns: pacing::StrangerTurns::new(Duration::from_micros(500), 200),
            large: pacing::StrangerTurns::new(Duration::from_millis(20), 20),
            bodies: Arc::default(),
            answers: Arc::default(),
        }
    }
}

/// How many may watch the stream at once.
#[must_use]
pub fn watchers() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(stream::WATCHERS))
}

/// What a request may cost.
#[derive(Debug, Clone)]
pub struct ApiLimits {
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

impl Default for ApiLimits {
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
pub trait EventIntake: Send + Sync {
    /// Takes all events of a request or none; returns once what they cause is durable. Each is the text of a
    /// JSON object with a category and a name. `route` is an exchange and a routing key, in place of those
    /// that the event itself implies. Answers how many were accepted.
    async fn take(
        &self,
        events: Vec<RawEvent>,
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
    /// A module that they concern cannot handle them now. What they cause through others is taken.
    #[error("{module} {reason}")]
    Unhandled {
        /// The module.
        module: String,
        /// Why, continuing a sentence that begins with its name.
        reason: String,
    },
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
    /// The loaded modules, and the files that were refused.
    fn list(&self) -> LoadedModules;
    /// One module by its id.
    fn show(&self, id: &str) -> Option<ModuleShape>;
    /// Loads the file of a module again; answers the module.
    ///
    /// # Errors
    /// There is no such module, or its file is not taken and the old generation serves on.
    async fn reload(&self, id: &str) -> Result<ModuleShape, NotReloaded>;
    /// Writes the stored metadata documents anew, all or one's.
    ///
    /// # Errors
    /// There is none of this id, or the store failed.
    async fn reset_metadata(&self, id: Option<&str>) -> Result<MetadataReset, NotReset>;
    /// Sample payloads by the id of their module.
    fn samples(&self) -> BTreeMap<String, Vec<Value>>;
}

/// The metadata documents of the loaded modules.
pub trait MetadataView: Send + Sync {
    /// The documents as stored (`_id` is `webhooks_<name>`).
    fn metadata(&self) -> Vec<Document>;
    /// What a hook can name, and what it must say then.
    fn events(&self) -> Events;
    /// Another number after each change of the modules.
    fn version(&self) -> u64;
}

/// What sends tests.
#[async_trait]
pub trait TestSender: Send + Sync {
    /// Sends a payload to a hook once, and answers the attempt.
    ///
    /// # Errors
    /// Nothing was sent.
    async fn send(&self, hook: &HookId, payload: Payload) -> Result<Document, NotTested>;
}

/// Whether the host can do its work.
pub trait HostHealth: Send + Sync {
    /// # Errors
    /// A sentence for each part that is not ready.
    fn ready(&self) -> Result<(), Vec<String>>;

    /// What does not work although the host is ready.
    fn degraded(&self) -> Vec<DegradedPart>;
}

/// What the host counts.
#[async_trait]
pub trait FigureSource: Send + Sync {
    /// All figures in Prometheus's text format. Nothing in it belongs to one account or hook.
    ///
    /// # Errors
    /// The text cannot be written: a bug.
    async fn exposition(&self) -> Result<String, std::fmt::Error>;
}

/// All routes of the host. Every answer, whatever goes wrong, is an envelope.
pub fn router(api: Arc<Api>) -> Router {
    let (router, _) = described().split_for_parts();
    router
        .route_layer(from_fn_with_state(Arc::clone(&api), auth::gate))
        .fallback(error::no_such_route)
        .method_not_allowed_fallback(error::wrong_method)
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

/// All routes, each with its description. Who may use each of them is said in `rules.rs`; administrators alone, where
/// it is not said.
fn described() -> OpenApiRouter<Arc<Api>> {
    OpenApiRouter::new()
        .routes(routes!(webhooks::available))
        .routes(routes!(webhooks::samples))
        .routes(routes!(webhooks::sample))
        .routes(routes!(webhooks::list, webhooks::create, webhooks::enable))
        .routes(routes!(webhooks::enable_descendants))
        .routes(routes!(webhooks::show, webhooks::replace, webhooks::patch, webhooks::delete))
        .routes(routes!(attempts::of_account))
        .routes(routes!(attempts::of_hook))
        .routes(routes!(test_send::send))
        .routes(routes!(accounts::create))
        .routes(routes!(
            accounts::show,
            accounts::create_below,
            accounts::replace,
            accounts::patch,
            accounts::delete
        ))
        .routes(routes!(accounts::children))
        .routes(routes!(accounts::descendants))
        .routes(routes!(log_in::api_auth))
        .routes(routes!(log_in::user_auth))
        .routes(routes!(log_in::token_auth))
        .routes(routes!(log_in::api_key, log_in::make_api_key))
        .routes(routes!(audit::list_of))
        .routes(routes!(tokens::list, tokens::create))
        .routes(routes!(tokens::revoke))
        .routes(routes!(tokens::list_all))
        .routes(routes!(tokens::revoke_any))
        .routes(routes!(configs::show, configs::patch, configs::delete))
        .routes(routes!(limits::show, limits::patch, limits::delete))
        .routes(routes!(configs::show_system, configs::patch_system, configs::delete_system))
        .routes(routes!(events::take))
        .routes(routes!(stream::watch))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::replay_many))
        .routes(routes!(deliveries::show))
        .routes(routes!(deliveries::replay))
        .routes(routes!(deliveries::replays))
        .routes(routes!(deliveries::show_replay))
        .routes(routes!(deliveries::cancel_replay))
        .routes(routes!(metadata::reset))
        .routes(routes!(modules::list))
        .routes(routes!(modules::show))
        .routes(routes!(modules::reload))
        .routes(routes!(hooks::list))
        .routes(routes!(failures::enable))
        .routes(routes!(failures::list, failures::flush))
        .routes(routes!(audit::list))
        .routes(routes!(backup::send))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::exposition))
        .routes(routes!(openapi::description))
        .routes(routes!(docs::page))
        .routes(routes!(docs::file))
}
