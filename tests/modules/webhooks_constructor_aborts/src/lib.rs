//! Aborts while it is opened, before anything of it is called.

use plugin_api::{BindingsAndResponders, Error, Event, Host, Metadata, Module};

/// Runs when the library is mapped.
#[used]
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: extern "C" fn() = constructor;

extern "C" fn constructor() {
    use std::io::Write as _;
    // Nobody listens when standard error is closed.
    _ = writeln!(std::io::stderr(), "no constructor today");
    std::process::abort();
}

struct ConstructorAborts;

impl Module for ConstructorAborts {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((ConstructorAborts, Metadata::new("Constructor aborts", "Never gets this far")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
    }

    fn handle_event(&self, _event: &Event<'_>, _host: &Host<'_>) -> Result<(), Error> {
        Ok(())
    }
}

plugin_api::export_module!(ConstructorAborts);
