//! Names of exchanges, queues and routing keys, as AMQP wants them.

use lapin::types::ShortString;

use crate::bus::BusError;

/// Refuses a name that does not fit.
pub(super) fn check_name(name: &str) -> Result<(), BusError> {
    if name.len() > 255 {
        return Err(BusError::NameTooLong { name: name.to_owned() });
    }
    Ok(())
}

/// A name as AMQP wants it. Whatever comes from outside was checked; what is ours is short.
pub(super) fn name(text: &str) -> ShortString {
    ShortString::try_new(text).unwrap_or_default()
}
