//! The module for hooks that want inbound multimedia messages; what it sends is in [`channel_event::inbound_message`].

use channel_event::inbound_message::InboundMessage;
use plugin_api::serde_json::json;
use plugin_api::{Binding, BindingsAndResponders, Error, Event, Host, Metadata, Module};

/// Hook event `mms`.
#[derive(Debug)]
pub struct Mms(InboundMessage);

impl Module for Mms {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Mms(InboundMessage::new("mms", host)), metadata()))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::inbound_message("mms")).responder("mms", "inbound")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        self.0.handle_event(event, host)
    }
}

fn metadata() -> Metadata {
    Metadata::new("MMS", "A multimedia message from outside arrived for a number of the account")
        .sample(json!({
            "id": "5d0c41a29b", "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
            "type": "mms", "from": "+15550001111", "to": "+15552223333", "body": "A photo of the menu",
            "origin": "offnet", "charges": 0.0075, "hook_event": "mms",
        }))
        .sample(json!({
            "id": "e77f13b0c4", "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
            "type": "mms", "from": "+15554445555", "to": "+15552223333",
            "origin": "offnet", "hook_event": "mms",
        }))
}

plugin_api::export_module!(Mms);

#[cfg(test)]
#[path = "../../channel_event/src/vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests;
