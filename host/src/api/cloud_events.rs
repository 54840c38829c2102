//! How a CloudEvent carries an event: as its data; its source and id say which event it is. Pure.

use std::borrow::Cow;

use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use percent_encoding::percent_decode;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use super::error::Failure;
use super::posted_event::PostedEvent;
use crate::event::RawEvent;
use crate::event::identity::{CloudEventId, ID_LIMIT};

/// The name in the headers of a binary CloudEvent; `None` when the request is none.
pub(super) fn binary(headers: &HeaderMap) -> Result<Option<CloudEventId>, Failure> {
    let Some(version) = headers.get("ce-specversion") else {
        return Ok(None);
    };
    let text =
        |name: &str| headers.get(name).map_or(Ok(String::new()), |value| decoded(name, value.as_bytes()));
    let named = decoded("ce-specversion", version.as_bytes())
        .and_then(|version| check_version(&version))
        .and_then(|()| named_as(&text("ce-source")?, &text("ce-id")?));
    named.map(Some).map_err(|reason| Failure::new(StatusCode::BAD_REQUEST, "malformed_event", reason))
}

fn named_as(source: &str, id: &str) -> Result<CloudEventId, String> {
    CloudEventId::new(source, id).map_err(|error| error.to_string())
}

/// The value of an attribute in a header (CloudEvents 1.0.2, HTTP binding, 3.1.3.2): quotes are taken off, then one
/// round of percent-decoding is done.
fn decoded(name: &str, value: &[u8]) -> Result<String, String> {
    let plain = percent_decode(&unquoted(value)).collect();
    String::from_utf8(plain)
        .map_err(|_| format!("the CloudEvent's header {name} is not UTF-8 after decoding"))
}

/// The content of a quoted string (RFC 9110, 5.6.4); anything else as it is.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(quoted) = value.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")) else {
        return value.into();
    };
    let mut content = Vec::with_capacity(quoted.len());
    let mut bytes = quoted.iter();
    while let Some(byte) = bytes.next() {
        let byte = if *byte == b'\\' { bytes.next().unwrap_or(byte) } else { byte };
        content.push(*byte);
    }
    content.into()
}

/// An event as a CloudEvent 1.0 carries it, in its data.
#[derive(Deserialize, ToSchema)]
#[schema(example = json!({
    "specversion": "1.0", "id": "4b1c", "source": "//switch.example.com", "type": "call_event.CHANNEL_CREATE",
    "data": {"Event-Category": "call_event", "Event-Name": "CHANNEL_CREATE"}
}), as = CloudEvent)]
pub(super) struct StructuredEvent<'e> {
    #[serde(default)]
    #[schema(required = true, schema_with = version)]
    specversion: String,
    /// With `source` and the account it says which event this is: nothing is delivered twice when it is sent again. Both
    /// become the event's `Msg-ID`, unless it has one.
    #[serde(default)]
    #[schema(required = true, min_length = 1, max_length = 1024)]
    id: String,
    #[serde(default)]
    #[schema(required = true, min_length = 1, max_length = 1024)]
    source: String,
    /// The event.
    #[serde(borrow)]
    #[schema(value_type = PostedEvent, required = false)]
    data: Option<&'e RawValue>,
    /// The bytes of the event's text, in place of `data`.
    #[serde(borrow)]
    #[schema(value_type = String, required = false, content_encoding = "base64")]
    data_base64: Option<Cow<'e, str>>,
}

/// The version that is known.
const VERSION: &str = "1.0";

fn version() -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([VERSION])).build()
}

/// The event in a structured CloudEvent.
pub(super) fn unwrap(text: &Bytes) -> Result<RawEvent, String> {
    let event: StructuredEvent<'_> =
        serde_json::from_slice(text).map_err(|error| format!("it is not a CloudEvent: {error}"))?;
    check_version(&event.specversion)?;
    let name = named_as(&event.source, &event.id)?;
    let data = match (event.data, event.data_base64) {
        (Some(data), None) => text.slice_ref(data.get().as_bytes()),
        (None, Some(encoded)) => encoded_data(&encoded)?,
        (Some(_), Some(_)) => return Err("the CloudEvent has both data and data_base64".to_owned()),
        (None, None) => return Err("the CloudEvent has no data".to_owned()),
    };
    Ok(named(data, name))
}

fn encoded_data(encoded: &str) -> Result<Bytes, String> {
    let wrong =
        |error: &dyn std::fmt::Display| format!("the CloudEvent's data_base64 cannot be used: {error}");
    let data = BASE64_STANDARD.decode(encoded).map_err(|error| wrong(&error))?;
    let whole: &RawValue = serde_json::from_slice(&data).map_err(|error| wrong(&error))?;
    Ok(Bytes::copy_from_slice(whole.get().as_bytes()))
}

