//! What the API shows of one try: every field that `attempts::record` writes, in either profile.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{Object, SchemaType, Type};
use utoipa::openapi::{KnownFormat, ObjectBuilder, RefOr, Schema, SchemaFormat};
use utoipa::{PartialSchema, ToSchema};

use crate::model::Document;

/// One try of a delivery. Profile `kazoo` keeps the original's fields, profile `standard` more.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub(in crate::api) struct Attempt {
    hook_id: String,
    hook_event: String,
    /// The number of the delivery. None of a test. Profile `standard`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    delivery_id: Option<Option<i64>>,
    /// The header `webhook-id` of the request. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    webhook_id: Option<String>,
    /// Ten digits that every try of a delivery shares. Profile `kazoo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<String>,
    /// When it began, in UTC. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<String>,
    /// The address of the hook.
    #[serde(skip_serializing_if = "Option::is_none")]
    uri: Option<String>,
    /// The address of the request; none where no request could be made. Profile `standard`.
    #[serde(default, deserialize_with = "present", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    url: Option<Option<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    method: Option<String>,
    /// Values of the hook's own headers are masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    req_headers: Option<Document>,
    /// The beginning of the request's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    req_body: Option<String>,
    /// `success` or `failure`.
    result: String,
    /// How it ended, in a word: `delivered`, `status`, `timeout`, … Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    class: Option<String>,
    /// How it ended, in a sentence; in profile `kazoo` of failures only.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// What the original's HTTP client would say. Profile `kazoo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    client_error: Option<String>,
    /// Which try it was, from 1; in profile `kazoo` how many were left before it.
    #[serde(rename = "try", skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    /// How many tries were left before it. Profile `kazoo`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retries: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retries_left: Option<RetriesLeft>,
    /// How long the request's body was. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    req_body_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timing_ms: Option<AttemptTiming>,
    /// The address that it was connected to. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_status_code: Option<AttemptStatus>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    resp_headers: Option<Document>,
    /// The beginning of the answer's body.
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_body: Option<String>,
    /// How often the request was sent again at once. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resent: Option<u32>,
    /// Bytes of headers of the answer that were not kept. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_headers_left_out_bytes: Option<u64>,
    /// Why the rest of the answer's body was not read. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    resp_body_lost: Option<String>,
    /// When it is tried again, in milliseconds from its end. Profile `standard`.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_try_in_ms: Option<f64>,
    /// `true` where somebody asked for it, in place of an event.
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<bool>,
    /// When it was kept, in Gregorian seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = i64, required = true)]
    timestamp: Option<i64>,
    /// What hosts of other versions have kept.
    #[serde(flatten)]
    #[schema(ignore)]
    rest: Document,
}

/// How often it may be tried again; in profile `kazoo` `retries exceeded` in place of 0.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum RetriesLeft {
    Number(u32),
    Text(String),
}

/// The status of the answer: a number in profile `standard`, a text in profile `kazoo`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(untagged)]
enum AttemptStatus {
    Number(u16),
    Text(String),
}

/// How many milliseconds each part took; none where it did not come to that. Profile `standard`.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct AttemptTiming {
    /// To look the name up.
    resolve: Option<f64>,
    /// To connect, with TLS.
    connect: Option<f64>,
    /// To wait for a stream of a connection that there was already.
    stream: Option<f64>,
    /// Until the answer began.
    first_byte: Option<f64>,
    total: f64,
}

/// Tells `null`, which is `Some(None)`, from a field that is missing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}

impl Attempt {
    /// The JSON of an attempt that was kept then.
    pub(in crate::api) fn written(kept: &str, timestamp: i64) -> Option<String> {
        match serde_json::from_str::<Attempt>(kept) {
            Ok(attempt) => serde_json::to_string(&Attempt { timestamp: Some(timestamp), ..attempt }).ok(),
            Err(_) => untyped(serde_json::from_str(kept).ok()?, timestamp),
        }
    }

