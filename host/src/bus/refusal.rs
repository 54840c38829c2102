//! Why a message can never be used, in the words that a poster is answered.

use std::fmt;

/// Why a message can never be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The content type is none that is understood.
    #[error("content type {0:?} is not understood; application/json and application/erlang are")]
    ContentType(String),
    /// The content encoding is none that is understood.
    #[error("content encoding {0:?} is not understood; gzip and none at all are")]
    ContentEncoding(String),
    /// The text of the event is, or would become, longer than the limit in bytes.
    #[error("the event is larger than {limit} bytes")]
    TooLarge {
        /// Allowed length in bytes.
        limit: usize,
    },
    /// The body says that it is gzip and is not.
    #[error("the body is not gzip: {0}")]
    Gzip(String),
    /// The body says that it is an Erlang term and is none that stands for JSON.
    #[error("the body is not an erlang term that stands for json: {0}")]
    Term(String),
    /// The JSON text is not an event.
    #[error("{0}")]
    Event(String),
}

impl Refusal {
    /// The JSON text is not an event, for this reason.
    pub fn event(reason: impl fmt::Display) -> Self {
        Self::Event(reason.to_string())
    }
}
