//! Panics when it is asked what it binds.

// Misbehaving is its purpose.
#![allow(clippy::panic)]

use plugin_api::{BindingsAndResponders, Error, Event, Host, Metadata, Module};

struct BindingsPanic;

impl Module for BindingsPanic {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((BindingsPanic, Metadata::new("Bindings panic", "Never says what it binds")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        panic!("no bindings today");
    }

    fn handle_event(&self, _event: &Event<'_>, _host: &Host<'_>) -> Result<(), Error> {
        Ok(())
    }
}

plugin_api::export_module!(BindingsPanic);
