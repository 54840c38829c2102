//! Which events KAZOO's API definitions refuse, and why: `kz_api:validate/4` and its type checks.
//!
//! The same in both profiles. A required field counts as there whatever its value, null and empty included.

use plugin_api::{Error, Event, Kind, Value};

use crate::coerce;

/// What every event has: `?DEFAULT_HEADERS` of `kz_api`.
const ENVELOPE: &[&str] = &["App-Name", "App-Version", "Event-Category", "Event-Name", "Msg-ID"];

/// What an API definition asks of an event, its envelope included.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Fields that must be there.
    pub required: &'static [&'static str],
    /// Of each of these at least one field must be there.
    pub one_of: &'static [&'static [&'static str]],
    /// Fields that have one of these values where they are there.
    pub values: &'static [(&'static str, &'static [&'static str])],
    /// Fields that have this type where they are there.
    pub types: &'static [(&'static str, Type)],
}

/// A type check of KAZOO's API definitions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// `is_binary/1`
    Text,
    /// `kz_term:is_ne_binary/1`
    NonEmptyText,
    /// `kz_term:is_pos_integer/1`
    PositiveInteger,
    /// `kz_term:is_boolean/1`
    Boolean,
    /// `kz_json:is_json_object/1`
    Object,
    /// `kz_json:are_json_objects/1`
    Objects,
    /// A list with something in it.
    NonEmptyList,
}

impl Rules {
    /// Only the envelope.
    pub const NONE: Rules = Rules { required: &[], one_of: &[], values: &[], types: &[] };

    /// Says whether the event keeps the rules.
    ///
    /// # Errors
    /// It does not; the message names the field, its value and what would be right.
    pub fn check(&self, event: &Event<'_>) -> Result<(), Error> {
        for field in ENVELOPE.iter().chain(self.required) {
            if event.get(field).is_none() {
                return Err(Error::msg(format!("the event has no {field}")));
            }
        }
        for fields in self.one_of {
            if fields.iter().all(|field| event.get(field).is_none()) {
                return Err(Error::msg(format!("the event has none of {}", fields.join(", "))));
            }
        }
        for (field, allowed) in self.values {
            check_value(field, event.get(field), allowed)?;
        }
        for (field, wanted) in self.types {
            if let Some(value) = event.get(field).filter(|value| !wanted.holds(*value)) {
                return Err(should_be(field, wanted.name(), value));
            }
        }
        Ok(())
    }
}

fn check_value(field: &str, value: Option<Value<'_>>, allowed: &[&str]) -> Result<(), Error> {
    match value {
        Some(value) if !value.str().is_some_and(|text| allowed.contains(&text)) => {
            Err(should_be(field, &allowed.join(" or "), value))
        }
        _ => Ok(()),
    }
}

/// The error for a field that is not what it must be.
#[must_use]
pub fn should_be(field: &str, wanted: &str, value: Value<'_>) -> Error {
    let raw = value.raw();
    let shown: String = raw.chars().take(60).collect();
    let more = if shown.len() < raw.len() { "…" } else { "" };
    Error::msg(format!("{field} should be {wanted} and is {shown}{more}"))
}

impl Type {
    fn holds(self, value: Value<'_>) -> bool {
        match self {
            Type::Text => value.kind() == Kind::String,
            Type::NonEmptyText => value.str().is_some_and(|text| !text.is_empty()),
            Type::PositiveInteger => {
                let digits =
                    value.kind() == Kind::Number && value.raw().bytes().all(|byte| byte.is_ascii_digit());
                digits && value.raw() != "0"
            }
            Type::Boolean => coerce::is_boolean(value),
            Type::Object => value.kind() == Kind::Object,
            Type::Objects => items(value).is_some_and(|items| items.iter().all(|item| item.starts_with('{'))),
            Type::NonEmptyList => items(value).is_some_and(|items| !items.is_empty()),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Type::Text => "a string",
            Type::NonEmptyText => "a non-empty string",
            Type::PositiveInteger => "a positive integer",
            Type::Boolean => "a boolean",
            Type::Object => "an object",
            Type::Objects => "a list of objects",
            Type::NonEmptyList => "a non-empty list",
        }
    }
}

