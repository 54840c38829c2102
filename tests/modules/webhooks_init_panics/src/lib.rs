//! Panics before it is loaded.

// Misbehaving is its purpose.
#![allow(clippy::panic)]

use plugin_api::{BindingsAndResponders, Error, Event, Host, Metadata, Module};

struct InitPanics;

impl Module for InitPanics {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        panic!("no init today");
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
    }

    fn handle_event(&self, _event: &Event<'_>, _host: &Host<'_>) -> Result<(), Error> {
        Ok(())
    }
}

plugin_api::export_module!(InitPanics);
