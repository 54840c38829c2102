//! A message as the customer's side names its fields: `Caller-ID-Name` becomes `caller_id_name`, at every level.
//!
//! This is `kz_json:normalize/1`: null members are dropped (in lists they stay), of two names that become one the
//! later value takes the earlier place. Values keep their JSON text, so no number loses a digit.
//!
//! The original shifts every byte C0..D6 and D8..DE by 32 as if names were Latin-1. In UTF-8 these bytes begin a
//! letter of two bytes, and no shifted one can begin such a letter: the result is never text, its JSON encoder
//! crashes on it and its forms carry broken bytes. A payload here is JSON, so other letters stay as they came, in
//! both profiles.

use std::fmt;

use foldhash::HashMap;
use plugin_api::serde_json::{self, value::RawValue};
use plugin_api::{Error, JsonWriter, Kind, Payload, Value};
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::validation::should_be;

/// Objects and lists nested deeper than this are refused, which bounds the work per byte.
pub const MAX_DEPTH: u32 = 64;

/// A name as the customer's side spells it: ASCII lower case, `_` for `-`.
#[must_use]
pub fn key(key: &str) -> String {
    key.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect()
}

/// The fields of a normalised object, in order.
#[derive(Debug, Default)]
pub struct Fields {
    fields: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Fields {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Normalises members of an event or of an object in it.
    ///
    /// # Errors
    /// Something is nested too deeply; the message names the member.
    pub fn normalised<'a>(members: impl Iterator<Item = (&'a str, Value<'a>)>) -> Result<Self, Error> {
        let mut fields = Fields::new();
        for (name, value) in members {
            fields.add(name, value)?;
        }
        Ok(fields)
    }

    /// Normalises one member and adds it, unless it is null.
    ///
    /// # Errors
    /// It is nested too deeply.
    pub fn add(&mut self, name: &str, value: Value<'_>) -> Result<(), Error> {
        if !value.is_null() {
            let json = json(value.raw(), 0).map_err(|error| Error::msg(format!("{name} {error}")))?;
            self.set(&key(name), json);
        }
        Ok(())
    }

    /// Sets a field to a string, in its place or at the end.
    pub fn set_str(&mut self, name: &str, text: &str) {
        self.set(name, serde_json::Value::from(text).to_string());
    }

    /// The JSON text of a field.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.fields[*place].1.as_str())
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self) -> Payload {
        let all = self.fields.iter();
        all.fold(JsonWriter::object(), |json, (name, value)| json.raw(name, value)).finish()
    }

    fn set(&mut self, name: &str, json: String) {
        if let Some(place) = self.places.get(name) {
            self.fields[*place].1 = json;
            return;
        }
        self.places.insert(name.to_owned(), self.fields.len());
        self.fields.push((name.to_owned(), json));
    }

    fn json(&self) -> String {
        String::from_utf8_lossy(self.payload().as_bytes()).into_owned()
    }
}

/// Normalises an object inside an event.
///
/// # Errors
/// It is not an object, or something in it is nested too deeply.
pub fn object(name: &str, value: Value<'_>) -> Result<Fields, Error> {
    if value.kind() != Kind::Object {
        return Err(should_be(name, "an object", value));
    }
    let members = Members::of(value.raw())?;
    let mut fields = Fields::new();
    members.add_to(&mut fields, 1).map_err(|error| Error::msg(format!("{name} {error}")))?;
    Ok(fields)
}

fn json(raw: &str, depth: u32) -> Result<String, Error> {
    let nested = matches!(raw.as_bytes().first(), Some(b'{' | b'['));
    if nested && depth == MAX_DEPTH {
        return Err(Error::msg(format!("is nested deeper than {MAX_DEPTH} levels")));
    }
    match raw.as_bytes().first() {
        Some(b'{') => {
            let mut fields = Fields::new();
            Members::of(raw)?.add_to(&mut fields, depth + 1)?;
            Ok(fields.json())
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw)?;
            let items: Vec<String> =
                items.into_iter().map(|item| json(item.get(), depth + 1)).collect::<Result<_, _>>()?;
            Ok(format!("[{}]", items.join(",")))
        }
        _ => Ok(raw.to_owned()),
    }
}

/// The members of an object: unescaped names, JSON text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    fn of(raw: &'a str) -> Result<Self, Error> {
        let mut json = serde_json::Deserializer::from_str(raw);
        Ok(json.deserialize_map(MembersVisitor)?)
    }

    fn add_to(&self, fields: &mut Fields, depth: u32) -> Result<(), Error> {
        for (name, value) in &self.0 {
            if value.get() != "null" {
                fields.set(&key(name), json(value.get(), depth)?);
            }
        }
        Ok(())
    }
}

struct MembersVisitor;

impl<'de> Visitor<'de> for MembersVisitor {
    type Value = Members<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Members<'de>, M::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(Members(members))
    }
}

#[cfg(test)]
#[path = "normalise_tests.rs"]
mod tests;
