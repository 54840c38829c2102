//! The webhook host: events off a bus, through modules, out as HTTP requests.
//!
//! The rooms stand in the order in which an event meets them.

pub mod hooks;
pub mod store;
pub mod api;
