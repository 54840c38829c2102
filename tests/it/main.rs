//! Integration tests, a file for each room of the host as its users meet it.

mod accounts;
mod amqp;
mod api;
mod cli;
mod configuration;
mod delivery;
mod durability;
mod events_in;
mod modules;
mod supervision;
mod tidy;
mod vectors;