    /// As [`written`](Self::written), of one that was read already.
    pub(in crate::api) fn written_of(kept: Document, timestamp: i64) -> Option<String> {
        match Attempt::deserialize(&kept) {
            Ok(attempt) => serde_json::to_string(&Attempt { timestamp: Some(timestamp), ..attempt }).ok(),
            Err(_) => untyped(kept, timestamp),
        }
    }
}

/// A host of another version may have kept fields of these names with other types. Who lists attempts is to see them all.
fn untyped(mut kept: Document, timestamp: i64) -> Option<String> {
    kept.insert("timestamp".to_owned(), timestamp.into());
    Some(Value::Object(kept).to_string())
}

/// What was tested, and what came back: an attempt with the fields of profile `standard`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::api) struct TestedAttempt(Attempt);

impl TestedAttempt {
    /// Nothing where it has other fields than an attempt has.
    pub(in crate::api) fn of(attempt: &Document) -> Option<Self> {
        Self::deserialize(attempt).ok()
    }
}

impl ToSchema for TestedAttempt {
    fn name() -> std::borrow::Cow<'static, str> {
        "Tested".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        Attempt::schemas(schemas);
    }
}

/// What an attempt may have and a test has not: the fields of profile `kazoo`, and when it was kept.
const NOT_TESTED: [&str; 4] = ["timestamp", "event_id", "client_error", "retries"];

impl PartialSchema for TestedAttempt {
    /// That of an attempt in profile `standard`, without the time at which one is kept.
    fn schema() -> RefOr<Schema> {
        let RefOr::T(Schema::Object(mut tested)) = Attempt::schema() else { return Attempt::schema() };
        for field in NOT_TESTED {
            tested.properties.shift_remove(field);
        }
        tested.required.retain(|field| !NOT_TESTED.contains(&field.as_str()));
        for (field, kind, description) in [
            ("webhook_id", Type::String, "What the receiver saw as `webhook-id`. It begins with `test_`."),
            ("class", Type::String, "How it ended, in a word."),
            ("reason", Type::String, "How it ended, in a sentence."),
            ("test", Type::Boolean, "Always `true`."),
        ] {
            let of_kind = ObjectBuilder::new().schema_type(kind).description(Some(description));
            tested.properties.insert(field.to_owned(), of_kind.build().into());
            tested.required.push(field.to_owned());
        }
        tested.properties.insert("resp_status_code".to_owned(), status().into());
        tested.description = Some(
            "What was tested, and what came back: an attempt with the fields of profile `standard`."
                .to_owned(),
        );
        Schema::Object(tested).into()
    }
}

