//! What the host knows of a module: what it may answer, why it may be refused, how it is called.

use std::fmt;

use bytes::Bytes;

use crate::delivery::payload::Payload;
use crate::hooks::AccountId;
use crate::hooks::matching::Filter;

pub mod inspect;
mod unloading;
pub mod program;
pub mod probe;
pub mod library;
pub mod janitor;
pub mod jobs;
pub mod generation;
pub mod isolated;
pub mod services;
mod belonging;
pub mod settings;
pub mod line;
pub mod registry;
mod files;
pub mod folder;
pub mod reload;
pub mod watcher;
pub mod metadata;
pub mod resident;

/// What a module wants fired for one event.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Which hooks are told.
    pub target: Target,
    /// The event's part of what they are told.
    pub payload: Payload,
}

/// Which hooks a firing is for.
#[derive(Clone, Debug)]
pub enum Target {
    /// Those of an account (and of its ancestors) for a hook event.
    Hooks {
        /// `channel_create`
        event: String,
        /// The account that the event belongs to.
        account: AccountId,
        /// The event belongs to an internal leg of a call.
        internal_leg: bool,
        /// Conditions on a hook's `custom_data`.
        filters: Vec<Filter>,
    },
    /// The one whose document the event carries.
    Carried(Bytes),
}

/// A module's identity: its crate's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleId(String);

impl ModuleId {
    /// An id that inspection found in a manifest.
    #[must_use]
    pub fn new(id: &str) -> Self {
        ModuleId(id.to_owned())
    }

    /// `webhooks_channel_create`
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `channel_create`: the name under which hooks know it.
    #[must_use]
    pub fn hook_name(&self) -> &str {
        self.0.strip_prefix("webhooks_").unwrap_or(&self.0)
    }
}

impl fmt::Display for ModuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
