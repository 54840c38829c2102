//! What a Hookline module and its host agree on.
//!
//! A module is a plain safe Rust type with three functions ([`Module`]) and one [`export_module!`] line; the
//! crate is a `cdylib`. It never does I/O: an event goes in, firings come out through [`Host::fire`], and the
//! host finds the hooks and delivers.
//!
//! ```
//! use plugin_api::{BindingsAndResponders, Binding, Error, Event, Firing, Host, JsonWriter, Metadata, Module};
//!
//! struct Doorbell;
//!
//! impl Module for Doorbell {
//!     fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
//!         Ok((Doorbell, Metadata::new("Doorbell", "Somebody rang")))
//!     }
//!
//!     fn bindings_and_responders(&self) -> BindingsAndResponders {
//!         BindingsAndResponders::new()
//!             .binding(Binding::new("doors", "door.rung.*"))
//!             .responder("door", "rung")
//!     }
//!
//!     fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
//!         let account = event.required_str("Account-ID")?;
//!         let payload = JsonWriter::object().copy("door", event.get("Door")).finish();
//!         host.fire(&Firing::new("doorbell", account), &payload);
//!         Ok(())
//!     }
//! }
//! # plugin_api::export_module!(Doorbell);
//! ```
//!
//! The rooms: what authors use ([`Module`], [`Event`], [`Host`], [`JsonWriter`], [`Metadata`], [`testing`]),
//! what crosses the boundary ([`abi`], [`manifest`]), the module's side of it ([`export`], `guard`) and the
//! host's side ([`index`], [`lend`]). Only `export`, `guard` and `lend` contain `unsafe`.

pub mod module;
pub mod metadata;
pub mod event;
pub mod firing;
pub mod host;
pub mod writer;
pub mod error;
pub mod testing;

pub mod abi;
pub mod manifest;
pub mod export;
mod guard;

pub mod index;
pub mod lend;

pub use error::Error;
pub use event::{Event, Kind, Value};
pub use firing::Firing;
pub use host::{Host, Level, Profile};
pub use metadata::{Binding, BindingsAndResponders, Metadata, Responder};
pub use module::Module;
pub use writer::{JsonWriter, Payload};

/// JSON values, for metadata and tests; the same crate that the host uses.
pub use serde_json;
