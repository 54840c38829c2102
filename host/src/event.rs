//! An event, parsed once: what it is called, who it is, and a flat index that modules look into.

use std::borrow::Cow;

use bytes::Bytes;
use plugin_api::abi::kind;
use plugin_api::index::Index;
use plugin_api::lend::LentEvent;

use crate::trail::Trail;

/// One event of the bus. Shared between modules as `Arc<Event>`.
#[derive(Debug)]
pub struct Event {
    text: String,
    index: Index,
    category: String,
    name: String,
    identity: Option<String>,
    trail: Trail,
}

/// Why bytes are not an event. The text continues a sentence that names the message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadEvent {
    /// Not UTF-8, so not JSON.
    #[error("is not UTF-8: {0}")]
    NotText(std::str::Utf8Error),
    /// Not one JSON object.
    #[error("{0}")]
    NotAnObject(String),
    /// A field that every event needs is missing.
    #[error("has no {0}; every event needs Event-Category and Event-Name")]
    Missing(&'static str),
    /// A field that every event needs is something else.
    #[error("has the {field} {found}; it should be a string that is not empty")]
    NotAName {
        /// Which field.
        field: &'static str,
        /// Its JSON text, shortened.
        found: String,
    },
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
        let identity = index
            .find(&text, 0, "Msg-ID")
            .filter(|found| found.kind == kind::STRING && !found.text.is_empty())
            .map(|found| format!("{}/{}/{}", part(&category), part(&name), found.text));
        Ok(Event { text, index, category, name, identity, trail: Trail::default() })
    }

    /// The event with what follows it.
    #[must_use]
    pub fn followed_by(self, trail: Trail) -> Self {
        trail.is_of(&self.category, &self.name);
        Event { trail, ..self }
    }

    /// What follows it.
    #[must_use]
    pub fn trail(&self) -> &Trail {
        &self.trail
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

    /// What makes a redelivered event the same event: category, name and `Msg-ID`. The first two belong to it
    /// because a switch numbers its events by the microsecond, and KAZOO's answers reuse a request's `Msg-ID`.
    #[must_use]
    pub fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
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
        let found = self.index.find(&self.text, 0, "Call-ID")?;
        (found.kind == kind::STRING && !found.text.is_empty()).then_some(found.text)
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

/// A name within an identity: no two events may have the same one, wherever their names have the separator.
fn part(name: &str) -> Cow<'_, str> {
    match name.contains(['/', '%']) {
        true => name.replace('%', "%25").replace('/', "%2F").into(),
        false => name.into(),
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
        assert_eq!(event.identity(), Some("call_event/CHANNEL_CREATE/m1"));
        assert_eq!(event.json(), body);
    }

    #[test]
    fn no_two_events_share_an_identity_because_of_what_their_names_hold() {
        let identity = |category: &str, name: &str, id: &str| {
            let event = serde_json::json!({"Event-Category": category, "Event-Name": name, "Msg-ID": id});
            Event::parse(event.to_string().into()).unwrap().identity().map(str::to_owned)
        };
        let identities = [
            identity("a/b", "c", "1"),
            identity("a", "b/c", "1"),
            identity("a", "b", "c/1"),
            identity("a%2Fb", "c", "1"),
        ];
        let different: std::collections::BTreeSet<_> = identities.iter().collect();
        assert_eq!(different.len(), identities.len(), "{identities:?}");
        assert_eq!(identity("a", "b", ""), None);
    }

    #[test]
    fn fuzz_event() {
        fuzz::target("event", |bytes| {
            let Ok(event) = Event::parse(Bytes::copy_from_slice(bytes)) else { return Ok(()) };
            let unread = ["recursion limit", "hex escape"];
            let json: serde_json::Value = match serde_json::from_slice(bytes) {
                Ok(json) => json,
                // What is nested deeply, and halves of surrogate pairs, are not looked into but handed on.
                Err(error) if unread.iter().any(|why| error.to_string().contains(why)) => return Ok(()),
                Err(error) => return Err(format!("taken and not JSON: {error}")),
            };
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
            fuzz::ensure(
                id.is_none_or(|id| event.identity().is_some_and(|whole| whole.ends_with(id))),
                || format!("{:?} has not {id:?}", event.identity()),
            )
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
        let latin = Event::parse(Bytes::from_static(b"{\"a\":\"\xe9\"}")).unwrap_err();
        assert!(matches!(latin, BadEvent::NotText(_)));
    }
}
