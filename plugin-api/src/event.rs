//! An event as a module sees it: look-ups into what the host has parsed, nothing copied.

use crate::Error;
use crate::abi::{self, EventRef, kind};

/// One event, lent for one call.
#[derive(Clone, Copy)]
pub struct Event<'a> {
    event: EventRef<'a>,
}

/// What kind of JSON a [`Value`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number.
    Number,
    /// A string.
    String,
    /// An array.
    Array,
    /// An object.
    Object,
}

/// A value inside an event.
#[derive(Clone, Copy)]
pub struct Value<'a> {
    event: EventRef<'a>,
    found: abi::Found<'a>,
}

impl<'a> Event<'a> {
    pub(crate) fn new(event: EventRef<'a>) -> Self {
        Event { event }
    }

    /// `Event-Category`.
    #[must_use]
    pub fn category(&self) -> &'a str {
        self.event.category.as_str()
    }

    /// `Event-Name`.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.event.name.as_str()
    }

    /// The whole event as it came.
    #[must_use]
    pub fn json(&self) -> &'a [u8] {
        self.event.json.as_slice()
    }

    /// The value of a field, `null` included; `None` where there is no such field.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        find(self.event, 0, key)
    }

    /// The value at a path of fields: `["Custom-Channel-Vars", "Account-ID"]`.
    #[must_use]
    pub fn at(&self, path: &[&str]) -> Option<Value<'a>> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.get(first)?, |value, key| value.get(key))
    }

    /// The text of a field that is a string and not empty.
    #[must_use]
    pub fn str(&self, key: &str) -> Option<&'a str> {
        self.get(key)?.str().filter(|text| !text.is_empty())
    }

    /// Like [`str`](Event::str), with an error that names the field.
    ///
    /// # Errors
    /// The field is missing, empty or not a string.
    pub fn required_str(&self, key: &str) -> Result<&'a str, Error> {
        match self.get(key) {
            None => Err(Error::msg(format!("the event has no {key}"))),
            Some(value) => value.str().filter(|text| !text.is_empty()).ok_or_else(|| {
                Error::msg(format!("{key} should be a non-empty string and is {}", shortened(value.raw())))
            }),
        }
    }

    /// The fields of the event in their order.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        entries(self.event, 0)
    }
}

impl<'a> Value<'a> {
    /// Its kind.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self.found.kind {
            kind::FALSE | kind::TRUE => Kind::Boolean,
            kind::NUMBER => Kind::Number,
            kind::STRING => Kind::String,
            kind::ARRAY => Kind::Array,
            kind::OBJECT => Kind::Object,
            _ => Kind::Null,
        }
    }

    /// Its JSON text as it stood in the event.
    #[must_use]
    pub fn raw(&self) -> &'a str {
        self.found.raw.as_str()
    }

    /// The text of a string.
    #[must_use]
    pub fn str(&self) -> Option<&'a str> {
        (self.found.kind == kind::STRING).then(|| self.found.text.as_str())
    }

    /// A boolean.
    #[must_use]
    pub fn bool(&self) -> Option<bool> {
        match self.found.kind {
            kind::TRUE => Some(true),
            kind::FALSE => Some(false),
            _ => None,
        }
    }

    /// A whole number that fits.
    #[must_use]
    pub fn i64(&self) -> Option<i64> {
        (self.found.kind == kind::NUMBER).then(|| self.raw().parse().ok()).flatten()
    }

    /// Whether it is `null`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.kind() == Kind::Null
    }

    /// A member of an object.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<Value<'a>> {
        find(self.event, self.found.node, key)
    }

    /// The members of an object in their order; nothing for other kinds.
    pub fn entries(&self) -> impl Iterator<Item = (&'a str, Value<'a>)> + use<'a> {
        let of_object = self.found.kind == kind::OBJECT;
        entries(self.event, self.found.node).take_while(move |_| of_object)
    }

    /// The value read into a type of the author's.
    ///
    /// # Errors
    /// It does not have that shape.
    pub fn parse<T: serde::Deserialize<'a>>(&self) -> Result<T, Error> {
        Ok(serde_json::from_str(self.raw())?)
    }
}

fn find<'a>(event: EventRef<'a>, node: u32, key: &str) -> Option<Value<'a>> {
    let found = (event.vt.find())(event.ctx, node, key.into());
    (found.kind != kind::ABSENT).then_some(Value { event, found })
}

fn entries<'a>(event: EventRef<'a>, node: u32) -> impl Iterator<Item = (&'a str, Value<'a>)> {
    (0..).map_while(move |n| {
        let entry = (event.vt.entry())(event.ctx, node, n);
        let present = entry.value.kind != kind::ABSENT;
        present.then(|| (entry.key.as_str(), Value { event, found: entry.value }))
    })
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}
