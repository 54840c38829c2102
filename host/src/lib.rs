//! The webhook host: events off a bus, through modules, out as HTTP requests.
//!
//! The rooms stand in the order in which an event meets them; the last ones are about running the process.

pub mod bus;
pub mod event;
pub mod trail;
pub mod listener;
pub mod module;
pub mod hooks;
pub mod delivery;
pub mod disabler;
pub mod attempts;
pub mod replays;
pub mod store;
pub mod stream;
pub mod access;
pub mod api;
pub mod metrics;
pub mod app;
pub mod harmless;
pub mod cli;
pub mod scaffold;
pub mod supervision;
pub mod times;
pub mod stall;
pub mod background;
pub mod trust;
pub mod memory;
pub mod config;
pub mod telemetry;
#[cfg(test)]
mod fuzz;