fn items(value: Value<'_>) -> Option<Vec<&str>> {
    use plugin_api::serde_json::value::RawValue;
    let items: Vec<&RawValue> = value.parse().ok()?;
    Some(items.into_iter().map(RawValue::get).collect())
}

#[cfg(test)]
mod tests {
    use plugin_api::serde_json::{Value, json};
    use plugin_api::testing::TestHost;
    use plugin_api::{BindingsAndResponders, Host, Metadata, Module};

    use super::*;

    const RULES: Rules = Rules {
        required: &["ID"],
        one_of: &[&["From", "Sender"]],
        values: &[("Route", &["onnet", "offnet"])],
        types: &[
            ("Text", Type::Text),
            ("Name", Type::NonEmptyText),
            ("Count", Type::PositiveInteger),
            ("Flag", Type::Boolean),
            ("Map", Type::Object),
            ("Maps", Type::Objects),
            ("List", Type::NonEmptyList),
        ],
    };

    struct Checked;

    impl Module for Checked {
        fn init(_: &Host<'_>) -> Result<(Self, Metadata), Error> {
            Ok((Checked, Metadata::new("Checked", "")))
        }

        fn bindings_and_responders(&self) -> BindingsAndResponders {
            BindingsAndResponders::new()
        }

        fn handle_event(&self, event: &Event<'_>, _: &Host<'_>) -> Result<(), Error> {
            RULES.check(event)
        }
    }

    /// A good event with `fields` over it; null takes a field away.
    #[track_caller]
    fn check(fields: Value, expected: Result<(), &str>) {
        let mut event = json!({
            "App-Name": "a", "App-Version": "1", "Event-Category": "c", "Event-Name": "n", "Msg-ID": "m",
            "ID": "1", "Sender": "s",
        });
        for (name, value) in fields.as_object().unwrap() {
            if name == "-" {
                event.as_object_mut().unwrap().remove(value.as_str().unwrap());
            } else {
                event[name] = value.clone();
            }
        }
        let answer = TestHost::new().load::<Checked>().unwrap().handle(&event).map(|_| ());
        assert_eq!(answer.map_err(|error| error.to_string()), expected.map_err(str::to_owned), "{fields}");
    }

    #[test]
    fn missing_fields_are_named() {
        check(json!({}), Ok(()));
        check(json!({"ID": null}), Ok(()));
        check(json!({"-": "ID"}), Err("the event has no ID"));
        check(json!({"-": "Msg-ID"}), Err("the event has no Msg-ID"));
        check(json!({"-": "Sender"}), Err("the event has none of From, Sender"));
        check(json!({"-": "Sender", "From": ""}), Ok(()));
    }

    #[test]
    fn values_outside_the_list_are_named() {
        check(json!({"Route": "offnet"}), Ok(()));
        check(json!({"Route": "x"}), Err("Route should be onnet or offnet and is \"x\""));
        check(json!({"Route": null}), Err("Route should be onnet or offnet and is null"));
    }

    #[test]
    fn wrong_types_are_named() {
        check(json!({"Text": ""}), Ok(()));
        check(json!({"Text": 5}), Err("Text should be a string and is 5"));
        check(json!({"Name": ""}), Err("Name should be a non-empty string and is \"\""));
        check(json!({"Count": 5}), Ok(()));
        for count in [json!(0), json!(-1), json!(1.5), json!("5")] {
            check(
                json!({"Count": count}),
                Err(&format!("Count should be a positive integer and is {count}")),
            );
        }
        for flag in [json!(true), json!("false")] {
            check(json!({"Flag": flag}), Ok(()));
        }
        check(json!({"Flag": "maybe"}), Err("Flag should be a boolean and is \"maybe\""));
        check(json!({"Map": []}), Err("Map should be an object and is []"));
        check(json!({"Maps": []}), Ok(()));
        check(json!({"Maps": [{}, 1]}), Err("Maps should be a list of objects and is [{},1]"));
        check(json!({"List": [0]}), Ok(()));
        check(json!({"List": []}), Err("List should be a non-empty list and is []"));
        check(json!({"List": "x"}), Err("List should be a non-empty list and is \"x\""));
    }
}
