//! A module's payload: one JSON object, checked once, its top-level fields found without a tree of values.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// How deep a payload may be nested; the encoders recurse, and indentation grows with the depth.
pub const MAX_DEPTH: usize = 128;

/// Why bytes are not a payload.
#[derive(Debug, thiserror::Error)]
pub enum BadPayload {
    /// Not JSON, or not an object.
    #[error("the payload is not a JSON object")]
    NotAnObject(#[source] serde_json::Error),
    /// Nested too deep.
    #[error("the field {0} of the payload is nested deeper than {MAX_DEPTH} levels")]
    TooDeep(String),
}

/// The top-level fields in their order, repeated keys too; values are ranges of the payload's own bytes.
#[derive(Clone, Debug)]
pub struct Payload {
    json: Bytes,
    fields: Box<[Field]>,
    is_compact: bool,
}

#[derive(Clone, Debug)]
struct Field {
    key: FieldKey,
    value: Range<usize>,
}

/// Most keys have no escapes and are a range too.
#[derive(Clone, Debug)]
enum FieldKey {
    Plain(Range<usize>),
    Unescaped(Box<str>),
}

impl Payload {
    /// Checks the bytes and finds the fields.
    pub fn parse(json: Bytes) -> Result<Self, BadPayload> {
        let text = std::str::from_utf8(&json)
            .map_err(|error| BadPayload::NotAnObject(serde::de::Error::custom(error)))?;
        let FieldPairs(pairs) = serde_json::from_str(text).map_err(BadPayload::NotAnObject)?;
        let mut fields = Vec::with_capacity(pairs.len());
        // Braces, quotes and colons, and the commas between.
        let (mut bytes, mut is_compact) = (1 + pairs.len().max(1), true);
        for (key, value) in pairs {
            let nesting = NestedShape::of(value);
            if nesting.depth > MAX_DEPTH {
                return Err(BadPayload::TooDeep(key.into_owned()));
            }
            bytes += key.len() + 3 + value.len();
            is_compact &= !nesting.is_spaced && matches!(key, Cow::Borrowed(_));
            let key = match key {
                Cow::Borrowed(key) => FieldKey::Plain(place(text, key)),
                Cow::Owned(key) => FieldKey::Unescaped(key.into()),
            };
            fields.push(Field { key, value: place(text, value) });
        }
        is_compact &= bytes == text.len();
        Ok(Self { fields: fields.into(), json, is_compact })
    }

    /// Whether nothing stands between its tokens, and no key has an escape.
    pub fn is_compact(&self) -> bool {
        self.is_compact
    }

    /// The payload as it came.
    pub fn json(&self) -> &Bytes {
        &self.json
    }

    /// Key (unescaped) and value (raw JSON text) of each field, in order.
    pub fn fields(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        // Checked once when it was parsed; doing so again is a loop over chunks, less than a look at each field.
        let text = std::str::from_utf8(&self.json).unwrap_or_default();
        // The ranges were cut out of this very text at character boundaries.
        let at = move |place: &Range<usize>| text.get(place.clone()).unwrap_or_default();
        self.fields.iter().map(move |field| {
            let key = match &field.key {
                FieldKey::Plain(place) => at(place),
                FieldKey::Unescaped(key) => key,
            };
            (key, at(&field.value))
        })
    }

    /// The raw JSON text of a field; of a repeated one the first.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.fields().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// Where a slice lies in the text that it was cut from.
fn place(text: &str, slice: &str) -> Range<usize> {
    let start = slice.as_ptr() as usize - text.as_ptr() as usize;
    start..start + slice.len()
}

/// How the value of a field is nested.
struct NestedShape {
    /// Objects and arrays within each other, that of the payload included.
    depth: usize,
    /// Something stands between its tokens.
    is_spaced: bool,
}

impl NestedShape {
    fn of(raw: &str) -> Self {
        let mut shape = NestedShape { depth: 1, is_spaced: false };
        if !raw.starts_with(['{', '[']) {
            return shape;
        }
        let mut depth = shape.depth;
        let mut bytes = raw.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'{' | b'[' => {
                    depth += 1;
                    shape.depth = shape.depth.max(depth);
                }
                b'}' | b']' => depth -= 1,
                b' ' | b'\t' | b'\n' | b'\r' => shape.is_spaced = true,
                b'"' => loop {
                    match bytes.next() {
                        Some(b'\\') => _ = bytes.next(),
                        Some(b'"') | None => break,
                        Some(_) => {}
                    }
                },
                _ => {}
            }
        }
        shape
    }
}

