//! What the host knows of a module: what it may answer, why it may be refused, how it is called.

use bytes::Bytes;

use crate::hooks::matching::PayloadFilter;
use crate::model::AccountId;
use crate::model::payload::Payload;

pub mod inspect;
pub mod unloading;
pub mod pinned_room;
mod debug_files;
mod symbols;
mod backtraces;
pub mod program;
pub mod probe;
pub mod library;
pub mod tls_keys;
pub mod jobs;
pub mod failure_reason;
mod failures;
pub mod answer_watch;
pub mod generation;
pub mod isolated;
pub mod services;
mod tenancy;
pub mod settings;
pub mod loaded_module;
pub mod registry;
mod files;
pub mod refusal;
pub mod loading;
pub mod reload;
pub mod healing;
pub mod watcher;
pub mod metadata;
pub mod resident;

pub use failures::NotedFailure;

/// What a module wants fired for one event.
#[derive(Clone, Debug)]
pub struct Firing {
    /// Which hooks are told.
    pub target: HookTarget,
    /// The event's part of what they are told.
    pub payload: Payload,
}

/// Which hooks a firing is for.
#[derive(Clone, Debug)]
pub enum HookTarget {
    /// Those of an account (and of its ancestors) for a hook event.
    Hooks {
        /// `channel_create`
        event: String,
        /// The account that the event belongs to.
        account: AccountId,
        /// The event belongs to an internal leg of a call.
        internal_leg: bool,
        /// Conditions on a hook's `custom_data`.
        filters: Vec<PayloadFilter>,
    },
    /// The one whose document the event carries.
    Carried(Bytes),
}
