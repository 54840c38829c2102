//! How deep the JSON text of an event may be nested. Pure.

/// Objects and arrays within each other: as many as a payload may have.
pub const DEPTH_LIMIT: usize = 128;

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
}
