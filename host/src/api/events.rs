//! `POST /events`: how a body becomes events, all of them or none.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Extension, State};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::openapi::schema::{ArrayBuilder, OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::arriving::BodyRoom;
use super::cloud_events::StructuredEvent;
use super::envelope::{Answer, Reply, RequestId};
use super::error::Failure;
use super::known::StrictQuery;
use super::posted_event::PostedEvent;
use super::{Api, body, cloud_events};
use crate::background::spawn_background;
use crate::event::identity::{CloudEventId, ID_LIMIT};
use crate::event::{ArrivingEvent, BadEvent, Event, RawEvent};
use crate::hooks::editor::fields;
use crate::memory::{EventMemory, bytes_of_event};
use crate::trail::{Origin, TRACE_HEADER};

const TYPES: &str = "application/json, application/x-ndjson or application/cloudevents+json";

/// Where in a request an event stands, as its sender counts.
#[derive(Debug, Clone, Copy)]
enum EventPosition {
    Only,
    /// In an array, from 0.
    Index(usize),
    /// In lines, from 1.
    Line(usize),
}

/// Where the events are to be published, when not where they belong by their category and name.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RouteQuery {
    /// An exchange to publish the events to. Needs `routing_key`.
    exchange: Option<String>,
    /// The routing key. Needs `exchange`.
    routing_key: Option<String>,
}

/// One event, or many, cut out of a body whose memory they share, each with where it stands. A body can have megabytes, so
/// that it is never read as a type: the schema says what the cuts lead to.
pub(super) struct EventParts(Vec<(EventPosition, Bytes)>);

impl ToSchema for EventParts {
    fn name() -> Cow<'static, str> {
        "OneOrMany".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((PostedEvent::name().into(), PostedEvent::schema()));
    }
}

impl PartialSchema for EventParts {
    fn schema() -> RefOr<Schema> {
        let event = || Ref::from_schema_name(PostedEvent::name());
        let many = ArrayBuilder::new().items(event());
        let one_of = OneOfBuilder::new().item(event()).item(many).description(Some("One event, or many."));
        Schema::OneOf(one_of.build()).into()
    }
}

/// How many events were taken.
#[derive(Serialize, ToSchema)]
#[schema(as = Accepted)]
pub(super) struct AcceptedCount {
    accepted: usize,
}

/// Takes events
///
/// One as an object, many as an array or one a line; CloudEvents 1.0 too, structured, in batches, or binary (one event
/// with the headers `ce-specversion`, `ce-id`, `ce-source`, `ce-type`). The answer comes once what they cause is
/// durable. Nothing of a request is taken when any part of it is malformed.
#[utoipa::path(post, path = "/events", tag = "Events", params(RouteQuery),
    request_body(description = "Events", content(
        (EventParts = "application/json"),
        (String = "application/x-ndjson"),
        (StructuredEvent = "application/cloudevents+json"),
        (Vec<StructuredEvent> = "application/cloudevents-batch+json"),
    )),
    responses((status = 422, description = "Nothing is bound where the events were sent"))
)]
pub(super) async fn take(
    State(api): State<Arc<Api>>,
    StrictQuery(route, _): StrictQuery<RouteQuery>,
    Extension(RequestId(request)): Extension<RequestId>,
    headers: HeaderMap,
    body: Body,
) -> Answer<AcceptedCount, 202> {
    let route = route.parse()?;
    let media_type = body::media_type(&headers);
    // The content type decides (HTTP binding, section 3): what names a CloudEvent there is a structured one.
    let structured = media_type.as_deref().is_some_and(|given| given.starts_with("application/cloudevents"));
    let envelope = if structured { None } else { cloud_events::binary(&headers)? };
    let one = !matches!(media_type.as_deref(), Some("application/x-ndjson" | "application/ndjson"));
    if let Some(other) = media_type.as_deref().filter(|given| !is_known(given)) {
        return Err(body::wrong_type(other, TYPES));
    }
    let (most, within) = (api.limits.request_bytes, api.limits.body_timeout);
    // Until all events are answered: they are cut out of it.
    let (body, _memory) = BodyRoom::of(&api.memory.bodies).read(&headers, body, most, within).await?;
    let form = BodyForm { one, structured, envelope, event_bytes: api.limits.event_bytes };
    let memory = Arc::clone(&api.memory);
    let events = match body.len() >= LARGE {
        true => {
            spawn_background(move || form.events(&body, &memory)).await.map_err(|_| Failure::internal())?
        }
        false => form.events(&body, &memory),
    }?;
    let trace = headers.get(TRACE_HEADER).and_then(|value| value.to_str().ok());
    let origin = Origin::of_headers(Some(&request), trace);
    let accepted = if events.is_empty() { 0 } else { api.intake.take(events, route, origin).await? };
    Ok(Reply::of(&AcceptedCount { accepted }))
}

/// Bytes from which on a body is looked at on a thread that nobody waits for: it may take a millisecond.
const LARGE: usize = 128 * 1024;

/// How events stand in a body.
struct BodyForm {
    /// One object or an array, in place of lines.
    one: bool,
    structured: bool,
    envelope: Option<CloudEventId>,
    event_bytes: usize,
}

