//! Takes events off the bus and turns them into durable deliveries.

pub mod shared;
