//! Fields that KAZOO's clients write otherwise than they are kept, and what a full replacement leaves alone. Pure.

use serde_json::{Value, json};

use super::fields;
use crate::model::Document;
use crate::model::headers::HookHeaders;

/// Headers of a hook's own, as they are kept.
const HEADERS: &str = "headers";

/// The same, as KAZOO calls them since 5.4: Monster UI writes this name.
const CUSTOM_HEADERS: &str = "custom_request_headers";

/// Where KAZOO 5 keeps a key for signatures.
const SECURITY: &str = "security_settings";

/// Fields that KAZOO does not know. Its clients leave them out when they write a whole hook, and mean nothing by it.
const OURS: [&str; 5] = [HEADERS, "rate_limit", "ordering", "retry_schedule_ms", "legacy_signature"];

/// Fields of KAZOO 5 that have no meaning here, each with what would have one. What was stored of them by an older host
/// is not shown.
const REFUSED: [(&str, &str); 2] = [
    (SECURITY, "requests are signed as `secret` says (Standard Webhooks); set that, \"generate\" makes one"),
    ("version", "there is one version of payloads; leave it out"),
];

/// Under which of its names a client wrote the headers of a hook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadersName {
    Ours,
    Kazoos,
}

/// Turns what a client wrote into fields as they are kept: the headers under one name, and nothing that has no effect.
/// `stored` is the hook as it was before.
///
/// # Errors
/// The data of a validation error.
pub(super) fn translate(public: &mut Document, stored: Option<&Document>) -> Result<HeadersName, Value> {
    refuse(public)?;
    let custom = public.shift_remove(CUSTOM_HEADERS);
    let Some(custom) = custom else { return Ok(HeadersName::Ours) };
    // An empty object is what forms write for none.
    let custom = Some(custom).filter(|custom| custom.as_object().is_none_or(|object| !object.is_empty()));
    let custom = custom.unwrap_or(Value::Null);
    let Some(own) = public.get(HEADERS) else {
        public.insert(HEADERS.to_owned(), custom);
        return Ok(HeadersName::Kazoos);
    };
    let own = if own.as_object().is_some_and(Document::is_empty) { &Value::Null } else { own };
    let before = stored.and_then(headers_of).unwrap_or_default();
    let before = if before.is_empty() { Value::Null } else { Value::Object(before) };
    match (*own == custom, *own == before, custom == before) {
        // A client that sends back what it read has changed one of them, or none.
        (true, ..) | (_, _, true) => Ok(HeadersName::Ours),
        (_, true, _) => {
            public.insert(HEADERS.to_owned(), custom);
            Ok(HeadersName::Kazoos)
        }
        _ => Err(json!({CUSTOM_HEADERS: {"error": {
            "message": "headers and custom_request_headers are two names of one thing and say different things; \
                        send one of them, or the same as both",
            "target": HEADERS,
        }}})),
    }
}

