//! What a module says about itself: its metadata document, its bindings and its responders.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The metadata document that `init` answers with. Its id is the module's id and is added by the host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Name shown to people.
    pub name: String,
    /// One sentence.
    pub description: String,
    /// What `custom_data` of a hook must or may say: name → `{"type":"array"|"object","items":…}`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub modifiers: Map<String, Value>,
    /// Example payloads, shown to people who configure a hook.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<Value>,
}

impl Metadata {
    /// A document with a name for people and one sentence.
    pub fn new(name: impl Into<String>, description: impl Into<String>) -> Self {
        Metadata {
            name: name.into(),
            description: description.into(),
            modifiers: Map::new(),
            samples: Vec::new(),
        }
    }

    /// Adds a modifier.
    #[must_use]
    pub fn modifier(mut self, name: &str, definition: Value) -> Self {
        self.modifiers.insert(name.to_owned(), definition);
        self
    }

    /// Adds an example payload.
    #[must_use]
    pub fn sample(mut self, payload: Value) -> Self {
        self.samples.push(payload);
        self
    }
}

/// One binding of the shared queue: an exchange and a topic pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    /// Name of the exchange.
    pub exchange: String,
    /// Topic pattern: words separated by `.`, `*` for one word, `#` for any number.
    pub routing_key: String,
}

impl Binding {
    /// A binding by exchange and pattern.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Binding { exchange: exchange.into(), routing_key: routing_key.into() }
    }

    /// Call events of one name, of any call: `call.NAME.*` on `callevt`.
    #[must_use]
    pub fn call(event_name: &str) -> Self {
        Binding::new("callevt", format!("call.{event_name}.*"))
    }

    /// Everything on KAZOO's exchange for changes of documents and databases.
    #[must_use]
    pub fn configuration() -> Self {
        Binding::new("configuration", "#")
    }

    /// A notification by the rest of its key: `voicemail.new`.
    #[must_use]
    pub fn notification(rest_of_key: &str) -> Self {
        Binding::new("notifications", format!("notifications.{rest_of_key}"))
    }

    /// Inbound messages (`sms`, `mms`) from outside: `KIND.inbound.offnet.*` on `im`.
    #[must_use]
    pub fn inbound_message(kind: &str) -> Self {
        Binding::new("im", format!("{kind}.inbound.offnet.*"))
    }
}

/// A pair of event category and name; either may be `*`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Responder {
    /// `Event-Category`.
    pub category: String,
    /// `Event-Name`.
    pub name: String,
}

/// What a module binds on the bus and which events it answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindingsAndResponders {
    /// Bindings of the shared queue.
    pub bindings: Vec<Binding>,
    /// Pairs that select an event for this module.
    pub responders: Vec<Responder>,
}

impl BindingsAndResponders {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a binding.
    #[must_use]
    pub fn binding(mut self, binding: Binding) -> Self {
        self.bindings.push(binding);
        self
    }

    /// Adds a responder.
    #[must_use]
    pub fn responder(mut self, category: &str, name: &str) -> Self {
        self.responders.push(Responder { category: category.to_owned(), name: name.to_owned() });
        self
    }
}
