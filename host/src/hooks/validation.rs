//! Which hook documents the API takes, and what it says about the others.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::editor::casts::{self, WantedType};
use crate::model::CHANNEL_EVENTS;
use crate::model::{Document, HookEvent};

mod addresses;
mod errors;
mod sending;

pub use addresses::UriRules;
pub use errors::{ValidationError, ValidationErrors};
use errors::{one_of, wrong_type};

/// Events that only old documents name; nobody can ask for them.
pub(crate) const RETIRED: [&str; 4] = ["callflow", "inbound_fax", "outbound_fax", "skel"];

/// The events that loaded modules announce, each with its `modifiers` from the module's metadata.
#[derive(Clone, Debug, Default)]
pub struct Events(BTreeMap<String, Option<Document>>);

impl Events {
    /// Adds an event (`channel_create`, `object`), or replaces its modifiers.
    pub fn insert(&mut self, name: impl Into<String>, modifiers: Option<Document>) {
        self.0.insert(name.into(), modifiers);
    }

    /// What a hook may name: `all` and every announced event, sorted, without the retired ones.
    pub fn names(&self) -> Vec<&str> {
        let announced = self.0.keys().map(String::as_str).filter(|name| !RETIRED.contains(name));
        let mut names: Vec<_> = announced.chain(["all"]).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Whether the original would load a hook of this event: `all` and the channel events always, others
    /// when a module announces them.
    pub fn knows(&self, event: &HookEvent) -> bool {
        match event {
            HookEvent::All => true,
            HookEvent::Named(name) => CHANNEL_EVENTS.contains(&&**name) || self.0.contains_key(&**name),
        }
    }

    /// The conditions that hooks of this event must state in their custom_data.
    pub fn modifiers(&self, name: &str) -> Option<&Document> {
        self.0.get(name)?.as_ref()
    }
}

/// Fields of Crossbar's schema that are no texts; forms send them as such.
const NO_TEXTS: [(&str, WantedType); 4] = [
    ("retries", WantedType::Integer),
    ("enabled", WantedType::Boolean),
    ("include_internal_legs", WantedType::Boolean),
    ("include_subaccounts", WantedType::Boolean),
];

/// Checks the public fields of a document against Crossbar's `webhooks` schema, its URL check and the
/// modifiers of the event, fills in the schema's defaults and converts texts that say a number or a boolean where one
/// belongs. All errors are told at once.
pub fn validate(document: &mut Document, events: &Events, uris: &UriRules) -> Result<(), ValidationErrors> {
    let mut errors = ValidationErrors::default();
    for (field, default) in [
        ("http_verb", json!("post")),
        ("format", json!("form-data")),
        ("retries", json!(2)),
        ("enabled", json!(true)),
        ("include_internal_legs", json!(true)),
    ] {
        document.entry(field).or_insert(default);
    }

    casts::cast(document, &NO_TEXTS);
    sending::cast(document);
    string(document, "name", true, &mut errors);
    let event = string(document, "hook", true, &mut errors);
    if let Some(event) = event {
        one_of("hook", event, &events.names(), &mut errors);
    }
    if let Some(uri) = string(document, "uri", true, &mut errors) {
        if !uris.allow(uri) {
            errors.say("uri", "error", "invalid client URL", json!({ "value": uri }));
        } else if let Some(why) = uris.refusal(uri) {
            // Clients show the message and nothing else.
            let message = format!("invalid client URL: {why}");
            errors.say("uri", "error", message, json!({ "value": uri, "cause": why }));
        }
    }
    if let Some(verb) = string(document, "http_verb", false, &mut errors) {
        one_of("http_verb", verb, &["get", "post", "put"], &mut errors);
    }
    if let Some(format) = string(document, "format", false, &mut errors) {
        one_of("format", format, &["form-data", "json"], &mut errors);
    }
    retries(document.get("retries"), &mut errors);
    for field in ["enabled", "include_internal_legs", "include_subaccounts"] {
        if let Some(value) = document.get(field).filter(|value| !value.is_boolean()) {
            wrong_type(field, "boolean", value, &mut errors);
        }
    }
    custom_data(document.get("custom_data"), event.and_then(|event| events.modifiers(event)), &mut errors);
    sending::validate(document, &mut errors);
    if errors.0.is_empty() { Ok(()) } else { Err(errors) }
}

fn string<'a>(
    document: &'a Document,
    field: &str,
    required: bool,
    errors: &mut ValidationErrors,
) -> Option<&'a str> {
    match document.get(field) {
        Some(Value::String(text)) => return Some(text),
        Some(other) => wrong_type(field, "string", other, errors),
        None if required => {
            errors.say(field, "required", "field is required but missing", json!({}));
        }
        None => {}
    }
    None
}

fn retries(value: Option<&Value>, errors: &mut ValidationErrors) {
    let Some(value) = value else { return };
    // A number without a fraction is an integer, however it is spelled.
    match value.as_f64().filter(|number| number.fract() == 0.0) {
        None => wrong_type("retries", "integer", value, errors),
        Some(number) if number < 0.0 => {
            errors.say(
                "retries",
                "minimum",
                "value must be at least 0",
                json!({"target": 0, "cause": value}),
            );
        }
        Some(number) if number > 4.0 => {
            errors.say("retries", "maximum", "value must be at most 4", json!({"target": 4, "cause": value}));
        }
        Some(_) => {}
    }
}

fn custom_data(value: Option<&Value>, modifiers: Option<&Document>, errors: &mut ValidationErrors) {
    let data = match value {
        None => None,
        Some(Value::Object(data)) => Some(data),
        Some(other) => return wrong_type("custom_data", "object", other, errors),
    };
    for (key, value) in data.into_iter().flatten().filter(|(_, value)| !value.is_string()) {
        wrong_type(&format!("custom_data.{key}"), "string", value, errors);
    }
    for (key, rule) in modifiers.into_iter().flatten() {
        let path = format!("custom_data.{key}");
        match data.and_then(|data| data.get(key)) {
            None => errors.say(&path, "required", "missing required modifier", json!({})),
            Some(Value::String(value)) => {
                if let Some(items) = allowed(rule)
                    && !items.contains(&value.as_str())
                {
                    one_of(&path, value, &items, errors);
                }
            }
            Some(_) => {} // said above
        }
    }
}

/// The values that a modifier of the metadata lets through; `None` when it does not say.
/// For a list `all` passes always, for an object its keys are the values (`cb_webhooks` does the same).
pub(crate) fn allowed(rule: &Value) -> Option<Vec<&str>> {
    let items = rule.get("items")?;
    match rule.get("type").and_then(Value::as_str)? {
        "array" => {
            let mut items: Vec<_> = items.as_array()?.iter().filter_map(Value::as_str).collect();
            if !items.contains(&"all") {
                items.push("all");
            }
            Some(items)
        }
        "object" => Some(items.as_object()?.keys().map(String::as_str).collect()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
