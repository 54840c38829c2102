//! What an attempt says of each ending, in both profiles.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderValue};
use time::macros::datetime;

use super::*;
use crate::delivery::request::{SharedBodies, WebhookHeaders};
use crate::model::payload::Payload;

const WEBHOOK_ID: &str = "msg_0123456789abcdef";

struct Tried {
    hook: Hook,
    delivery: Option<i64>,
    tries: u32,
    request: OutgoingRequest,
    trace: ExchangeTrace,
}

/// A try with this number, from 0, of a hook with these fields.
fn tried(profile: Profile, tries: u32, more: Value) -> Tried {
    let mut document = json!({"_id": "H1", "pvt_account_id": "A1", "hook": "channel_create",
        "uri": "http://host/p", "http_verb": "post", "format": "json", "retries": 2});
    document.as_object_mut().unwrap().extend(object(more));
    let hook = Hook::from_document(document.as_object().unwrap()).unwrap();
    let payload = Payload::parse(Bytes::from_static("{\"a\":\"ää\"}".as_bytes())).unwrap();
    let bodies = SharedBodies::new(profile, "c", payload);
    let request =
        bodies.request(&hook, Some(WebhookHeaders { webhook_id: WEBHOOK_ID, timestamp: 1 })).unwrap();
    Tried { hook, delivery: Some(7), tries, request, trace: ExchangeTrace::default() }
}

impl Tried {
    fn answered(mut self, code: u16, body: &str) -> Self {
        self.trace.class = AttemptClass::Status;
        self.trace.status = Some(code);
        self.trace.headers = HeaderMap::from_iter([
            ("server".parse().unwrap(), HeaderValue::from_static("Test/1.0")),
            ("set-cookie".parse().unwrap(), HeaderValue::from_static("session=abc")),
        ]);
        self.trace.body = body.as_bytes().to_vec();
        self
    }

    fn failed(mut self, class: AttemptClass) -> Self {
        self.trace.class = class;
        self
    }

    fn document(&self, profile: Profile, next: &DeliveryOutcome, limit: usize) -> Value {
        let answer = match self.trace.status {
            Some(code) => EndpointAnswer::Status { code, retry_after: None },
            None => EndpointAnswer::ClientError,
        };
        let sent = HttpExchange { answer, told: "told".to_owned() };
        let Tried { hook, request, trace, .. } = self;
        let ended = AttemptResult {
            delivery: self.delivery,
            webhook_id: WEBHOOK_ID,
            tries: self.tries,
            hook,
            request: Some(request),
            trace,
            sent: &sent,
            next,
        };
        let attempt = ended.attempt(profile, limit, datetime!(2026-07-01 12:00 UTC));
        assert_eq!(attempt.failed, next != &DeliveryOutcome::Delivered);
        serde_json::from_str(&attempt.document).unwrap()
    }
}

fn dead() -> DeliveryOutcome {
    DeliveryOutcome::Dead("told".to_owned())
}

#[test]
fn an_attempt_of_the_original_has_its_fields_and_no_others() {
    let document =
        tried(Profile::Kazoo, 0, json!({})).answered(500, "Sorry").document(Profile::Kazoo, &dead(), 1000);
    let expected = json!({
        "hook_id": "H1", "hook_event": "CHANNEL_CREATE", "event_id": "0123456789", "uri": "http://host/p",
        "method": "post",
        "req_headers": {"content-type": "application/json", "x-hook-id": "h1", "x-account-id": "a1"},
        "req_body": document["req_body"],
        "result": "failure", "reason": "bad response code", "try": 2, "retries_left": 1,
        "resp_status_code": "500", "resp_headers": {"server": "test/1.0", "set-cookie": "***"}, "resp_body": "Sorry",
    });
    assert_eq!(document, expected);
}

