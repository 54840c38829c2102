//! Takes events off the bus and turns them into durable deliveries.

mod asking;
mod counters;
pub mod failed_events;
mod failure_lines;
mod gathering;
mod large_events;
mod slices;
mod parsing;
mod planning;
pub mod replaying;
mod turns;
pub mod shared;
pub mod webhook_id;
