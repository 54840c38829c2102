//! Never comes back from `bindings_and_responders`.

use plugin_api::{BindingsAndResponders, Error, Event, Host, Metadata, Module};

struct BindingsHang;

impl Module for BindingsHang {
    fn init(_host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((BindingsHang, Metadata::new("Bindings hang", "Never says what it binds")))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        loop {
            std::thread::park();
        }
    }

    fn handle_event(&self, _event: &Event<'_>, _host: &Host<'_>) -> Result<(), Error> {
        Ok(())
    }
}

plugin_api::export_module!(BindingsHang);
