//! Writes a payload as JSON text, field by field, without a tree in between.

use crate::Value;

/// A finished JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload(Vec<u8>);

impl Payload {
    /// Its text.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// A payload from a tree; slower than a [`JsonWriter`] and handy where that does not matter.
    ///
    /// # Errors
    /// The value is not an object.
    pub fn from_value(value: &serde_json::Value) -> Result<Self, crate::Error> {
        if !value.is_object() {
            return Err(crate::Error::msg("a payload is a JSON object"));
        }
        Ok(Payload(serde_json::to_vec(value)?))
    }
}

/// Writes one JSON object. Fields appear in the order of the calls.
#[derive(Debug)]
pub struct JsonWriter {
    text: Vec<u8>,
}

/// Enough for an ordinary call event's payload, so that writing it allocates once.
const ROOM: usize = 1536;

impl JsonWriter {
    /// An empty object.
    #[must_use]
    pub fn object() -> Self {
        let mut text = Vec::with_capacity(ROOM);
        text.push(b'{');
        JsonWriter { text }
    }

    /// A string.
    #[must_use]
    pub fn str(mut self, key: &str, value: &str) -> Self {
        self.key(key);
        write_string(&mut self.text, value);
        self
    }

    /// A string where there is one.
    #[must_use]
    pub fn opt_str(self, key: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.str(key, value),
            None => self,
        }
    }

    /// A value of the event as it came, where there is one.
    #[must_use]
    pub fn copy(self, key: &str, value: Option<Value<'_>>) -> Self {
        match value {
            Some(value) => self.raw(key, value.raw()),
            None => self,
        }
    }

    /// JSON text as it is; the caller vouches that it is one JSON value.
    #[must_use]
    pub fn raw(mut self, key: &str, json: &str) -> Self {
        self.key(key);
        self.text.extend_from_slice(json.as_bytes());
        self
    }

    /// A boolean.
    #[must_use]
    pub fn bool(self, key: &str, value: bool) -> Self {
        self.raw(key, if value { "true" } else { "false" })
    }

    /// A whole number.
    #[must_use]
    pub fn i64(self, key: &str, value: i64) -> Self {
        self.raw(key, &value.to_string())
    }

    /// An object inside, written by `fill`.
    #[must_use]
    pub fn nested(mut self, key: &str, fill: impl FnOnce(JsonWriter) -> JsonWriter) -> Self {
        self.key(key);
        self.text.push(b'{');
        let mut inner = fill(self);
        inner.text.push(b'}');
        inner
    }

    /// The payload.
    #[must_use]
    pub fn finish(mut self) -> Payload {
        self.text.push(b'}');
        Payload(self.text)
    }

    fn key(&mut self, key: &str) {
        if self.text.last() != Some(&b'{') {
            self.text.push(b',');
        }
        write_string(&mut self.text, key);
        self.text.push(b':');
    }
}

fn write_string(text: &mut Vec<u8>, value: &str) {
    text.push(b'"');
    let bytes = value.as_bytes();
    let mut plain_from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        text.extend_from_slice(&bytes[plain_from..at]);
        plain_from = at + 1;
        match byte {
            b'"' => text.extend_from_slice(b"\\\""),
            b'\\' => text.extend_from_slice(b"\\\\"),
            b'\n' => text.extend_from_slice(b"\\n"),
            b'\r' => text.extend_from_slice(b"\\r"),
            b'\t' => text.extend_from_slice(b"\\t"),
            control => text.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
    }
    text.extend_from_slice(&bytes[plain_from..]);
    text.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_out_in_the_order_of_the_calls() {
        let payload = JsonWriter::object()
            .str("b", "1")
            .bool("a", true)
            .i64("n", -3)
            .nested("o", |o| o.str("x", "y").raw("e", "{}"))
            .opt_str("none", None)
            .finish();
        assert_eq!(payload.as_bytes(), br#"{"b":"1","a":true,"n":-3,"o":{"x":"y","e":{}}}"#);
    }

    #[test]
    fn whatever_is_in_a_string_it_reads_back_the_same() {
        for text in ["", "plain", "a\"b\\c", "l1\r\n\tl2", "\u{0}\u{1f}", "é日本😀\u{2028}"] {
            let payload = JsonWriter::object().str(text, text).finish();
            let read: serde_json::Value = serde_json::from_slice(payload.as_bytes()).unwrap();
            assert_eq!(read[text], text);
        }
    }
}
