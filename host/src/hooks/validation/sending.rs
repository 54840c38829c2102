//! The fields of ours that say how a hook is sent to: its secret, its headers, its retries, its pace and order.

use serde_json::{Value, json};

use super::errors::{ValidationErrors, one_of, wrong_type};
use crate::hooks::editor::casts::{self, WantedType};
use crate::hooks::editor::fields;
use crate::hooks::vault::{self, wanted_kind};
use crate::model::headers::{self, HookHeaders};
use crate::model::rate;
use crate::model::sign::{Secret, SecretKind};
use crate::model::{Document, Ordering};

/// How many waits a schedule may have.
const MOST_WAITS: usize = 10;

/// The shortest and the longest wait, in milliseconds: a second and a day.
const WAIT_MS: std::ops::RangeInclusive<u64> = 1_000..=86_400_000;

/// Makes numbers and booleans of the texts that say them, as for the fields that KAZOO knows.
pub(super) fn cast(document: &mut Document) {
    casts::cast(document, &[("legacy_signature", WantedType::Boolean)]);
    if let Some(Value::Object(limit)) = document.get_mut("rate_limit") {
        casts::cast(limit, &[("count", WantedType::Integer), ("per_ms", WantedType::Integer)]);
    }
    if let Some(Value::Array(waits)) = document.get_mut("retry_schedule_ms") {
        waits.iter_mut().for_each(|wait| casts::cast_value(wait, WantedType::Integer));
    }
}

/// Checks them all.
pub(super) fn validate(document: &Document, errors: &mut ValidationErrors) {
    own_headers(document.get("headers"), errors);
    let kind = secret(document, errors);
    legacy_signature(document.get("legacy_signature"), kind, errors);
    retry_schedule(document.get("retry_schedule_ms"), errors);
    rate_limit(document.get("rate_limit"), errors);
    match document.get("ordering") {
        None => {}
        Some(Value::String(word)) => one_of("ordering", word, &[Ordering::Call.as_str()], errors),
        Some(other) => wrong_type("ordering", "string", other, errors),
    }
}

fn rate_limit(value: Option<&Value>, errors: &mut ValidationErrors) {
    let limit = match value {
        None => return,
        Some(Value::Object(limit)) => limit,
        Some(other) => return wrong_type("rate_limit", "object", other, errors),
    };
    for field in limit.keys().filter(|field| !["count", "per_ms"].contains(&field.as_str())) {
        let message = "is no part of a limit; it has count and per_ms";
        errors.say(&format!("rate_limit.{field}"), "error", message, json!({ "cause": field }));
    }
    for (field, allowed) in [("count", 1..=u64::from(rate::MOST)), ("per_ms", rate::PERIOD_MS)] {
        let path = format!("rate_limit.{field}");
        match limit.get(field) {
            None => errors.say(&path, "required", "field is required but missing", json!({})),
            Some(value) => whole_number(&path, value, &allowed, errors),
        }
    }
}

fn whole_number(
    path: &str,
    value: &Value,
    allowed: &std::ops::RangeInclusive<u64>,
    errors: &mut ValidationErrors,
) {
    let (least, most) = (*allowed.start(), *allowed.end());
    match fields::whole(value) {
        None => wrong_type(path, "integer", value, errors),
        Some(number) if number < least.cast_signed() => {
            let message = format!("value must be at least {least}");
            errors.say(path, "minimum", message, json!({ "target": least, "cause": value }));
        }
        Some(number) if number > most.cast_signed() => {
            let message = format!("value must be at most {most}");
            errors.say(path, "maximum", message, json!({ "target": most, "cause": value }));
        }
        Some(_) => {}
    }
}