impl BodyForm {
    /// All events of a body, or why none is taken. They are parsed already as long as there is memory for that: the first
    /// ones, so that whoever waits for memory for the others has none that it does not hand on.
    fn events(&self, body: &Bytes, memory: &EventMemory) -> Result<Vec<ArrivingEvent>, Failure> {
        let EventParts(parts) = if self.one { elements(body)? } else { lines(body) };
        if self.envelope.is_some() && parts.len() > 1 {
            let reason = "a binary CloudEvent is one event: send many as application/cloudevents-batch+json";
            return Err(malformed(EventPosition::Only, reason));
        }
        let mut events = Vec::with_capacity(parts.len());
        let mut has_memory = true;
        for (place, part) in parts {
            let raw = self.raw(place, &part)?;
            let share = if has_memory { memory.events.try_take(bytes_of_event(&raw.body)) } else { None };
            has_memory = share.is_some();
            // A slice of the body.
            let event = Event::read(raw.clone()).map_err(|error| refused(place, &part, &raw, &error))?;
            events.push(match share {
                Some(share) => ArrivingEvent::Read(Box::new(event), share),
                None => ArrivingEvent::Unread(raw),
            });
        }
        Ok(events)
    }

    /// What one part of a body is, of at most so many bytes.
    fn raw(&self, place: EventPosition, part: &Bytes) -> Result<RawEvent, Failure> {
        let bounded = |bytes: usize| match bytes > self.event_bytes {
            true => Err(too_large(place, bytes, self.event_bytes)),
            false => Ok(()),
        };
        bounded(part.len())?;
        let raw = match (&self.envelope, self.structured) {
            (_, true) => {
                json_value(place, part)?;
                cloud_events::unwrap(part).map_err(|reason| malformed(place, &reason))?
            }
            (Some(name), false) => cloud_events::named(part.clone(), name.clone()),
            (None, false) => part.clone().into(),
        };
        bounded(raw.body.len())?;
        Ok(raw)
    }
}

fn is_known(media_type: &str) -> bool {
    matches!(
        media_type,
        "application/json"
            | "application/x-ndjson"
            | "application/ndjson"
            | "application/cloudevents+json"
            | "application/cloudevents-batch+json"
    )
}

impl RouteQuery {
    fn parse(self) -> Result<Option<(String, String)>, Failure> {
        let missing = |field: &str, other: &str| {
            let message = format!("{field} is needed where {other} is given");
            Err(Failure::validation(fields::invalid(field, "required", &message)))
        };
        match (self.exchange, self.routing_key) {
            (None, None) => Ok(None),
            (Some(exchange), Some(routing_key)) => Ok(Some((exchange, routing_key))),
            (Some(_), None) => missing("routing_key", "exchange"),
            (None, Some(_)) => missing("exchange", "routing_key"),
        }
    }
}

/// One object, or the elements of an array.
fn elements(body: &Bytes) -> Result<EventParts, Failure> {
    let whole = trimmed(body);
    if whole.first() != Some(&b'[') {
        return Ok(EventParts(vec![(EventPosition::Only, body.slice_ref(whole))]));
    }
    let mut found = Vec::new();
    let mut parser = serde_json::Deserializer::from_slice(body);
    let parsed = Elements(&mut found).deserialize(&mut parser).and_then(|()| parser.end());
    if let Err(error) = parsed {
        let mut failure = body::malformed(&error);
        failure.data["index"] = found.len().into();
        return Err(failure);
    }
    let part = |(index, raw): (usize, &RawValue)| {
        (EventPosition::Index(index), body.slice_ref(raw.get().as_bytes()))
    };
    Ok(EventParts(found.into_iter().enumerate().map(part).collect()))
}

/// Collects outside of itself, so that an error leaves the number of elements before it.
struct Elements<'v, 'de>(&'v mut Vec<&'de RawValue>);

impl<'de> DeserializeSeed<'de> for Elements<'_, 'de> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<(), A::Error> {
        while let Some(element) = array.next_element()? {
            self.0.push(element);
        }
        Ok(())
    }
}

/// One event a line; empty lines are passed over.
fn lines(body: &Bytes) -> EventParts {
    let lines = (1..).zip(body.split(|byte| *byte == b'\n').map(trimmed));
    let filled = lines.filter(|(_, line)| !line.is_empty());
    EventParts(filled.map(|(number, line)| (EventPosition::Line(number), body.slice_ref(line))).collect())
}

/// Without the white space of JSON around it.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let Some(start) = text.iter().position(|byte| !is_space(byte)) else { return &[] };
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    text.get(start..end).unwrap_or_default()
}

/// Whether a part is one JSON value; said of the body where that is all of it.
fn json_value(place: EventPosition, part: &[u8]) -> Result<(), Failure> {
    let Err(error) = serde_json::from_slice::<&RawValue>(part) else { return Ok(()) };
    Err(match place {
        EventPosition::Only => body::malformed(&error),
        _ => malformed(place, &format!("it is not JSON: {error}")),
    })
}

