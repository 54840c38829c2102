//! Integration tests, a file for each room of the host as its users meet it.

// A test fails by panicking, and so do the functions that it calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod access;
mod accounts;
mod amqp;
mod attempts;
mod api;
mod authors;
mod backup;
mod bulkheads;
mod cli;
mod clocks;
mod configuration;
mod delivery;
mod disabler;
mod deliveries;
mod durability;
mod events_in;
mod guides;
mod identity;
mod faults;
mod fan_out;
mod isolation;
mod kazoo_clients;
mod kazoo_sdks;
mod limits;
mod linear;
mod listings;
mod metrics;
mod modules;
mod monster_ui;
mod openapi;
mod ordering;
mod packaging;
mod plugins_folder;
mod probe;
mod rate_limit;
mod reload;
mod scenario;
mod secrets;
mod service;
mod signing;
mod stalls;
mod stopping;
mod stream;
mod supervision;
mod targets;
mod test_send;
mod terminal;
mod tidy;
mod traces;
mod vectors;