fn own_headers(value: Option<&Value>, errors: &mut ValidationErrors) {
    let object = match value {
        None => return,
        Some(Value::Object(object)) => object,
        Some(other) => return wrong_type("headers", "object", other, errors),
    };
    if let Err(too_many) = HookHeaders::count(object) {
        return errors.say(
            "headers",
            "maxProperties",
            too_many.why,
            json!({ "target": headers::MOST, "cause": object.len() }),
        );
    }
    let mut texts = Document::new();
    for (name, value) in object {
        if value.is_string() {
            texts.insert(name.clone(), value.clone());
        } else {
            wrong_type(&format!("headers.{name}"), "string", value, errors);
        }
    }
    for bad in HookHeaders::read(&texts).err().unwrap_or_default() {
        let path = bad.name.as_ref().map_or_else(|| "headers".to_owned(), |name| format!("headers.{name}"));
        let extras = bad.name.map_or_else(|| json!({}), |name| json!({ "cause": name }));
        errors.say(&path, "error", bad.why, extras);
    }
}

/// Answers what the hook will sign with. What is wrong is told without the secret, which answers may not repeat.
fn secret(document: &Document, errors: &mut ValidationErrors) -> Option<SecretKind> {
    let text = match document.get("secret") {
        None => return vault::known(document)?.kind,
        Some(Value::String(text)) => text,
        Some(_) => {
            let message = "value did not match type(s): string";
            errors.say("secret", "type", message, json!({ "target": "string" }));
            return None;
        }
    };
    match wanted_kind(text).map_or_else(|| Secret::parse(text).map(|secret| secret.kind()), Ok) {
        Ok(kind) => Some(kind),
        Err(error) => {
            let message = format!("{error}; or be \"generate\" or \"generate-v1a\" for a new one");
            errors.say("secret", "error", message, json!({}));
            None
        }
    }
}

fn legacy_signature(value: Option<&Value>, kind: Option<SecretKind>, errors: &mut ValidationErrors) {
    let Some(value) = value else { return };
    match headers::legacy(value) {
        Err(why) => errors.say("legacy_signature", "error", why, json!({ "cause": value })),
        Ok(Some(_)) if kind != Some(SecretKind::Shared) => {
            let message = "needs a secret that begins with whsec_";
            errors.say("legacy_signature", "error", message, json!({ "cause": value }));
        }
        Ok(_) => {}
    }
}

