//! What the routes ask of the rest of the host.

use std::collections::BTreeMap;

use async_trait::async_trait;
use serde_json::Value;

use super::health::DegradedPart;
use super::modules::{LoadedModules, ModuleShape};
use crate::delivery::test_send::NotTested;
use crate::event::ArrivingEvent;
use crate::hooks::document::Events;
use crate::model::payload::Payload;
use crate::model::{Document, HookId};
use crate::module::reload::NotReloaded;
use crate::module::reload::resetting::{MetadataReset, NotReset};
use crate::trail::Origin;

/// Where posted events go.
#[async_trait]
pub trait EventIntake: Send + Sync {
    /// Takes all events of a request or none; returns once what they cause is durable. Each is the text of a
    /// JSON object with a category and a name. `route` is an exchange and a routing key, in place of those
    /// that the event itself implies. Answers how many were accepted.
    async fn take(
        &self,
        events: Vec<ArrivingEvent>,
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
