//! The fields of a JSON object as texts in one piece of memory: as trees of values those of a large object take up ten
//! times and more what they have as text, and hooks hold them for as long as they exist. Pure.

use serde_json::{Map, Value};

/// The fields of an object in their order, found by their names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompactFields {
    /// Name and value of each field, one behind the other, the values as compact JSON.
    text: Box<str>,
    /// Where each field begins, and where its value does.
    places: Box<[(usize, usize)]>,
    /// The fields by their names.
    by_name: Box<[u32]>,
}

impl From<&Map<String, Value>> for CompactFields {
    fn from(object: &Map<String, Value>) -> Self {
        let (mut text, mut places) = (String::new(), Vec::with_capacity(object.len()));
        for (name, value) in object {
            let begin = text.len();
            text.push_str(name);
            places.push((begin, text.len()));
            text.push_str(&value.to_string());
        }
        let mut fields = Self { text: text.into(), places: places.into(), by_name: Box::default() };
        // No text in memory has more fields than that.
        let mut by_name: Vec<u32> = (0..u32::try_from(fields.len()).unwrap_or(u32::MAX)).collect();
        by_name.sort_unstable_by_key(|at| fields.field(*at as usize).0);
        fields.by_name = by_name.into();
        fields
    }
}

impl CompactFields {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Name and value (JSON text) of each field, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> {
        (0..self.len()).map(|at| self.field(at))
    }

    /// The value of a field, as JSON text.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.by_name.binary_search_by_key(&name, |at| self.field(*at as usize).0).ok()?;
        self.by_name.get(found).map(|at| self.field(*at as usize).1)
    }

    fn field(&self, at: usize) -> (&str, &str) {
        let Some((begin, value)) = self.places.get(at).copied() else { return ("", "") };
        let end = self.places.get(at + 1).map_or(self.text.len(), |(next, _)| *next);
        // The places were noted while this very text was written.
        let part = |from, to| self.text.get(from..to).unwrap_or_default();
        (part(begin, value), part(value, end))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn fields_keep_their_order_and_are_found_by_name() {
        let object = json!({"z": 1, "": null, "a\"\u{1}ü": "ü\n", "b": {"y": [1, 2.5], "x": {}}, "A": true});
        let fields = CompactFields::from(object.as_object().unwrap());

        let texts: Vec<(&str, &str)> = fields.iter().collect();
        let expected = [
            ("z", "1"),
            ("", "null"),
            ("a\"\u{1}ü", "\"ü\\n\""),
            ("b", r#"{"y":[1,2.5],"x":{}}"#),
            ("A", "true"),
        ];
        assert_eq!(texts, expected);
        for (name, value) in expected {
            assert_eq!(fields.get(name), Some(value), "{name:?}");
        }
        assert_eq!((fields.get("y"), fields.get("zz"), fields.len()), (None, None, 5));
    }

    #[test]
    fn an_object_without_fields_has_none() {
        let fields = CompactFields::from(&Map::new());
        assert!(fields.is_empty() && fields.iter().next().is_none() && fields.get("").is_none());
    }

    #[test]
    fn many_small_fields_take_up_little_more_than_their_text() {
        let object: Map<String, Value> = (0..1_000).map(|n| (format!("x-{n:05}"), json!("v"))).collect();
        let fields = CompactFields::from(&object);
        let bytes = fields.text.len() + size_of_val(&*fields.places) + size_of_val(&*fields.by_name);
        assert!(bytes < 40 * fields.len(), "{bytes}");
    }
}
