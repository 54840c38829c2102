//! Takes events off the bus and turns them into durable deliveries.

mod asking;
mod counters;
mod gathering;
mod kinds;
mod large_events;
mod slices;
mod parsing;
mod planning;
mod turns;
pub mod shared;
pub mod webhook_id;
