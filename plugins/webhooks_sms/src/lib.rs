//! The module for hooks that want inbound text messages; what it sends is in [`channel_event::inbound_message`].

use channel_event::inbound_message::InboundMessage;
use plugin_api::serde_json::json;
use plugin_api::{Binding, BindingsAndResponders, Error, Event, Host, Metadata, Module};

/// Hook event `sms`.
#[derive(Debug)]
pub struct Sms(InboundMessage);

impl Module for Sms {
    fn init(host: &Host<'_>) -> Result<(Self, Metadata), Error> {
        Ok((Sms(InboundMessage::new("sms", host)), metadata()))
    }

    fn bindings_and_responders(&self) -> BindingsAndResponders {
        BindingsAndResponders::new().binding(Binding::inbound_message("sms")).responder("sms", "inbound")
    }

    fn handle_event(&self, event: &Event<'_>, host: &Host<'_>) -> Result<(), Error> {
        self.0.handle_event(event, host)
    }
}

fn metadata() -> Metadata {
    Metadata::new(
        "SMS",
        "A text message from outside arrived for a number of the account",
    )
    .sample(json!({
        "id": "5d0c41a29b", "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
        "type": "sms", "from": "+15550001111", "to": "+15552223333", "body": "Your table is booked for 19:30",
        "origin": "offnet", "charges": 0.0075, "hook_event": "sms",
    }))
    .sample(json!({
        "id": "e77f13b0c4", "account_id": "91eb05e5c68d7ca05e7618b6821d2d16",
        "type": "sms", "from": "+15554445555", "to": "+15552223333", "body": "Running 10 minutes late",
        "origin": "offnet", "hook_event": "sms",
    }))
}

plugin_api::export_module!(Sms);

#[cfg(test)]
#[path = "../../channel_event/src/vectors.rs"]
mod vectors;

#[cfg(test)]
mod tests;
