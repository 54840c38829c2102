//! What the routes work with, and what requests may cost.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::views::{EventIntake, FigureSource, HostHealth, MetadataView, ModulesView, TestSender};
use super::{arriving, openapi, pacing};
use crate::access::Access;
use crate::delivery::shards::DueShards;
use crate::disabler::Disabler;
use crate::hooks::editor::Editor;
use crate::listener::replaying::ModuleReplays;
use crate::memory::EventMemory;
use crate::replays::Replays;
use crate::store::{Documents, Ledger};
use crate::stream::HostStream;

/// What the routes work with.
pub struct Api {
    /// Changes hooks and accounts.
    pub editor: Arc<Editor>,
    /// What is known of hooks that fail.
    pub disabler: Arc<Disabler>,
    /// What is due, and how many requests each hook has.
    pub due: Arc<DueShards>,
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
    /// Hands events that modules failed on to the generations that serve.
    pub module_replays: Arc<ModuleReplays>,
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
    pub(super) described: openapi::KeptDescription,
    /// Turns of whoever shows no known token.
    pub(super) turns: pacing::StrangerTurns,
    /// Turns for what has some hundred kilobytes.
    pub(super) large: pacing::StrangerTurns,
    /// Bodies of requests under way.
    pub(super) bodies: Arc<arriving::BodiesByAccount>,
    /// Answers under way.
    pub(super) answers: Arc<arriving::BodiesByAccount>,
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
