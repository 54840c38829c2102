//! A binding: which messages of which exchange are wanted.

use std::fmt;

/// One wish: messages of `exchange` whose routing key matches the pattern `routing_key`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Binding {
    /// Name of the exchange, for example `callevt`.
    pub exchange: String,
    /// Pattern of words between dots; `*` stands for one word, `#` for any number.
    pub routing_key: String,
}

impl Binding {
    /// A binding of the two names as they are; nothing is encoded.
    pub fn new(exchange: impl Into<String>, routing_key: impl Into<String>) -> Self {
        Self { exchange: exchange.into(), routing_key: routing_key.into() }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.exchange, self.routing_key)
    }
}