fn retry_schedule(value: Option<&Value>, errors: &mut ValidationErrors) {
    const FIELD: &str = "retry_schedule_ms";
    let waits = match value {
        None => return,
        Some(Value::Array(waits)) => waits,
        Some(other) => return wrong_type(FIELD, "array", other, errors),
    };
    if waits.is_empty() {
        let message = "array must have at least 1 items";
        errors.say(FIELD, "minItems", message, json!({ "target": 1, "cause": value }));
    }
    if waits.len() > MOST_WAITS {
        let message = format!("array must have at most {MOST_WAITS} items");
        errors.say(FIELD, "maxItems", message, json!({ "target": MOST_WAITS, "cause": waits.len() }));
    }
    for (place, wait) in waits.iter().take(MOST_WAITS).enumerate() {
        let path = format!("{FIELD}.{place}");
        whole_number(&path, wait, &WAIT_MS, errors);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    #[track_caller]
    fn check(fields: Value, expected: Value) {
        let mut errors = ValidationErrors::default();
        validate(fields.as_object().unwrap(), &mut errors);
        assert_eq!(Value::Object(errors.to_json()), expected);
    }

    #[test]
    fn right_fields_are_right() {
        for fields in [
            json!({}),
            json!({"secret": SECRET, "legacy_signature": true}),
            json!({"secret": "generate", "legacy_signature": "x-signature"}),
            json!({"secret": "generate-v1a", "legacy_signature": false}),
            json!({"pvt_secrets": [{"kind": "v1"}], "legacy_signature": true}),
            json!({"headers": {}}),
            json!({"headers": {"X-Tenant": "acme"}}),
            json!({"retry_schedule_ms": [1000, 86_400_000]}),
            json!({"rate_limit": {"count": 1, "per_ms": 100}, "ordering": "call"}),
        ] {
            check(fields, json!({}));
        }
    }

    #[test]
    fn a_wrong_secret_is_told_and_not_repeated() {
        let wrong = json!({"error": {"message": "must have standard base64 with padding behind whsec_; \
            or be \"generate\" or \"generate-v1a\" for a new one"}});
        check(json!({"secret": "whsec_se cret"}), json!({"secret": wrong}));
        let wrong = json!({"type": {"message": "value did not match type(s): string", "target": "string"}});
        check(json!({"secret": 17}), json!({"secret": wrong}));
    }

    #[test]
    fn the_older_signature_needs_a_shared_secret() {
        let wrong = json!({"legacy_signature":
            {"error": {"message": "needs a secret that begins with whsec_", "cause": true}}});
        check(json!({"legacy_signature": true}), wrong.clone());
        check(json!({"legacy_signature": true, "secret": "generate-v1a"}), wrong.clone());
        check(json!({"legacy_signature": true, "pvt_secrets": [{"kind": "v1a"}, {"kind": "v1"}]}), wrong);
        check(
            json!({"legacy_signature": "host", "secret": SECRET}),
            json!({"legacy_signature":
                {"error": {"message": "is not a hook's to set; choose another name", "cause": "host"}}}),
        );
    }

    #[test]
    fn each_wrong_header_is_told_under_its_name() {
        check(
            json!({"headers": {"Host": "x", "x-n": 1, "x-ok": "v", "x y": "v"}}),
            json!({
                "headers.x-n": {"type": {"message": "value did not match type(s): string", "target": "string", "cause": 1}},
                "headers.Host": {"error": {"message": "is not a hook's to set; choose another name", "cause": "Host"}},
                "headers.x y": {"error": {"message": "is no header's name; use letters, digits and -", "cause": "x y"}},
            }),
        );
        check(
            json!({"headers": ["x"]}),
            json!({"headers": {"type": {"message": "value did not match type(s): object", "target": "object", "cause": ["x"]}}}),
        );
    }

    #[test]
    fn a_schedule_has_a_few_waits_of_a_second_to_a_day() {
        check(
            json!({"retry_schedule_ms": [999, 1.5, 86_400_001, 5000]}),
            json!({
                "retry_schedule_ms.0": {"minimum": {"message": "value must be at least 1000", "target": 1000, "cause": 999}},
                "retry_schedule_ms.1": {"type": {"message": "value did not match type(s): integer", "target": "integer", "cause": 1.5}},
                "retry_schedule_ms.2": {"maximum": {"message": "value must be at most 86400000", "target": 86_400_000, "cause": 86_400_001}},
            }),
        );
        let empty =
            json!({"minItems": {"message": "array must have at least 1 items", "target": 1, "cause": []}});
        check(json!({"retry_schedule_ms": []}), json!({"retry_schedule_ms": empty}));
        let many =
            json!({"maxItems": {"message": "array must have at most 10 items", "target": 10, "cause": 11}});
        check(json!({"retry_schedule_ms": vec![1000; 11]}), json!({"retry_schedule_ms": many}));
    }

    #[test]
    fn a_rate_limit_has_a_count_and_a_time() {
        check(
            json!({"rate_limit": {"count": 0, "per_ms": 99, "burst": 1}}),
            json!({
                "rate_limit.burst": {"error": {"message": "is no part of a limit; it has count and per_ms", "cause": "burst"}},
                "rate_limit.count": {"minimum": {"message": "value must be at least 1", "target": 1, "cause": 0}},
                "rate_limit.per_ms": {"minimum": {"message": "value must be at least 100", "target": 100, "cause": 99}},
            }),
        );
        check(
            json!({"rate_limit": {"count": 10_001}}),
            json!({
                "rate_limit.count": {"maximum": {"message": "value must be at most 10000", "target": 10_000, "cause": 10_001}},
                "rate_limit.per_ms": {"required": {"message": "field is required but missing"}},
            }),
        );
        check(
            json!({"rate_limit": 7}),
            json!({"rate_limit": {"type": {"message": "value did not match type(s): object", "target": "object", "cause": 7}}}),
        );
    }

    #[test]
    fn the_only_order_is_that_of_a_call() {
        check(
            json!({"ordering": "account"}),
            json!({"ordering": {"enum": {"message": "value not found in enumerated list of values",
                "cause": "account", "target": ["call"]}}}),
        );
        check(
            json!({"ordering": true}),
            json!({"ordering": {"type": {"message": "value did not match type(s): string", "target": "string", "cause": true}}}),
        );
    }
}