/// The event under this name, which also becomes its `Msg-ID` unless it has one that can be used. What is no object
/// stays as it is.
pub(super) fn named(event: Bytes, name: CloudEventId) -> RawEvent {
    RawEvent { body: with_msg_id(event, &name), cloud_event: Some(name) }
}

fn with_msg_id(event: Bytes, name: &CloudEventId) -> Bytes {
    #[derive(Deserialize)]
    struct IdentifiedEvent<'e> {
        /// Not an `Option`, which would take `null` for a missing one.
        #[serde(rename = "Msg-ID", borrow)]
        id: &'e RawValue,
    }
    let text = event.trim_ascii();
    let Some(open) = text.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
        return event;
    };
    let usable = |id: &RawValue| id.get().starts_with('"') && id.get() != "\"\"";
    let found = serde_json::from_slice::<IdentifiedEvent<'_>>(text).ok().map(|found| found.id);
    // Two names of the longest kind together are longer than a Msg-ID may be.
    let msg_id = name.msg_id();
    if found.is_some_and(usable) || msg_id.len() > ID_LIMIT {
        return event;
    }
    let msg_id = Value::from(msg_id).to_string();
    let mut with_id = Vec::with_capacity(text.len() + msg_id.len() + 16);
    if let Some(unusable) = found {
        let start = unusable.get().as_ptr() as usize - text.as_ptr() as usize;
        with_id.extend_from_slice(&text[..start]);
        with_id.extend_from_slice(msg_id.as_bytes());
        with_id.extend_from_slice(&text[start + unusable.get().len()..]);
        return with_id.into();
    }
    with_id.push(b'{');
    with_id.extend_from_slice(open.trim_ascii());
    if with_id.len() > 1 {
        with_id.push(b',');
    }
    with_id.extend_from_slice(b"\"Msg-ID\":");
    with_id.extend_from_slice(msg_id.as_bytes());
    with_id.push(b'}');
    with_id.into()
}

fn check_version(version: &str) -> Result<(), String> {
    match version {
        VERSION => Ok(()),
        "" => Err("the CloudEvent has no specversion".to_owned()),
        other => Err(format!("the CloudEvent has specversion {other}, {VERSION} is known")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::fuzz;

    #[test]
    fn fuzz_cloud_event() {
        fuzz::target("cloud_event", |bytes| {
            let Ok(inner) = unwrap(&Bytes::copy_from_slice(bytes)) else { return Ok(()) };
            let Ok(event) = Event::parse(inner.body) else { return Ok(()) };
            let event = event.named_by(inner.cloud_event);
            fuzz::ensure(event.identity().is_some(), || format!("{} has no identity", event.json()))
        });
    }

    /// Name and value of a header in each line.
    #[test]
    fn fuzz_cloud_event_headers() {
        fuzz::target("cloud_event_headers", |bytes| {
            let mut headers = HeaderMap::new();
            for line in bytes.split(|byte| *byte == b'\n') {
                let mut parts = line.splitn(2, |byte| *byte == b':');
                let name = parts.next().and_then(|name| axum::http::HeaderName::from_bytes(name).ok());
                let value = parts.next().and_then(|value| axum::http::HeaderValue::from_bytes(value).ok());
                headers.extend(name.zip(value));
            }
            let event = Bytes::from_static(br#"{"Event-Category":"a","Event-Name":"b"}"#);
            let Ok(Some(name)) = binary(&headers) else { return Ok(()) };
            let event = named(event, name);
            let event =
                Event::parse(event.body).map_err(|error| error.to_string())?.named_by(event.cloud_event);
            fuzz::ensure(event.identity().is_some(), || "no identity".to_owned())
        });
    }

    #[test]
    fn what_a_header_says_is_decoded_once() {
        let same = |raw: &str, expected: &str| {
            assert_eq!(decoded("ce-source", raw.as_bytes()).as_deref(), Ok(expected), "{raw}");
        };
        same("/plain", "/plain");
        same("/tests/%C3%BCn%C3%AF", "/tests/ünï");
        same("/tests/ünï", "/tests/ünï");
        same("100%25%32", "100%2");
        same("50%", "50%");
        same(r#""quoted \"twice\" \\ %20""#, r#"quoted "twice" \  "#);
        same("\"", "\"");
        assert!(decoded("ce-id", b"%FF").unwrap_err().contains("ce-id is not UTF-8"));
    }
}
