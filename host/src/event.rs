//! An event, parsed once: what it is called, who it is, and a flat index that modules look into.

use std::sync::OnceLock;

use bytes::Bytes;
use plugin_api::abi::kind;
use plugin_api::index::Index;
use plugin_api::lend::LentEvent;

use crate::memory::MemoryShare;
use crate::trail::EventContext;

mod bad_event;
mod call_log;
mod depth;
pub mod identity;
mod limits;

pub use bad_event::BadEvent;
pub use call_log::CallLog;
pub use depth::DEPTH_LIMIT;
use identity::{CloudEventId, IdentityClaim};
pub use limits::NAME_LIMIT;

/// An event on its way to the listener: not parsed yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RawEvent {
    /// Its JSON text, decoded.
    pub body: Bytes,
    /// The name that it has as a CloudEvent, where it came as one.
    pub cloud_event: Option<CloudEventId>,
}

impl From<Bytes> for RawEvent {
    fn from(body: Bytes) -> Self {
        RawEvent { body, cloud_event: None }
    }
}

/// An event on its way to the listener, parsed where whoever took it has looked at it already: once is enough.
#[derive(Debug)]
pub enum ArrivingEvent {
    /// As it came.
    Unread(RawEvent),
    /// Parsed, and the memory that it takes.
    Read(Box<Event>, MemoryShare),
}

impl ArrivingEvent {
    /// Its JSON text.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        match self {
            ArrivingEvent::Unread(raw) => &raw.body,
            ArrivingEvent::Read(event, _) => event.text.as_bytes(),
        }
    }

    /// Takes out the memory that it has already.
    pub fn take_memory(&mut self) -> Option<MemoryShare> {
        match self {
            ArrivingEvent::Unread(_) => None,
            ArrivingEvent::Read(_, memory) => Some(std::mem::take(memory)),
        }
    }

    /// The event.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn read(self) -> Result<Event, BadEvent> {
        match self {
            ArrivingEvent::Unread(raw) => Event::read(raw),
            ArrivingEvent::Read(event, _) => Ok(*event),
        }
    }

    /// As it came, for whoever hands it on unread.
    #[must_use]
    pub fn into_raw(self) -> RawEvent {
        match self {
            ArrivingEvent::Unread(raw) => raw,
            ArrivingEvent::Read(event, _) => {
                RawEvent { body: event.text.into(), cloud_event: event.cloud_event }
            }
        }
    }
}

impl From<RawEvent> for ArrivingEvent {
    fn from(raw: RawEvent) -> Self {
        ArrivingEvent::Unread(raw)
    }
}

/// One event of the bus. Shared between modules as `Arc<Event>`.
#[derive(Debug)]
pub struct Event {
    text: String,
    index: Index,
    category: String,
    name: String,
    cloud_event: Option<CloudEventId>,
    /// Made when it is asked for: most events of a bus cause nothing, and a digest costs more than their parsing.
    identity: OnceLock<Option<String>>,
    trail: EventContext,
    memory: MemoryShare,
    said: CallLog,
}

impl Event {
    /// Parses a message body: one JSON object with `Event-Category` and `Event-Name`
    /// (the envelope of KAZOO's `kapi` messages).
    ///
    /// # Errors
    /// [`BadEvent`], which names the field or the place.
    pub fn parse(body: Bytes) -> Result<Self, BadEvent> {
        let text = String::from_utf8(body.into()).map_err(|error| BadEvent::NotText(error.utf8_error()))?;
        let index = Index::of(&text).map_err(|error| BadEvent::NotAnObject(error.to_string()))?;
        let category = required(&index, &text, "Event-Category")?;
        let name = required(&index, &text, "Event-Name")?;
        let event = Event {
            text,
            index,
            category,
            name,
            cloud_event: None,
            identity: OnceLock::new(),
            trail: EventContext::default(),
            memory: MemoryShare::default(),
            said: CallLog::default(),
        };
        event.limits().map_or(Ok(event), Err)
    }

    /// Parses an event that may have come as a CloudEvent.
    ///
    /// # Errors
    /// As [`Event::parse`].
    pub fn read(raw: RawEvent) -> Result<Self, BadEvent> {
        Event::parse(raw.body).map(|event| event.named_by(raw.cloud_event))
    }

    /// What of it goes beyond a limit.
    fn limits(&self) -> Option<BadEvent> {
        // Nothing can be too long or too deep in so short a text.
        if self.text.len() <= DEPTH_LIMIT {
            return None;
        }
        let names = [("Event-Category", Some(self.category())), ("Event-Name", Some(self.name()))];
        let ids = [("Msg-ID", self.msg_id()), ("Call-ID", self.call_id())];
        let named = names.into_iter().chain(ids).filter_map(|(field, text)| Some((field, text?)));
        limits::too_long(named.chain(self.accounts().map(|account| ("Account-ID", account))))
            .or_else(|| depth::is_too_deep(&self.text).then_some(BadEvent::TooDeep))
    }

