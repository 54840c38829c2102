//! The webhook host: events off a bus, through modules, out as HTTP requests.
//!
//! The rooms stand floor by floor, and each uses only rooms below it; `tests/it/tidy.rs` reads this list.

pub mod cli;
pub mod scaffold;
pub mod app;
pub mod metrics;
pub mod api;
pub mod listener;
pub mod module;
pub mod replays;
pub mod delivery;
pub mod disabler;
pub mod attempts;
pub mod stream;
pub mod access;
pub mod hooks;
pub mod store;
pub mod bus;
pub mod event;
pub mod telemetry;
pub mod config;
pub mod model;
pub mod supervision;
pub mod trail;
pub mod times;
pub mod clock;
pub mod stall;
pub mod background;
pub mod memory;
pub mod trust;
pub mod harmless;
pub mod failure_streak;
pub mod private_file;
#[cfg(test)]
mod fuzz;