/// An object's members as they stand, keys borrowed where they have no escapes.
struct FieldPairs<'a>(Vec<(Cow<'a, str>, &'a str)>);

/// `Cow<str>` alone never borrows when it is deserialized.
#[derive(Deserialize)]
struct BorrowedKey<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for FieldPairs<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonMembers;

        impl<'de> Visitor<'de> for JsonMembers {
            type Value = FieldPairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut pairs = Vec::with_capacity(32);
                while let Some(BorrowedKey(key)) = map.next_key()? {
                    pairs.push((key, map.next_value::<&RawValue>()?.get()));
                }
                Ok(FieldPairs(pairs))
            }
        }

        deserializer.deserialize_map(JsonMembers)
    }
}

/// The members of a nested object, from JSON text that was checked before; nothing when it is none.
pub(crate) fn members(raw: &str) -> Vec<(Cow<'_, str>, &str)> {
    serde_json::from_str::<FieldPairs<'_>>(raw).map(|pairs| pairs.0).unwrap_or_default()
}

/// The elements of a nested array, likewise.
pub(crate) fn elements(raw: &str) -> Vec<&str> {
    let elements = serde_json::from_str::<Vec<&RawValue>>(raw).unwrap_or_default();
    elements.into_iter().map(RawValue::get).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(json: &str) -> Result<Payload, BadPayload> {
        Payload::parse(Bytes::copy_from_slice(json.as_bytes()))
    }

    #[test]
    fn fields_keep_their_order_their_text_and_their_repetitions() {
        let payload = parse(" { \"a\" : 1e3 ,\"\\u0062\": [ 1, {}],\"a\":\"\\u00e9\" } ").unwrap();
        let fields: Vec<_> = payload.fields().collect();
        assert_eq!(fields, [("a", "1e3"), ("b", "[ 1, {}]"), ("a", "\"\\u00e9\"")]);
        assert_eq!(payload.get("a"), Some("1e3"));
    }

    #[test]
    fn compact_is_what_has_nothing_between_its_tokens() {
        for json in ["{}", r#"{"a":1}"#, r#"{"a":1,"b":"x y","c":[1,{"d":" "}],"é":{}}"#, r#"{"a":"\u0020"}"#]
        {
            assert!(parse(json).unwrap().is_compact(), "{json}");
        }
        for json in
            ["{ }", r#"{"a": 1}"#, r#"{"a":1 }"#, r#"{"a":1,"b":[1, 2]}"#, "{\"a\":{\n}}", r#"{"\u0061":1}"#]
        {
            assert!(!parse(json).unwrap().is_compact(), "{json}");
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for json in ["", "[]", "{", "{\"a\":}", "{}x", "1"] {
            assert!(matches!(parse(json), Err(BadPayload::NotAnObject(_))), "{json}");
        }
        assert!(Payload::parse(Bytes::from_static(b"{\"a\":\"\xff\"}")).is_err());
    }

    #[test]
    fn what_is_nested_too_deep_is_refused_and_brackets_in_strings_do_not_count() {
        let deep = |levels: usize| format!("{{\"k\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(MAX_DEPTH - 1)).is_ok());
        assert!(matches!(parse(&deep(MAX_DEPTH)), Err(BadPayload::TooDeep(key)) if key == "k"));
        assert!(parse(&format!("{{\"k\":[\"\\\"{}\"]}}", "[".repeat(1000))).is_ok());
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_or_refused_without_a_panic(bytes in any::<Vec<u8>>()) {
            if let Ok(payload) = Payload::parse(Bytes::from(bytes)) {
                prop_assert_eq!(payload.fields().count(), payload.len());
            }
        }
    }
}
