//! A JSON object parsed once into a flat index of borrowed values: what a host lends to modules.

use std::fmt;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::abi::kind;

/// Objects nested deeper than this are reachable as JSON text only, which bounds the work per byte.
pub const MAX_DEPTH: u32 = 16;

/// Members that an event may have, those of the objects in it included: each costs some 80 bytes of memory.
pub const MAX_FIELDS: usize = 100_000;

/// An object's members, and those of the objects in it, found by parent and name.
#[derive(Debug)]
pub struct Index {
    nodes: Vec<Node>,
    /// Open addressing over node numbers; 0 (the event itself) means empty.
    slots: Vec<u32>,
    /// Of this index alone: names are chosen by whoever sends the event, and must not be able to share a slot on purpose.
    seed: RandomState,
    /// Text that the event only holds in escaped form.
    unescaped: String,
}

#[derive(Clone, Copy, Debug)]
struct Node {
    parent: u32,
    kind: u32,
    key: Span,
    raw: Span,
    text: Span,
    first_child: u32,
    children: u32,
    depth: u32,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    start: u32,
    len: u32,
    unescaped: bool,
}

/// A value in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Located<'a> {
    /// Number of the value, for looking further inside it.
    pub node: u32,
    /// One of [`kind`].
    pub kind: u32,
    /// Unescaped name.
    pub key: &'a str,
    /// JSON text.
    pub raw: &'a str,
    /// Unescaped text of a string.
    pub text: &'a str,
}

/// Why a text is not an event.
#[derive(Debug)]
pub struct NotAnObject(String);

impl fmt::Display for NotAnObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotAnObject {}

impl Index {
    /// Indexes a JSON object. The same `text` must be given to every look-up.
    ///
    /// # Errors
    /// It is not one JSON object (with line and column), has more than [`MAX_FIELDS`] members, or is larger than 4 GiB.
    pub fn of(text: &str) -> Result<Self, NotAnObject> {
        let len = u32::try_from(text.len()).map_err(|_| NotAnObject("is larger than 4 GiB".to_owned()))?;
        let whole = Span { start: 0, len, unescaped: false };
        let root = Node {
            parent: 0,
            kind: kind::OBJECT,
            key: NO_TEXT,
            raw: whole,
            text: NO_TEXT,
            first_child: 0,
            children: 0,
            depth: 0,
        };
        let mut index = Index {
            nodes: Vec::with_capacity(96),
            slots: Vec::new(),
            seed: RandomState::default(),
            unescaped: String::new(),
        };
        index.nodes.push(root);
        // Breadth first, so that the members of an object stand side by side.
        let mut at = 0;
        while at < index.nodes.len() {
            if index.nodes[at].kind == kind::OBJECT && index.nodes[at].depth < MAX_DEPTH {
                index.add_members(text, at)?;
            }
            at += 1;
        }
        index.build_slots(text);
        Ok(index)
    }

    fn add_members(&mut self, text: &str, at: usize) -> Result<(), NotAnObject> {
        let object = self.nodes[at];
        let first_child = len_u32(self.nodes.len());
        let start = object.raw.start as usize;
        let raw = text.get(start..start + object.raw.len as usize).unwrap_or_default();
        let members = Members { index: self, text, parent: len_u32(at), depth: object.depth + 1 };
        let mut json = serde_json::Deserializer::from_str(raw);
        json.deserialize_map(members).and_then(|()| json.end()).map_err(|error| {
            match self.nodes.len() > MAX_FIELDS {
                true => NotAnObject(format!("has more than {MAX_FIELDS} fields")),
                false => NotAnObject(format!("is not a JSON object: {error}")),
            }
        })?;
        self.nodes[at].first_child = first_child;
        self.nodes[at].children = len_u32(self.nodes.len()) - first_child;
        Ok(())
    }

    fn build_slots(&mut self, text: &str) {
        let size = (self.nodes.len() * 2).next_power_of_two();
        self.slots = vec![0; size];
        for node in 1..self.nodes.len() {
            let Node { parent, key, .. } = self.nodes[node];
            let key = slice(text, &self.unescaped, key);
            let (slot, _) = self.slot_of(text, parent, key);
            // A repeated name: the later one is found, as in every JSON parser.
            self.slots[slot] = len_u32(node);
        }
    }

    /// The slot of a member, or the empty one where it would be; and how many others were looked at before.
    fn slot_of(&self, text: &str, parent: u32, key: &str) -> (usize, usize) {
        let mask = self.slots.len() - 1;
        let mut slot = self.hash(parent, key) & mask;
        let mut steps = 0;
        loop {
            let node = self.slots[slot];
            if node == 0 {
                return (slot, steps);
            }
            let candidate = self.nodes[node as usize];
            if candidate.parent == parent && slice(text, &self.unescaped, candidate.key) == key {
                return (slot, steps);
            }
            slot = (slot + 1) & mask;
            steps += 1;
        }
    }