/// Why a part is no event: the first of the reasons that a client can do something about.
fn refused(place: EventPosition, part: &[u8], raw: &RawEvent, error: &BadEvent) -> Failure {
    let known = json_value(place, part).err();
    known.unwrap_or_else(|| match check(&raw.body) {
        Err(reason) => malformed(place, &reason),
        Ok(()) => malformed(place, &format!("it {error}")),
    })
}

/// What is wrong with something that is no event.
fn check(event: &[u8]) -> Result<(), String> {
    if event.first() != Some(&b'{') {
        return Err("an event must be a JSON object".to_owned());
    }
    let posted: PostedEvent<'_> = serde_json::from_slice(event).map_err(|error| error.to_string())?;
    for (field, value) in [("Event-Category", posted.category), ("Event-Name", posted.name)] {
        match value.map(RawValue::get) {
            None => return Err(format!("{field} is missing")),
            Some("\"\"") => return Err(format!("{field} is empty")),
            Some(text) if !text.starts_with('"') => {
                return Err(format!("{field} must be a string, not {}", short(text)));
            }
            Some(_) => {}
        }
    }
    // Escapes only make the raw text longer, so most ids need no second look.
    let long = posted.id.map(RawValue::get).filter(|raw| raw.starts_with('"') && raw.len() > ID_LIMIT + 2);
    match long.map(serde_json::from_str::<String>).transpose().map_err(|error| error.to_string())? {
        Some(id) if id.len() > ID_LIMIT => {
            Err(format!("Msg-ID has {} bytes, {ID_LIMIT} are allowed", id.len()))
        }
        _ => Ok(()),
    }
}

fn short(text: &str) -> &str {
    text.char_indices().nth(40).map_or(text, |(end, _)| &text[..end])
}

impl EventPosition {
    fn mark(self, data: &mut serde_json::Value) {
        match self {
            Self::Only => data["index"] = 0.into(),
            Self::Index(index) => data["index"] = index.into(),
            Self::Line(line) => data["line"] = line.into(),
        }
    }
}

impl fmt::Display for EventPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the event"),
            Self::Index(index) => write!(f, "event {index} (counted from 0)"),
            Self::Line(line) => write!(f, "the event in line {line}"),
        }
    }
}

fn malformed(place: EventPosition, reason: &str) -> Failure {
    let mut data =
        json!({"message": format!("{place} is malformed: {reason}; nothing was taken"), "reason": reason});
    place.mark(&mut data);
    Failure::with_data(StatusCode::BAD_REQUEST, "malformed_event", data)
}

fn too_large(place: EventPosition, bytes: usize, limit: usize) -> Failure {
    let message = format!("{place} has {bytes} bytes, {limit} are allowed; nothing was taken");
    let mut data = json!({"message": message, "bytes": bytes, "limit_bytes": limit});
    place.mark(&mut data);
    Failure::with_data(StatusCode::PAYLOAD_TOO_LARGE, "event_too_large", data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz;

    #[test]
    fn a_msg_id_is_bounded_by_its_length_without_escapes() {
        let event =
            |id: &str| format!(r#"{{"Event-Category":"x","Event-Name":"y","Msg-ID":{id}}}"#).into_bytes();
        let quoted = |id: String| format!("\"{id}\"");
        for taken in
            [quoted("m".repeat(1024)), quoted("\\u006d".repeat(1024)), "7".repeat(2000), "null".into()]
        {
            assert_eq!(check(&event(&taken)), Ok(()), "{taken}");
        }
        let long = check(&event(&quoted("m".repeat(1025)))).unwrap_err();
        assert_eq!(long, "Msg-ID has 1025 bytes, 1024 are allowed");
    }

    /// What is taken is whole JSON, cut where a parser would cut it, whether there is memory to keep it parsed or not.
    #[test]
    fn fuzz_post_body() {
        fuzz::target("post_body", |bytes| {
            let body = Bytes::copy_from_slice(bytes);
            for one in [true, false] {
                let form = BodyForm { one, structured: false, envelope: None, event_bytes: 1 << 20 };
                let taken = |memory: &EventMemory| {
                    let events = form.events(&body, memory).map_err(|failure| failure.data.to_string())?;
                    Ok::<_, String>(events.into_iter().map(ArrivingEvent::into_raw).collect::<Vec<_>>())
                };
                let (read, unread) = (taken(&EventMemory::unbounded()), taken(&full()));
                fuzz::ensure(read == unread, || format!("{read:?} with memory, {unread:?} without"))?;
                for event in read.into_iter().flatten() {
                    let whole = serde_json::from_slice::<&RawValue>(&event.body).map(RawValue::get);
                    let is_whole = whole.as_ref().is_ok_and(|raw| raw.as_bytes() == event.body);
                    fuzz::ensure(is_whole, || format!("{:?} was let in: {whole:?}", event.body))?;
                }
            }
            Ok(())
        });
    }

    /// Memory that somebody has all of.
    fn full() -> EventMemory {
        let memory = EventMemory::new(4 << 10);
        std::mem::forget(memory.events.try_take(4 << 10));
        memory
    }
}
