//! How much an event may be, beside its bytes: whatever a sender chooses has a bound that stands here. Pure.
//!
//! The number of its fields is bounded where they are indexed ([`plugin_api::index::MAX_FIELDS`]).

use super::BadEvent;
use super::identity::ID_LIMIT;

/// Bytes of a category and of a name: as many as fit into a routing key.
pub const NAME_LIMIT: usize = 255;

/// Objects and arrays within each other: as many as a payload may have.
pub const DEPTH_LIMIT: usize = 128;

/// The first of these fields that is longer than it may be.
pub(super) fn too_long<'e>(fields: impl IntoIterator<Item = (&'static str, &'e str)>) -> Option<BadEvent> {
    fields.into_iter().find_map(|(field, text)| {
        let limit = if field.starts_with("Event-") { NAME_LIMIT } else { ID_LIMIT };
        (text.len() > limit).then_some(BadEvent::TooLong { field, bytes: text.len(), limit })
    })
}

/// Whether a JSON text is nested deeper than [`DEPTH_LIMIT`].
pub(super) fn is_too_deep(text: &str) -> bool {
    // Almost no event has so many brackets, and counting them is a loop over chunks.
    let opening: usize = text.as_bytes().chunks(255).map(opening_in).sum();
    opening > DEPTH_LIMIT && depth(text) > DEPTH_LIMIT
}

fn opening_in(chunk: &[u8]) -> usize {
    // A brace is a bracket with another bit set.
    usize::from(chunk.iter().fold(0_u8, |count, byte| count.wrapping_add(u8::from(byte & !0x20 == b'['))))
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'{' | b'[' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => skip_text(&mut bytes),
            _ => {}
        }
    }
    deepest
}

fn skip_text(bytes: &mut std::str::Bytes<'_>) {
    while let Some(byte) = bytes.next() {
        match byte {
            b'"' => return,
            b'\\' => drop(bytes.next()),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: bool) {
        assert_eq!(is_too_deep(text), expected, "{text:.40}");
    }

    #[test]
    fn depth_is_what_is_open_at_once_and_brackets_in_texts_do_not_count() {
        let nested = |levels: usize| format!("{}1{}", "{\"a\":[".repeat(levels / 2), "]}".repeat(levels / 2));
        check("{}", false);
        check(&nested(DEPTH_LIMIT), false);
        check(&nested(DEPTH_LIMIT + 2), true);
        check(&format!("[{}{{}}]", "[],".repeat(10_000)), false);
        check(&format!("{{\"a\":\"{}\"}}", "[{".repeat(10_000)), false);
        check(&format!("{{\"a\":\"\\\\\",\"b\":{}", "[".repeat(DEPTH_LIMIT)), true);
        check(&format!("{{\"a\":\"\\\"{}\"}}", "[".repeat(DEPTH_LIMIT)), false);
    }

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