    fn hash(&self, parent: u32, key: &str) -> usize {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u32(parent);
        hasher.write(key.as_bytes());
        let hash = hasher.finish();
        usize::try_from(hash ^ (hash >> 32)).unwrap_or(usize::MAX)
    }

    /// The member `key` of the object `parent`; 0 is the event itself.
    #[must_use]
    pub fn find<'a>(&'a self, text: &'a str, parent: u32, key: &str) -> Option<Located<'a>> {
        let node = self.slots[self.slot_of(text, parent, key).0];
        (node != 0).then(|| self.located(text, node))
    }

    /// The n-th member of the object `parent`.
    #[must_use]
    pub fn entry<'a>(&'a self, text: &'a str, parent: u32, n: u32) -> Option<Located<'a>> {
        let object = self.nodes.get(parent as usize)?;
        (n < object.children).then(|| self.located(text, object.first_child + n))
    }

    fn located<'a>(&'a self, text: &'a str, number: u32) -> Located<'a> {
        let node = self.nodes[number as usize];
        Located {
            node: number,
            kind: node.kind,
            key: slice(text, &self.unescaped, node.key),
            raw: slice(text, &self.unescaped, node.raw),
            text: slice(text, &self.unescaped, node.text),
        }
    }

    fn span(&mut self, text: &str, part: &str) -> Span {
        let offset = (part.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        if offset <= text.len() && part.len() <= text.len() - offset {
            return Span { start: len_u32(offset), len: len_u32(part.len()), unescaped: false };
        }
        let start = len_u32(self.unescaped.len());
        self.unescaped.push_str(part);
        Span { start, len: len_u32(part.len()), unescaped: true }
    }
}

struct Members<'i, 't> {
    index: &'i mut Index,
    text: &'t str,
    parent: u32,
    depth: u32,
}

impl<'de> Visitor<'de> for Members<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(mut self, mut map: M) -> Result<(), M::Error> {
        while let Some(key) = map.next_key_seed(Key)? {
            let raw: &'de RawValue = map.next_value()?;
            let raw = raw.get();
            let kind = kind_of(raw);
            let key = match key {
                KeyText::Borrowed(key) => self.index.span(self.text, key),
                KeyText::Owned(key) => self.index.span(self.text, &key),
            };
            let text = if kind == kind::STRING { self.string_text(raw) } else { NO_TEXT };
            let raw = self.index.span(self.text, raw);
            let (parent, depth) = (self.parent, self.depth);
            self.index.nodes.push(Node { parent, kind, key, raw, text, first_child: 0, children: 0, depth });
            if self.index.nodes.len() > MAX_FIELDS {
                return Err(de::Error::custom("too many fields"));
            }
        }
        Ok(())
    }
}

impl Members<'_, '_> {
    fn string_text(&mut self, raw: &str) -> Span {
        let inner = raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default();
        if inner.contains('\\') {
            // A lone surrogate has no text: the escapes are then handed out as they stand.
            if let Ok(unescaped) = serde_json::from_str::<String>(raw) {
                return self.index.span("", &unescaped);
            }
        }
        self.index.span(self.text, inner)
    }
}

const NO_TEXT: Span = Span { start: 0, len: 0, unescaped: false };

enum KeyText<'de> {
    Borrowed(&'de str),
    Owned(String),
}

struct Key;

impl<'de> de::DeserializeSeed<'de> for Key {
    type Value = KeyText<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<KeyText<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = KeyText<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<KeyText<'de>, E> {
        Ok(KeyText::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<KeyText<'de>, E> {
        Ok(KeyText::Owned(text.to_owned()))
    }
}

fn kind_of(raw: &str) -> u32 {
    match raw.as_bytes().first() {
        Some(b'{') => kind::OBJECT,
        Some(b'[') => kind::ARRAY,
        Some(b'"') => kind::STRING,
        Some(b't') => kind::TRUE,
        Some(b'f') => kind::FALSE,
        Some(b'n') => kind::NULL,
        _ => kind::NUMBER,
    }
}

fn slice<'a>(text: &'a str, unescaped: &'a str, span: Span) -> &'a str {
    let source = if span.unescaped { unescaped } else { text };
    let start = span.start as usize;
    source.get(start..start + span.len as usize).unwrap_or_default()
}

