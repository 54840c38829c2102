//! Fires what it is sent, takes a thread-local key as ordinary modules do, and is never unmapped.

use std::hint::black_box;

use plugin_api::{Binding, BindingsAndResponders, Error, Event, Firing, Host, JsonWriter, Metadata, Module};

struct NeverUnmapped;

impl Module for NeverUnmapped {
    fn init(_: &Host<'_>) -> Result<(Self, Metadata), Error> {
        // What this needs of its thread leaves a key with the process.
        black_box(std::thread::current().id());
        Ok((NeverUnmapped, Metadata::new("Never unmapped", "Stays mapped when it has ended")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::new("tests", "stay")).responder("stay", "*")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        let payload = JsonWriter::object().copy("n", event.get("N")).finish();
        host.fire(&Firing::new("never_unmapped", event.required_str("Account-ID")?), &payload);
        Ok(())
    }
}

plugin_api::export_module!(NeverUnmapped);
