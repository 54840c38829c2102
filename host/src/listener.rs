//! Takes events off the bus and turns them into durable deliveries.

mod gathering;
mod turns;
pub mod shared;