fn status() -> Object {
    ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
        .minimum(Some(0))
        .description(Some("The status of the answer, where there was one."))
        .build()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::HeaderValue;
    use bytes::Bytes;
    use serde_json::json;
    use time::macros::datetime;

    use super::*;
    use crate::attempts::record::AttemptResult;
    use crate::attempts::trace::ExchangeTrace;
    use crate::model::{DeliveryOutcome, EndpointAnswer, Hook, HttpExchange, OutgoingRequest, Profile, Verb};

    /// A trace of which all is known.
    fn trace(status: Option<u16>) -> ExchangeTrace {
        let mut trace = ExchangeTrace::default();
        trace.repeats = 2;
        trace.first_byte = Some(Duration::from_millis(3));
        trace.total = Duration::from_micros(4_500);
        trace.address = "127.0.0.1:80".parse().ok();
        trace.status = status;
        trace.headers.insert("server", HeaderValue::from_static("Test/1.0"));
        trace.headers_left_out = 7;
        trace.body = b"busy".to_vec();
        trace.body_lost = Some("it was cut off".to_owned());
        trace
    }

    /// The texts of attempts that are kept in a profile, of all endings.
    fn kept(profile: Profile) -> Vec<String> {
        let hook =
            json!({"_id": "h", "pvt_account_id": "a", "hook": "all", "uri": "http://host/", "retries": 2});
        let hook = Hook::from_document(hook.as_object().unwrap()).unwrap();
        let request = OutgoingRequest {
            url: "http://host/".to_owned(),
            headers: vec![("x-a".to_owned(), "1".to_owned())],
            body: Bytes::from_static(b"{}"),
            method: Verb::Post,
        };
        let retry = DeliveryOutcome::Retry(Duration::from_millis(1_500));
        let mut texts = Vec::new();
        for (delivery, status, next, request, tries) in [
            (Some(1), Some(503), &retry, Some(&request), 0),
            (Some(1), Some(200), &DeliveryOutcome::Delivered, Some(&request), 0),
            (Some(1), None, &DeliveryOutcome::Dead("told".to_owned()), None, 2),
            (None, Some(404), &DeliveryOutcome::Dead("told".to_owned()), Some(&request), 0),
        ] {
            let answer = match status {
                Some(code) => EndpointAnswer::Status { code, retry_after: None },
                None => EndpointAnswer::ClientError,
            };
            let (trace, sent) = (trace(status), HttpExchange { answer, told: "told".to_owned() });
            let (webhook_id, hook, trace, sent) = ("msg_0123456789abcdef", &hook, &trace, &sent);
            let ended = AttemptResult { delivery, webhook_id, tries, hook, request, trace, sent, next };
            texts.push(ended.attempt(profile, 100, datetime!(2026-07-01 12:00 UTC)).document);
        }
        texts
    }

    fn value(text: &str) -> Value {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn every_field_that_is_kept_is_described_and_comes_back() {
        let schema = serde_json::to_value(Attempt::schema()).unwrap();
        for text in [Profile::Standard, Profile::Kazoo].into_iter().flat_map(kept) {
            let read: Attempt = serde_json::from_str(&text).unwrap();
            assert_eq!(read.rest, Document::new(), "{text}");
            let written = value(&Attempt::written(&text, 7).unwrap());
            let mut expected = value(&text);
            expected["timestamp"] = 7.into();
            assert_eq!(written, expected);
            let document = serde_json::from_str(&text).unwrap();
            assert_eq!(value(&Attempt::written_of(document, 7).unwrap()), expected);
            for field in written.as_object().unwrap().keys() {
                assert!(schema["properties"][field].is_object(), "{field} is not described");
            }
        }
    }

    #[test]
    fn what_another_host_has_kept_is_shown_as_it_is() {
        for text in [
            r#"{"hook_id":"h"}"#,
            r#"{"hook_id":"h","hook_event":"all","result":"success","try":"1"}"#,
            r#"{"hook_id":"h","hook_event":"all","result":"success","timing_ms":{"total":1.5,"sleep":2}}"#,
            r#"{"hook_id":"h","hook_event":"all","result":"success","other":{"b":null,"a":[2]}}"#,
        ] {
            let shown = format!(r#"{},"timestamp":7}}"#, text.strip_suffix('}').unwrap());
            assert_eq!(value(&Attempt::written(text, 7).unwrap()), value(&shown));
            assert_eq!(
                value(&Attempt::written_of(serde_json::from_str(text).unwrap(), 7).unwrap()),
                value(&shown)
            );
        }
        assert_eq!(Attempt::written("[]", 7), None);
    }

    #[test]
    fn a_test_is_an_attempt_of_profile_standard_without_the_time_at_which_it_was_kept() {
        let [attempt, tested] =
            [Attempt::schema(), TestedAttempt::schema()].map(|schema| serde_json::to_value(schema).unwrap());
        let names = |schema: &Value| -> Vec<String> {
            schema["properties"].as_object().unwrap().keys().cloned().collect()
        };
        let without: Vec<String> =
            names(&attempt).into_iter().filter(|name| !NOT_TESTED.contains(&name.as_str())).collect();
        assert_eq!(names(&tested), without);
        let required = ["hook_id", "hook_event", "result", "webhook_id", "class", "reason", "test"];
        assert_eq!(tested["required"], json!(required));
    }
}
