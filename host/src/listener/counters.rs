//! What the listener has seen since the start.

use std::sync::atomic::{AtomicBool, AtomicU64};

/// What the listener has seen since the start. Each message counts once, when it is answered.
#[derive(Debug, Default)]
pub struct ListenerCounters {
    /// Events that modules were asked about, and whose deliveries are durable.
    pub accepted: AtomicU64,
    /// Accepted events that were recognised: they had come before, so they caused nothing.
    pub recognised: AtomicU64,
    /// Events for which no module is loaded.
    pub unanswered: AtomicU64,
    /// Messages that were no events.
    pub malformed: AtomicU64,
    /// Events that a module could not handle, and that there is no room for to be kept for it.
    pub unhandled: AtomicU64,
    /// Events whose deliveries could not be stored; the bus has them again.
    pub postponed: AtomicU64,
    /// Deliveries that events caused.
    pub deliveries: AtomicU64,
    /// Whether the last ones could not be stored: it is said once.
    pub(super) failing: AtomicBool,
}
