//! Why a session ended, and which errors are of which kind.

use lapin::ErrorKind;
use lapin::protocol::{AMQPErrorKind, AMQPHardError};

use super::topology::words_of;

/// Why a session ended.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// It was told to.
    Stopped,
    /// The connection, the channel or the queue has gone, or never was.
    Lost(String),
    /// The connection broke over what the broker sent.
    Unreadable(String),
    /// All is well, and the window of messages is to have another size.
    Resized,
    /// Nobody reads the intake any longer, though nobody asked for a stop.
    IntakeClosed,
}

/// How an error ends a session.
pub(super) fn ended_by(error: &lapin::Error) -> SessionEnd {
    let words = words_of(error);
    if is_unreadable(error) { SessionEnd::Unreadable(words) } else { SessionEnd::Lost(words) }
}

/// Whether a connection ended over what was sent on it.
pub(super) fn is_unreadable(error: &lapin::Error) -> bool {
    match error.kind() {
        ErrorKind::ParsingError(_) => true,
        ErrorKind::ProtocolError(error) => matches!(
            error.kind(),
            AMQPErrorKind::Hard(
                AMQPHardError::FRAMEERROR | AMQPHardError::SYNTAXERROR | AMQPHardError::UNEXPECTEDFRAME
            )
        ),
        _ => false,
    }
}
