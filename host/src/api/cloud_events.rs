//! How a CloudEvent carries an event: as its data; its source and id become the event's `Msg-ID`. Pure.

use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::error::Failure;

/// The identity of an event that comes without a `Msg-ID`. Source and id are unique together.
#[derive(Debug)]
pub(super) struct Identity(String);

impl Identity {
    fn new(source: &str, id: &str) -> Result<Self, String> {
        match (source, id) {
            ("", _) => Err("the CloudEvent's source is empty".to_owned()),
            (_, "") => Err("the CloudEvent's id is empty".to_owned()),
            // Both may hold any character; no two pairs may become one text, or an event would be taken for another.
            _ => Ok(Self(format!("{source}#{}", id.replace('%', "%25").replace('#', "%23")))),
        }
    }
}

/// The identity in the headers of a binary CloudEvent; `None` when the request is none.
pub(super) fn binary(headers: &HeaderMap) -> Result<Option<Identity>, Failure> {
    let Some(version) = headers.get("ce-specversion") else {
        return Ok(None);
    };
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let identity = check_version(version.to_str().unwrap_or_default())
        .and_then(|()| Identity::new(text("ce-source"), text("ce-id")));
    identity.map(Some).map_err(|reason| Failure::new(StatusCode::BAD_REQUEST, "malformed_event", reason))
}

/// The event in a structured CloudEvent.
pub(super) fn unwrap(text: &Bytes) -> Result<Bytes, String> {
    #[derive(Deserialize)]
    struct Structured<'e> {
        #[serde(default)]
        specversion: String,
        #[serde(default)]
        source: String,
        #[serde(default)]
        id: String,
        #[serde(borrow)]
        data: Option<&'e RawValue>,
    }
    let event: Structured<'_> =
        serde_json::from_slice(text).map_err(|error| format!("it is not a CloudEvent: {error}"))?;
    check_version(&event.specversion)?;
    let identity = Identity::new(&event.source, &event.id)?;
    let data = event.data.ok_or("the CloudEvent has no data")?;
    Ok(identified(text.slice_ref(data.get().as_bytes()), &identity))
}

/// The event with the identity as its `Msg-ID`, unless it has one that can be used. What is no object stays as it is.
pub(super) fn identified(event: Bytes, identity: &Identity) -> Bytes {
    #[derive(Deserialize)]
    struct Identified<'e> {
        #[serde(rename = "Msg-ID", borrow)]
        id: Option<&'e RawValue>,
    }
    let text = event.trim_ascii();
    let Some(open) = text.strip_prefix(b"{").and_then(|rest| rest.strip_suffix(b"}")) else {
        return event;
    };
    let usable = |id: &RawValue| id.get().starts_with('"') && id.get() != "\"\"";
    if serde_json::from_slice::<Identified<'_>>(text).is_ok_and(|found| found.id.is_some_and(usable)) {
        return event;
    }
    let mut with_id = Vec::with_capacity(text.len() + identity.0.len() + 16);
    with_id.push(b'{');
    with_id.extend_from_slice(open.trim_ascii());
    if with_id.len() > 1 {
        with_id.push(b',');
    }
    with_id.extend_from_slice(b"\"Msg-ID\":");
    with_id.extend_from_slice(Value::from(identity.0.as_str()).to_string().as_bytes());
    with_id.push(b'}');
    with_id.into()
}

fn check_version(version: &str) -> Result<(), String> {
    match version {
        "1.0" => Ok(()),
        "" => Err("the CloudEvent has no specversion".to_owned()),
        other => Err(format!("the CloudEvent has specversion {other}, 1.0 is known")),
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
            let Ok(event) = Event::parse(inner) else { return Ok(()) };
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
            let Ok(Some(identity)) = binary(&headers) else { return Ok(()) };
            let event = Event::parse(identified(event, &identity)).map_err(|error| error.to_string())?;
            fuzz::ensure(event.identity().is_some(), || "no identity".to_owned())
        });
    }
}
