//! Never comes back from `init`.

use plugin_api::{BindingsAndResponders, Error, Event, Host, Metadata, Module};

struct InitHangs;

impl Module for InitHangs {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        loop {
            std::thread::park();
        }
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new()
    }

    fn handle_event(&self, _event: &Event<'_>, _host: &Host<'_>) -> Result<(), Error> {
        Ok(())
    }
}

plugin_api::export_module!(InitHangs);
