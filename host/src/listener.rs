//! Takes events off the bus and turns them into durable deliveries.

mod asking;
mod gathering;
mod large;
mod slices;
mod parsing;
mod turns;
pub mod shared;
pub mod webhook_id;