    /// The event, which came as the CloudEvent of this name if as any.
    #[must_use]
    pub fn named_by(self, cloud_event: Option<CloudEventId>) -> Self {
        Event { cloud_event, ..self }
    }

    /// The event with what follows it.
    #[must_use]
    pub fn followed_by(self, trail: EventContext) -> Self {
        trail.is_of(&self.category, &self.name);
        Event { trail, ..self }
    }

    /// The event with the memory that it takes, which is given back when nobody has the event any longer.
    #[must_use]
    pub fn holding(self, memory: MemoryShare) -> Self {
        Event { memory, ..self }
    }

    /// Bytes of the memory that it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.bytes()
    }

    /// The event as it came to the listener.
    #[must_use]
    pub fn raw(&self) -> RawEvent {
        RawEvent { body: Bytes::copy_from_slice(self.text.as_bytes()), cloud_event: self.cloud_event.clone() }
    }

    /// What follows it.
    #[must_use]
    pub fn trail(&self) -> &EventContext {
        &self.trail
    }

    /// What modules have logged about it.
    #[must_use]
    pub fn said(&self) -> &CallLog {
        &self.said
    }

    /// `Event-Category`.
    #[must_use]
    pub fn category(&self) -> &str {
        &self.category
    }

    /// `Event-Name`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What makes a redelivered event the same event; the rule is [`identity::identity`]'s.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.get_or_init(|| self.make_identity()).as_deref()
    }

    fn make_identity(&self) -> Option<String> {
        let Some(name) = &self.cloud_event else {
            return identity::identity(IdentityClaim::Message {
                msg_id: self.msg_id(),
                body: self.text.as_bytes(),
            });
        };
        let mut accounts: Vec<&str> = self.accounts().collect();
        if accounts.is_empty() {
            // Changes of documents name an account by its database.
            let elsewhere = ["pvt_account_id", "Account-DB", "Database"];
            accounts.extend(elsewhere.into_iter().find_map(|field| self.top_text(field)));
        }
        identity::identity(IdentityClaim::CloudEvent { name, accounts: &accounts })
    }

    /// `Msg-ID`, where it is a text that is not empty.
    fn msg_id(&self) -> Option<&str> {
        self.top_text("Msg-ID")
    }

    fn top_text(&self, field: &str) -> Option<&str> {
        let found = self.index.find(&self.text, 0, field)?;
        (found.kind == kind::STRING && !found.text.is_empty()).then_some(found.text)
    }

    /// The accounts that it names where KAZOO's events name theirs: `Account-ID`, at the top or in
    /// `Custom-Channel-Vars`. None, where it names them elsewhere or nowhere.
    pub fn accounts(&self) -> impl Iterator<Item = &str> {
        let vars = self.index.find(&self.text, 0, "Custom-Channel-Vars").map(|vars| vars.node);
        [Some(0), vars].into_iter().flatten().filter_map(|parent| {
            let found = self.index.find(&self.text, parent, "Account-ID")?;
            (found.kind == kind::STRING && !found.text.is_empty()).then_some(found.text)
        })
    }

    /// The call that it is about, as KAZOO's events name it: `Call-ID`.
    #[must_use]
    pub fn call_id(&self) -> Option<&str> {
        self.top_text("Call-ID")
    }

    /// The event as it came.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.text
    }

    /// What is lent to a module.
    #[must_use]
    pub fn lend(&self) -> LentEvent<'_> {
        LentEvent { text: &self.text, index: &self.index, category: &self.category, name: &self.name }
    }
}