#[test]
fn the_originals_counter_runs_down_and_counts_answers_otherwise_than_none() {
    for (tries, class, expected) in [
        (0, None, json!({"try": 2, "retries_left": 1})),
        (1, None, json!({"try": 1, "retries_left": "retries exceeded"})),
        (0, Some(AttemptClass::Timeout), json!({"retries": 2, "retries_left": 2, "client_error": "timeout"})),
        (
            1,
            Some(AttemptClass::Connect),
            json!({"retries": 1, "retries_left": "retries exceeded", "client_error": "failed_connect: econnrefused"}),
        ),
        (0, Some(AttemptClass::Resolve), json!({"client_error": "failed_connect: nxdomain"})),
        (0, Some(AttemptClass::Broken), json!({"client_error": "socket_closed_remotely"})),
        (0, Some(AttemptClass::Tls), json!({"client_error": "unknown"})),
        (0, Some(AttemptClass::ConnectTimeout), json!({"client_error": "unknown"})),
        (0, Some(AttemptClass::Guard), json!({"client_error": "told"})),
    ] {
        let tried = tried(Profile::Kazoo, tries, json!({}));
        let tried = match class {
            None => tried.answered(404, ""),
            Some(class) => tried.failed(class),
        };
        let document = tried.document(Profile::Kazoo, &dead(), 10);
        for (field, value) in expected.as_object().unwrap() {
            assert_eq!(&document[field], value, "{tries} {class:?} {field}");
        }
        let reason = if class.is_none() { "bad response code" } else { "kazoo http client error" };
        assert_eq!(document["reason"], reason);
        assert_eq!(document.get("resp_body").is_some(), class.is_none());
    }
}

#[test]
fn the_original_logs_a_created_put_as_a_failure_although_it_is_delivered() {
    for (code, expected) in [(200, "success"), (201, "failure")] {
        let tried = tried(Profile::Kazoo, 0, json!({"http_verb": "put"})).answered(code, "");
        let document = tried.document(Profile::Kazoo, &DeliveryOutcome::Delivered, 10);
        assert_eq!((&document["result"], document.get("try")), (&json!(expected), None));
    }
}

#[test]
fn an_attempt_says_how_long_what_took_and_what_follows() {
    let mut tried = tried(Profile::Standard, 1, json!({"retries": 4})).answered(503, "busy");
    tried.trace.total = Duration::from_micros(1_500_250);
    tried.trace.first_byte = Some(Duration::from_millis(1200));
    let document = tried.document(Profile::Standard, &DeliveryOutcome::Retry(Duration::from_secs(5)), 1000);
    assert_eq!((&document["try"], &document["retries_left"]), (&json!(2), &json!(3)));
    assert_eq!((&document["class"], &document["reason"]), (&json!("status"), &json!("told")));
    assert_eq!(document["resp_status_code"], 503);
    assert_eq!(document["next_try_in_ms"], 5000.0);
    assert_eq!(document["at"], "2026-07-01T11:59:58.499Z");
    let expected =
        json!({"resolve": null, "connect": null, "stream": null, "first_byte": 1200.0, "total": 1500.25});
    assert_eq!(document["timing_ms"], expected);
    assert_eq!(document["req_headers"]["webhook-id"], "msg_0123456789abcdef");
}

#[test]
fn bodies_are_cut_between_characters_and_secrets_are_not_in_any_part() {
    let more = json!({"uri": "http://user:opensesame@host/p?api_key=9876543210",
        "headers": {"authorization": "Bearer abcdef", "x-a": "b"}, "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"});
    let tried =
        tried(Profile::Standard, 0, more).answered(500, "you are Bearer abcdef, opensesame, 9876543210");
    for profile in [Profile::Standard, Profile::Kazoo] {
        let whole = tried.document(profile, &dead(), 1000);
        assert_eq!(whole["req_headers"]["authorization"], "***");
        assert_eq!(whole["req_headers"]["x-a"], "***");
        assert!(whole["req_headers"]["webhook-signature"].as_str().unwrap().starts_with("v1,"));
        assert_eq!(whole["uri"], "http://user:***@host/p?api_key=***");
        assert_eq!(whole["resp_body"], "you are ***, ***, ***");
        let text = whole.to_string();
        for secret in ["Bearer", "opensesame", "9876543210", "session=abc", "MfKQ9r8"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
    }
    assert_eq!(tried.document(Profile::Standard, &dead(), 7)["req_body"], "{\"a\":\"");
    assert_eq!(tried.document(Profile::Standard, &dead(), 10)["resp_body"], "you are **");
}

#[test]
fn a_test_is_of_no_delivery_and_the_only_try_and_says_that_it_is_one() {
    for profile in [Profile::Standard, Profile::Kazoo] {
        let tried = tried(profile, 0, json!({"retries": 5}));
        let real = tried.failed(AttemptClass::Connect).document(profile, &dead(), 10);
        assert_eq!(real.get("test"), None);
        let test = Tried { delivery: None, ..self::tried(profile, 0, json!({"retries": 5})) };
        let test = test.failed(AttemptClass::Connect).document(profile, &dead(), 10);
        assert_eq!(test["test"], true);
        let left = if profile == Profile::Kazoo { json!("retries exceeded") } else { json!(0) };
        assert_eq!(test["retries_left"], left);
        assert_eq!(test.get("delivery_id").unwrap_or(&Value::Null), &Value::Null);
    }
}
