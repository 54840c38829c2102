//! What a module says when it cannot go on.

use std::fmt;

/// A message for the operator. Any error converts into it with `?`.
///
/// It is not itself a `std::error::Error`, as that would forbid the conversion.
pub struct Error(String);

impl Error {
    /// An error with this text: lower case, no full stop, naming the field and the value.
    pub fn msg(text: impl Into<String>) -> Self {
        Error(text.into())
    }

    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text.push_str(": ");
            text.push_str(&cause.to_string());
            source = cause.source();
        }
        Error(text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
