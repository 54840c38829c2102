//! Takes events off the bus and turns them into durable deliveries.

mod gathering;
pub mod shared;
