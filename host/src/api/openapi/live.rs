//! What the loaded modules add to the description: the events that a hook can name, and what it must say for them.

use serde_json::{Value, json};

use crate::hooks::validation::{Events, allowed};
use crate::model::Document;

/// Completes the shape of a new hook.
pub(super) fn complete(description: &mut Value, events: &Events) {
    let names = json!(events.names());
    if let Some(patch) = description.pointer_mut("/components/schemas/WebhookPatch/properties/hook") {
        patch["enum"] = names.clone();
    }
    let Some(hook) = description.pointer_mut("/components/schemas/NewWebhook") else { return };
    hook["properties"]["hook"]["enum"] = names;
    let conditions = events.names().into_iter().filter_map(|name| {
        let required = conditions(events.modifiers(name)?);
        Some(json!({
            "if": {"properties": {"hook": {"const": name}}, "required": ["hook"]},
            "then": {"properties": {"custom_data": required}, "required": ["custom_data"]},
        }))
    });
    let signed = json!({
        "if": {"properties": {"legacy_signature": {"not": {"enum": [false, "false", null]}}}, "required": ["legacy_signature"]},
        "then": {"properties": {"secret": {"pattern": "^(?:generate$|whsec_)"}}, "required": ["secret"]},
    });
    // They are two names of one thing; both would have to say the same, which no schema can tell.
    let one_name = json!({"not": {"required": ["headers", "custom_request_headers"]}});
    hook["allOf"] = conditions.chain([signed, one_name]).collect();
}

fn conditions(modifiers: &Document) -> Value {
    let of = |(key, rule): (&String, &Value)| {
        let schema = allowed(rule).map_or_else(|| json!({}), |words| json!({ "enum": words }));
        (key.clone(), schema)
    };
    let properties: Document = modifiers.iter().map(of).collect();
    json!({"properties": properties, "required": modifiers.keys().collect::<Vec<_>>()})
}
