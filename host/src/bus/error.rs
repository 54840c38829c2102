//! What may go wrong with a binding, and with a message that is published.

use super::Binding;

/// A binding that cannot be had, or taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BusError {
    /// The exchange exists with other properties, or may not be declared or read.
    #[error("exchange {exchange:?} cannot be used: {reason}; right would be: {right}")]
    Exchange {
        /// Name of the exchange.
        exchange: String,
        /// The broker's words.
        reason: String,
        /// What the exchange has to be like.
        right: String,
    },
    /// The broker refused one binding or its removal.
    #[error("binding {binding} cannot be changed: {reason}")]
    Binding {
        /// Which one.
        binding: Binding,
        /// The broker's words.
        reason: String,
    },
    /// An exchange name or routing key is longer than AMQP's 255 bytes.
    #[error("{name:?} is {} bytes long; at most 255 fit", name.len())]
    NameTooLong {
        /// The name.
        name: String,
    },
}

/// A message that was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// No queue wants it.
    #[error("nothing is bound to exchange {exchange:?} for routing key {routing_key:?}")]
    Unroutable {
        /// Name of the exchange.
        exchange: String,
        /// The routing key.
        routing_key: String,
    },
    /// The bus cannot take anything now; trying again later may help.
    #[error("the bus is not available: {0}")]
    Unavailable(String),
    /// Whoever got it, or the broker, does not want this message.
    #[error("the message was refused: {0}")]
    Refused(String),
    /// The exchange cannot be used or a name does not fit.
    #[error(transparent)]
    Exchange(#[from] BusError),
}
