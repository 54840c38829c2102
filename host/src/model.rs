//! What everything speaks of: accounts, hooks, payloads, secrets, limits. No I/O, no clock, no locks.

mod compact_fields;
mod exchange;
pub mod guard;
pub mod headers;
mod hook;
mod hook_address;
mod hook_options;
mod ids;
pub mod payload;
mod profile;
pub mod rate;
pub mod sign;

use serde_json::{Map, Value};

pub use compact_fields::CompactFields;
pub use exchange::{DeliveryOutcome, EndpointAnswer, HttpExchange, OutgoingRequest};
pub use hook::{CHANNEL_EVENTS, Format, Hook, HookEvent, Ordering, Verb};
pub use hook_address::HookAddress;
pub use hook_options::{HookOptions, SetOptions};
pub use ids::{AccountId, HookId, ModuleId};
pub use profile::Profile;

/// A stored JSON document: public fields, `_id`, `_rev` and the private `pvt_…` fields, in their order.
pub type Document = Map<String, Value>;
