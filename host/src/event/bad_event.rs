//! Why bytes are not an event, in the words that whoever sent them is answered.

use super::depth::DEPTH_LIMIT;

/// Why bytes are not an event. The text continues a sentence that names the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// Not UTF-8, so not JSON.
    #[error("is not UTF-8: {0}")]
    NotText(std::str::Utf8Error),
    /// Not one JSON object.
    #[error("{0}")]
    NotAnObject(String),
    /// A field that every event needs is missing.
    #[error("has no {0}; every event needs Event-Category and Event-Name")]
    Missing(&'static str),
    /// A field that every event needs is something else.
    #[error("has the {field} {found}; it should be a string that is not empty")]
    NotAName {
        /// Which field.
        field: &'static str,
        /// Its JSON text, shortened.
        found: String,
    },
    /// A field that names something is longer than it may be.
    #[error("has a {field} of {bytes} bytes, {limit} are allowed")]
    TooLong {
        /// Which field.
        field: &'static str,
        /// Its length in bytes, unescaped.
        bytes: usize,
        /// The length that is allowed.
        limit: usize,
    },
    /// It is nested deeper than [`DEPTH_LIMIT`].
    #[error("is nested deeper than {DEPTH_LIMIT} levels")]
    TooDeep,
}