/// Says no to fields that would be kept and mean nothing. What is empty says nothing, and goes.
fn refuse(public: &mut Document) -> Result<(), Value> {
    let mut errors = Document::new();
    for (field, instead) in REFUSED {
        let message = format!("is not supported: {instead}");
        let error = || json!({"error": {"message": message}});
        match public.shift_remove(field) {
            None | Some(Value::Null) => {}
            Some(Value::Object(inner)) if field == SECURITY => {
                let said = inner.iter().filter(|(_, value)| !value.is_null());
                // A key is a secret, and not repeated.
                errors.extend(said.map(|(key, _)| (format!("{field}.{key}"), error())));
            }
            Some(_) => drop(errors.insert(field.to_owned(), error())),
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(Value::Object(errors)) }
}

/// Lets a full replacement keep the fields that KAZOO's clients do not know; `null` takes one away, as in a patch.
pub(super) fn keep(stored: &Document, public: &mut Document) {
    for field in OURS {
        if !public.contains_key(field) {
            let kept = if field == HEADERS {
                headers_of(stored).filter(|headers| !headers.is_empty()).map(Value::Object)
            } else {
                stored.get(field).cloned()
            };
            public.extend(kept.map(|value| (field.to_owned(), value)));
        }
    }
}

/// Takes out of a document that is about to be saved what older hosts kept without any effect, and `null` in place of
/// fields of ours.
pub(super) fn settle(doc: &mut Document) {
    for (field, _) in REFUSED {
        doc.shift_remove(field);
    }
    if let Some(headers) = headers_of(doc) {
        doc.shift_remove(CUSTOM_HEADERS);
        if !headers.is_empty() || doc.contains_key(HEADERS) {
            doc.entry(HEADERS).or_insert(Value::Object(headers));
        }
    }
    doc.shift_remove(CUSTOM_HEADERS);
    for field in OURS {
        if doc.get(field) == Some(&Value::Null) {
            doc.shift_remove(field);
        }
    }
}

/// The headers of a stored document under either of their names. Those under KAZOO's were not checked when they were
/// stored, so that of them only those are taken that a hook may send.
pub(in crate::hooks) fn headers_of(doc: &Document) -> Option<Document> {
    match doc.get(HEADERS) {
        Some(Value::Object(headers)) => Some(headers.clone()),
        Some(_) => None,
        None => match doc.get(CUSTOM_HEADERS)? {
            Value::Object(custom) => Some(HookHeaders::usable(custom)),
            _ => None,
        },
    }
}

/// Shows the headers under both of their names, and nothing that has no effect.
pub(super) fn show(doc: &Document, shown: &mut Document) {
    for (field, _) in REFUSED {
        shown.shift_remove(field);
    }
    shown.shift_remove(CUSTOM_HEADERS);
    if let Some(headers) = headers_of(doc) {
        fields::set(shown, HEADERS, headers.clone());
        fields::set(shown, CUSTOM_HEADERS, headers);
    }
}

/// What is wrong with a document, under the name that its client wrote.
pub(super) fn named(errors: Value, name: HeadersName) -> Value {
    match (errors, name) {
        (Value::Object(errors), HeadersName::Kazoos) => {
            let named = |(path, error): (String, Value)| match path.strip_prefix(HEADERS) {
                Some(rest) if rest.is_empty() || rest.starts_with('.') => {
                    (format!("{CUSTOM_HEADERS}{rest}"), error)
                }
                _ => (path, error),
            };
            errors.into_iter().map(named).collect()
        }
        (errors, _) => errors,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(value: Value) -> Document {
        value.as_object().cloned().unwrap()
    }

    /// What a client's fields become, and under which name its headers stood.
    #[track_caller]
    fn check(public: Value, stored: Value, expected: Result<(Value, HeadersName), &str>) {
        let mut public = document(public);
        let name = translate(&mut public, Some(&document(stored)));
        match expected {
            Ok((fields, name_expected)) => {
                assert_eq!(name, Ok(name_expected));
                assert_eq!(Value::Object(public), fields);
            }
            Err(field) => {
                let errors = name.unwrap_err();
                assert!(errors[field]["error"]["message"].is_string(), "{errors}");
            }
        }
    }

    #[test]
    fn headers_have_two_names_and_one_truth() {
        use HeadersName::{Kazoos, Ours};
        let (a, b, c) = (json!({"x-a": "1"}), json!({"x-b": "1"}), json!({"x-c": "1"}));
        let (none, stored) = (json!({}), json!({"headers": a}));
        check(json!({"headers": b}), stored.clone(), Ok((json!({"headers": b}), Ours)));
        check(json!({"custom_request_headers": b}), stored.clone(), Ok((json!({"headers": b}), Kazoos)));
        check(json!({"custom_request_headers": {}}), stored.clone(), Ok((json!({"headers": null}), Kazoos)));
        check(json!({"custom_request_headers": null}), none.clone(), Ok((json!({"headers": null}), Kazoos)));
        let both = |own: &Value, custom: &Value| json!({"headers": own, "custom_request_headers": custom});
        check(both(&b, &b), stored.clone(), Ok((json!({"headers": b}), Ours)));
        // Sent back as it was read, with one of them changed.
        check(both(&b, &a), stored.clone(), Ok((json!({"headers": b}), Ours)));
        check(both(&a, &b), stored.clone(), Ok((json!({"headers": b}), Kazoos)));
        check(both(&a, &none), stored.clone(), Ok((json!({"headers": null}), Kazoos)));
        check(both(&b, &c), stored.clone(), Err("custom_request_headers"));
        check(both(&a, &b), none.clone(), Err("custom_request_headers"));
        check(both(&b, &json!(7)), stored, Err("custom_request_headers"));
        check(json!({"custom_request_headers": 7}), none, Ok((json!({"headers": 7}), Kazoos)));
    }

    #[test]
    fn what_would_have_no_effect_is_refused_by_name_and_not_repeated() {
        let key = json!({"security_settings": {"sha256_key": "hush", "other": 1}, "version": "v2"});
        let errors = translate(&mut document(key), None).unwrap_err();
        let names: Vec<&String> = errors.as_object().unwrap().keys().collect();
        assert_eq!(names, ["security_settings.sha256_key", "security_settings.other", "version"]);
        assert!(!errors.to_string().contains("hush"));
        for nothing in [
            json!({"security_settings": {}}),
            json!({"security_settings": {"sha256_key": null}, "version": null}),
        ] {
            let mut public = document(nothing);
            translate(&mut public, None).unwrap();
            assert!(public.is_empty());
        }
        check(json!({"security_settings": "hush"}), json!({}), Err("security_settings"));
    }

    #[test]
    fn a_replacement_keeps_what_kazoos_clients_do_not_know() {
        let stored = document(json!({
            "headers": {"x-a": "1"}, "rate_limit": {"count": 1, "per_ms": 100}, "ordering": "call",
            "retry_schedule_ms": [1000], "legacy_signature": true, "group": "g",
        }));
        let mut public = document(json!({"name": "n", "ordering": null}));
        keep(&stored, &mut public);
        settle(&mut public);
        assert_eq!(
            Value::Object(public),
            json!({"name": "n", "headers": {"x-a": "1"}, "rate_limit": {"count": 1, "per_ms": 100},
                   "retry_schedule_ms": [1000], "legacy_signature": true})
        );
    }

    #[test]
    fn what_older_hosts_kept_without_effect_has_one_or_goes() {
        let mut doc =
            document(json!({"_id": "h", "custom_request_headers": {"X-Ok": "1", "Host": "no", "x-n": 1},
            "security_settings": {"sha256_key": "hush"}, "version": "v1"}));
        let mut shown = fields::public(&doc);
        show(&doc, &mut shown);
        let expected = json!({"id": "h", "headers": {"X-Ok": "1"}, "custom_request_headers": {"X-Ok": "1"}});
        assert_eq!(Value::Object(shown), expected);
        settle(&mut doc);
        assert_eq!(Value::Object(doc), json!({"_id": "h", "headers": {"X-Ok": "1"}}));
        let mut ours = document(json!({"headers": {"x-a": "1"}, "custom_request_headers": {"x-b": "1"}}));
        settle(&mut ours);
        assert_eq!(Value::Object(ours), json!({"headers": {"x-a": "1"}}));
    }

    #[test]
    fn errors_stand_under_the_name_that_was_written() {
        let errors = json!({"headers": {}, "headers.Host": {}, "headers_x": {}, "uri": {}});
        let expected = json!({"custom_request_headers": {}, "custom_request_headers.Host": {}, "headers_x": {}, "uri": {}});
        assert_eq!(named(errors.clone(), HeadersName::Kazoos), expected);
        assert_eq!(named(errors.clone(), HeadersName::Ours), errors);
    }
}
