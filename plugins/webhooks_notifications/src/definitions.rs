//! Every notification: its key on the bus, what people call it, and which fields it has.
//!
//! The facts are those of KAZOO's `kapi_notifications:api_definition/1`, in its order; the sentences are ours.

mod accounts_faxes_ports;
mod calls_users_voicemail;
mod kind;

use accounts_faxes_ports::FIRST;
use calls_users_voicemail::SECOND;

pub use kind::{NotificationDefinition, OPTIONAL};

/// All of them.
pub fn definitions() -> impl Iterator<Item = &'static NotificationDefinition> {
    FIRST.iter().chain(SECOND)
}

/// The definition of this name.
#[must_use]
pub fn definition(name: &str) -> Option<&'static NotificationDefinition> {
    definitions().find(|definition| definition.name == name)
}