fn len_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, path: &[&str], expected_raw: Option<&str>) {
        let index = Index::of(text).unwrap();
        let mut node = 0;
        let mut raw = Some(text);
        for key in path {
            let found = index.find(text, node, key);
            raw = found.map(|found| found.raw);
            node = found.map_or(u32::MAX, |found| found.node);
        }
        assert_eq!(raw, expected_raw);
    }

    #[test]
    fn values_are_found_by_their_path() {
        let text = r#"{"a":1,"b":{"a":"x","c":{"d":[1,2]}},"n":null,"e":""}"#;
        check(text, &["a"], Some("1"));
        check(text, &["b", "a"], Some("\"x\""));
        check(text, &["b", "c", "d"], Some("[1,2]"));
        check(text, &["n"], Some("null"));
        check(text, &["e"], Some("\"\""));
        check(text, &["c"], None);
        check(text, &["a", "a"], None);
    }

    #[test]
    fn escaped_names_and_strings_are_found_by_what_they_mean() {
        let text = r#"{"\u0061\"":"l1\nl2","plain":"caf\u00e9","lone":"\ud800"}"#;
        let index = Index::of(text).unwrap();
        assert_eq!(index.find(text, 0, "a\"").unwrap().text, "l1\nl2");
        assert_eq!(index.find(text, 0, "plain").unwrap().text, "café");
        assert_eq!(index.find(text, 0, "lone").unwrap().text, "\\ud800");
    }

    #[test]
    fn a_repeated_name_means_its_last_value() {
        check(r#"{"a":1,"a":2}"#, &["a"], Some("2"));
    }

    #[test]
    fn members_keep_their_order() {
        let text = r#"{"z":1,"a":{"y":2,"b":3}}"#;
        let index = Index::of(text).unwrap();
        let inner = index.find(text, 0, "a").unwrap().node;
        let keys = |node| (0..).map_while(|n| index.entry(text, node, n)).map(|e| e.key).collect::<Vec<_>>();
        assert_eq!(keys(0), ["z", "a"]);
        assert_eq!(keys(inner), ["y", "b"]);
    }

    #[test]
    fn what_is_not_an_object_is_refused_with_its_place() {
        for text in ["", "[]", "1", "{", "{\"a\":}", "{\"a\":1}x", "{\"a\":1,}", "nul"] {
            let error = Index::of(text).unwrap_err().to_string();
            assert!(error.starts_with("is not a JSON object: "), "{text}: {error}");
        }
    }

    /// Where the hash of earlier versions, which had no seed, put a member of the event itself.
    fn unseeded_slot(key: &str, mask: usize) -> usize {
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write_u32(0);
        hasher.write(key.as_bytes());
        let hash = hasher.finish();
        usize::try_from(hash ^ (hash >> 32)).unwrap() & mask
    }

    /// Steps to find every member of an event of these names, on average.
    fn steps_per_name(names: &[String]) -> usize {
        let members: Vec<String> = names.iter().map(|name| format!("{name:?}:1")).collect();
        let text = format!("{{{}}}", members.join(","));
        let index = Index::of(&text).unwrap();
        let steps: usize = names.iter().map(|name| index.slot_of(&text, 0, name).1).sum();
        steps / names.len()
    }

    #[test]
    fn names_that_shared_a_slot_of_the_hash_without_a_seed_are_found_as_fast_as_others() {
        let names = 1_000;
        let mask = ((names + 1) * 2_usize).next_power_of_two() - 1;
        let colliding: Vec<String> = (0..)
            .map(|number: u32| format!("field-{number:08}"))
            .filter(|name| unseeded_slot(name, mask) == 0)
            .take(names)
            .collect();
        let plain: Vec<String> = (0..names).map(|number| format!("field-{number:08}")).collect();
        assert!(steps_per_name(&plain) < 8);
        assert!(steps_per_name(&colliding) < 8);
    }

    #[test]
    fn steps_do_not_grow_with_the_number_of_names() {
        for names in [1_000, 4_000, 16_000, 64_000] {
            let names: Vec<String> = (0..names).map(|number| format!("{number:x}")).collect();
            assert!(steps_per_name(&names) < 8, "{}", names.len());
        }
    }

    #[test]
    fn the_number_of_fields_is_bounded_wherever_they_are() {
        let object = |fields: usize| {
            let members: Vec<String> = (0..fields).map(|number| format!("\"{number}\":1")).collect();
            format!("{{{}}}", members.join(","))
        };
        let inside = |fields: usize| format!("{{\"a\":{},\"b\":{}}}", object(fields), object(fields));
        assert!(Index::of(&object(MAX_FIELDS - 1)).is_ok());
        assert!(Index::of(&inside(MAX_FIELDS / 2 - 2)).is_ok());
        for text in [object(MAX_FIELDS), inside(MAX_FIELDS / 2)] {
            assert_eq!(Index::of(&text).unwrap_err().to_string(), "has more than 100000 fields");
        }
    }

    #[test]
    fn deep_nesting_is_text_from_a_depth_on() {
        let deep = 60;
        let text = format!("{}1{}", "{\"a\":".repeat(deep), "}".repeat(deep));
        let index = Index::of(&text).unwrap();
        assert_eq!(index.nodes.len(), 1 + MAX_DEPTH as usize);
    }
}
