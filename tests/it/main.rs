//! Integration tests, a file for each room of the host as its users meet it.

mod modules;
mod delivery;
mod amqp;
mod supervision;
mod vectors;
