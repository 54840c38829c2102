//! The harness of the integration tests: a whole host in the test's process, a receiver, a broker.
//!
//! It speaks the domain (`install`, `publish`, `next_request`), waits for facts with one limit, and fails at
//! the test's own line.

// A harness fails its test by panicking.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod busy;
mod collector;
mod description;
mod disk;
mod events;
mod frames;
mod host;
mod hostile;
mod isolation;
mod modules;
mod name_server;
mod program;
mod proxy;
mod receiver;
mod scripted;
mod servers;
mod shell;
mod siege;
mod tls;

use std::time::Duration;

pub use broker::{Broker, Published};
pub use busy::BusyEndpoint;
pub use collector::{Collector, Span};
pub use description::{Operation, described, valid};
pub use disk::{Disk, limit_file_size};
pub use events::{call_event, vectors};
pub use frames::{FrameStep, Framed};
pub use host::{Answer, StoppedHost, TestHost};
pub use hostile::{Hostile, Manner};
pub use isolation::{IsolatedModule, lendable, payload, private_copy, runs, send_signal};
pub use modules::{
    cdylib, corrupted_copy, flawed, hookline, versioned, versioned_for_good, with_manifest_bytes,
};
pub use name_server::{NameAnswer, NameServer};
pub use program::{Home, Program, Said, ended, program, say, say_with_input};
pub use proxy::Proxy;
pub use receiver::{ClosedReceiver, Receiver, Request};
pub use scripted::{Heard, Scripted, Step};
pub use servers::RealServer;
pub use shell::{Shown, blocks, done, fenced, scratch, shell};
pub use siege::{Beside, Plan, Report, Trouble, siege};
pub use tls::Authority;

/// How long anything that should happen may take; generous, as machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until `fact` gives something. Use it where nothing tells that it happened.
///
/// # Panics
/// It did not happen within [`PATIENCE`].
#[track_caller]
pub fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut fact: impl FnMut() -> F,
) -> impl Future<Output = T> {
    let place = std::panic::Location::caller();
    async move {
        let asked_until = tokio::time::Instant::now() + PATIENCE;
        loop {
            if let Some(found) = fact().await {
                return found;
            }
            assert!(tokio::time::Instant::now() < asked_until, "{place}: never happened: {what}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}
