//! How much an event may be, beside its bytes: whatever a sender chooses has a bound that stands here. Pure.
//!
//! The number of its fields is bounded where they are indexed ([`plugin_api::index::MAX_FIELDS`]).

use super::BadEvent;
use super::identity::ID_LIMIT;

/// Bytes of a category and of a name: as many as fit into a routing key.
pub const NAME_LIMIT: usize = 255;

/// The first of these fields that is longer than it may be.
pub(super) fn too_long<'e>(fields: impl IntoIterator<Item = (&'static str, &'e str)>) -> Option<BadEvent> {
    fields.into_iter().find_map(|(field, text)| {
        let limit = if field.starts_with("Event-") { NAME_LIMIT } else { ID_LIMIT };
        (text.len() > limit).then_some(BadEvent::TooLong { field, bytes: text.len(), limit })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_field_has_its_limit() {
        let long = "x".repeat(ID_LIMIT + 1);
        let found = |field, bytes| too_long([(field, &long[..bytes])]);
        assert_eq!(found("Event-Name", NAME_LIMIT), None);
        let error = found("Event-Name", NAME_LIMIT + 1).unwrap();
        assert_eq!(error.to_string(), "has a Event-Name of 256 bytes, 255 are allowed");
        assert_eq!(found("Call-ID", ID_LIMIT), None);
        let error = found("Call-ID", ID_LIMIT + 1).unwrap();
        assert_eq!(error.to_string(), "has a Call-ID of 1025 bytes, 1024 are allowed");
    }
}
