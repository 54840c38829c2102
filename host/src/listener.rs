//! Takes events off the bus and turns them into durable deliveries.

mod gathering;
mod large;
mod slices;
mod turns;
pub mod shared;