fn required(index: &Index, text: &str, field: &'static str) -> Result<String, BadEvent> {
    let found = index.find(text, 0, field).ok_or(BadEvent::Missing(field))?;
    if found.kind != kind::STRING || found.text.is_empty() {
        let found = found.raw.chars().take(60).collect();
        return Err(BadEvent::NotAName { field, found });
    }
    Ok(found.text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::identity::ID_LIMIT;
    use super::*;
    use crate::fuzz;

    #[track_caller]
    fn refused(body: &'static str, reason: &str) {
        let error = Event::parse(Bytes::from_static(body.as_bytes())).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }

    #[test]
    fn an_event_knows_its_name_and_its_identity() {
        let body = r#"{"Event-Category":"call_event","Event-Name":"CHANNEL_CREATE","Msg-ID":"m1"}"#;
        let event = Event::parse(Bytes::from_static(body.as_bytes())).unwrap();
        assert_eq!(event.category(), "call_event");
        assert_eq!(event.name(), "CHANNEL_CREATE");
        let same = IdentityClaim::Message { msg_id: Some("m1"), body: body.as_bytes() };
        assert_eq!(event.identity(), identity::identity(same).as_deref());
        assert_eq!(event.json(), body);
    }

    #[test]
    fn a_cloud_event_is_named_by_source_id_and_account() {
        let event = |body: serde_json::Value, id: &str| {
            let event = Event::parse(body.to_string().into()).unwrap();
            event.named_by(Some(CloudEventId::new("/s", id).unwrap())).identity().unwrap().to_owned()
        };
        let of = |extra: serde_json::Value| {
            let mut body = serde_json::json!({"Event-Category": "a", "Event-Name": "b"});
            body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            body
        };
        let plain = event(of(serde_json::json!({})), "1");
        assert_eq!(plain, event(of(serde_json::json!({"Msg-ID": "x", "Call-ID": "2"})), "1"));
        let accounts = [
            serde_json::json!({"Account-ID": "x"}),
            serde_json::json!({"Custom-Channel-Vars": {"Account-ID": "y"}}),
            serde_json::json!({"Database": "account/ab/cd/ef"}),
            serde_json::json!({"Account-DB": "account/ab/cd/gh"}),
            serde_json::json!({"pvt_account_id": "z"}),
        ];
        let mut all: Vec<String> = accounts.into_iter().map(|account| event(of(account), "1")).collect();
        all.extend([plain, event(of(serde_json::json!({})), "2")]);
        let different: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len(), "{all:?}");
    }

    #[test]
    fn fuzz_event() {
        fuzz::target("event", |bytes| {
            let Ok(event) = Event::parse(Bytes::copy_from_slice(bytes)) else { return Ok(()) };
            let unread = ["recursion limit", "hex escape", "number out of range"];
            let json: serde_json::Value = match serde_json::from_slice(bytes) {
                Ok(json) => json,
                // What is nested deeply, halves of surrogate pairs, and numbers that no float holds are handed on unread.
                Err(error) if unread.iter().any(|why| error.to_string().contains(why)) => return Ok(()),
                Err(error) => return Err(format!("taken and not JSON: {error}")),
            };
            // Whatever the names are, each leads to its last value.
            for (name, value) in json.as_object().into_iter().flatten() {
                let found = event.index.find(&event.text, 0, name).map(|found| found.raw);
                let read = found.and_then(|raw| serde_json::from_str::<serde_json::Value>(raw).ok());
                fuzz::ensure(read.as_ref() == Some(value), || format!("{name:?} leads to {found:?}"))?;
            }
            let same = |field: &str, found: &str| {
                let known = json[field].as_str();
                fuzz::ensure(known == Some(found), || {
                    format!("{field} is {found:?}, and JSON says {known:?}")
                })
            };
            same("Event-Category", event.category())?;
            same("Event-Name", event.name())?;
            let id = json["Msg-ID"].as_str().filter(|id| !id.is_empty());
            fuzz::ensure(id.is_some() == event.identity().is_some(), || {
                format!("the identity of Msg-ID {id:?}")
            })?;
            let again = Event::parse(Bytes::copy_from_slice(bytes)).map_err(|error| error.to_string())?;
            fuzz::ensure(again.identity() == event.identity(), || "another identity".to_owned())?;
            let Some(id) = id else { return Ok(()) };
            fuzz::ensure(id.len() <= ID_LIMIT, || format!("a Msg-ID of {} bytes", id.len()))?;
            let mut other = bytes.to_vec();
            other.push(b' ');
            let other = Event::parse(other.into()).map_err(|error| error.to_string())?;
            fuzz::ensure(other.identity() != event.identity(), || "taken for another message".to_owned())
        });
    }

    #[test]
    fn what_is_not_an_event_is_refused_by_the_name_of_what_is_wrong() {
        refused("", "is not a JSON object");
        refused("[1]", "is not a JSON object");
        refused(r#"{"Event-Name":"x"}"#, "has no Event-Category");
        refused(r#"{"Event-Category":"x"}"#, "has no Event-Name");
        refused(r#"{"Event-Category":"x","Event-Name":null}"#, "has the Event-Name null");
        refused(r#"{"Event-Category":"","Event-Name":"x"}"#, "has the Event-Category \"\"");
        let long =
            format!(r#"{{"Event-Category":"x","Event-Name":"y","Msg-ID":"{}"}}"#, "m".repeat(ID_LIMIT + 1));
        assert_eq!(
            Event::parse(long.into()).unwrap_err(),
            BadEvent::TooLong { field: "Msg-ID", bytes: ID_LIMIT + 1, limit: ID_LIMIT }
        );
        let latin = Event::parse(Bytes::from_static(b"{\"a\":\"\xe9\"}")).unwrap_err();
        assert!(matches!(latin, BadEvent::NotText(_)));
    }
}
