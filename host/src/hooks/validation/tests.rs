//! What is said about documents that break a rule.

use super::*;
use crate::delivery::request::{SharedBodies, WebhookHeaders};
use crate::fuzz;
use crate::model::Hook;
use crate::model::Profile;
use crate::model::guard::Guard;
use crate::model::payload::Payload;

fn events() -> Events {
    let mut events = Events::default();
    events.insert("channel_create", None);
    events.insert("callflow", None);
    let modifiers = json!({
        "type": {"type": "array", "items": ["user", "device"]},
        "action": {"type": "object", "items": {"all": {}, "doc_created": {}}},
    });
    events.insert("object", modifiers.as_object().cloned());
    events
}

/// What validation lets through is a hook, and a request can be made for it.
#[test]
fn fuzz_hook_document() {
    let payload = bytes::Bytes::from_static(br#"{"a":"b","c":[1,{"d":null}]}"#);
    fuzz::target("hook_document", |bytes| {
        let Ok(Value::Object(mut document)) = serde_json::from_slice(bytes) else { return Ok(()) };
        drop(Hook::from_document(&document));
        if validate(&mut document, &events(), &UriRules::default()).is_err() {
            return Ok(());
        }
        // The editor sets these, and keeps a secret elsewhere.
        document.insert("_id".to_owned(), "h1".into());
        document.insert("pvt_account_id".to_owned(), "a1".into());
        document.remove("secret");
        let hook =
            Hook::from_document(&document).map_err(|error| format!("it is let in and no hook: {error}"))?;
        fuzz::ensure(hook.uri.url().is_some(), || {
            format!("it is let in and {:?} is no address", &*hook.uri)
        })?;
        for profile in [Profile::Standard, Profile::Kazoo] {
            let payload = Payload::parse(payload.clone()).map_err(|error| error.to_string())?;
            let stamp = WebhookHeaders { webhook_id: "msg_1", timestamp: 1 };
            let made = SharedBodies::new(profile, "cluster", payload).request(&hook, Some(stamp));
            fuzz::ensure(made.is_ok(), || format!("it is let in and cannot be sent: {:?}", made.err()))?;
        }
        Ok(())
    });
}

#[track_caller]
fn check(document: Value, uris: &UriRules, expected: Value) {
    let mut document = document.as_object().cloned().unwrap();
    let said = validate(&mut document, &events(), uris).map_err(|errors| Value::Object(errors.to_json()));
    match said {
        Ok(()) => assert_eq!(Value::Object(document), expected),
        Err(errors) => assert_eq!(errors, expected),
    }
}

#[test]
fn defaults_are_filled_in() {
    check(
        json!({"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/x", "group": "g"}),
        &UriRules::default(),
        json!({"name": "n", "hook": "channel_create", "uri": "http://127.0.0.1:9/x", "group": "g",
               "http_verb": "post", "format": "form-data", "retries": 2, "enabled": true,
               "include_internal_legs": true}),
    );
}

#[test]
fn all_errors_are_told_at_once() {
    check(
        json!({"hook": "callflow", "uri": "ftp://x/", "http_verb": "POST", "retries": 5, "enabled": "yes",
               "custom_data": {"n": 1}}),
        &UriRules::default(),
        json!({
            "name": {"required": {"message": "field is required but missing"}},
            "hook": {"enum": {"message": "value not found in enumerated list of values",
                "cause": "callflow", "target": ["all", "channel_create", "object"]}},
            "uri": {"error": {"message": "invalid client URL", "value": "ftp://x/"}},
            "http_verb": {"enum": {"message": "value not found in enumerated list of values",
                "cause": "POST", "target": ["get", "post", "put"]}},
            "retries": {"maximum": {"message": "value must be at most 4", "target": 4, "cause": 5}},
            "enabled": {"type": {"message": "value did not match type(s): boolean",
                "target": "boolean", "cause": "yes"}},
            "custom_data.n": {"type": {"message": "value did not match type(s): string",
                "target": "string", "cause": 1}},
        }),
    );
}

#[test]
fn an_object_hook_must_say_which_type_and_action() {
    let hook = |custom_data: Value| json!({"name": "n", "hook": "object", "uri": "http://x/", "custom_data": custom_data});
    let uris = UriRules::default();
    check(
        hook(json!({"type": "vmbox"})),
        &uris,
        json!({
            "custom_data.type": {"enum": {"message": "value not found in enumerated list of values",
                "cause": "vmbox", "target": ["user", "device", "all"]}},
            "custom_data.action": {"required": {"message": "missing required modifier"}},
        }),
    );
    let mut fine = hook(json!({"type": "all", "action": "doc_created"})).as_object().cloned().unwrap();
    assert_eq!(validate(&mut fine, &events(), &uris), Ok(()));
}

#[test]
fn an_address_that_the_guard_refuses_is_told_with_its_cause() {
    let uris = UriRules { guard: Some(Guard::default()), ..UriRules::default() };
    for (uri, cause) in [
        (
            "http://10.0.0.8/x",
            "10.0.0.8 is a private address; delivery.allow_targets would have to list it, such as \"10.0.0.8/32\"",
        ),
        (
            "http://localhost:9/",
            "localhost leads to 127.0.0.1, which is a loopback address; \
          delivery.allow_targets would have to list it, such as \"127.0.0.1/32\"",
        ),
    ] {
        let message = format!("invalid client URL: {cause}");
        let said = json!({"message": message, "value": uri, "cause": cause});
        check(json!({"name": "n", "hook": "all", "uri": uri}), &uris, json!({"uri": {"error": said}}));
    }
}

#[test]
fn refused_hosts_are_found_behind_credentials_and_in_mapped_addresses() {
    let rules = UriRules {
        hosts: vec!["localhost".into()],
        cidrs: vec!["127.0.0.1/32".parse().unwrap()],
        guard: None,
    };
    for (uri, allowed) in [
        ("https://localhost:345/", false),
        ("http://LocalHost./", false),
        ("http://x:y@localhost/", false),
        ("http://127.0.0.1/", false),
        ("http://[::ffff:127.0.0.1]/", false),
        ("http://127.0.0.2/", true),
        ("http://localhost.example.com/", true),
        ("mailto:x@example.com", false),
        ("/relative", false),
    ] {
        assert_eq!(rules.allow(uri), allowed, "{uri}");
    }
}
