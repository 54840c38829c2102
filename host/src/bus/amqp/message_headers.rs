//! What the headers of a message say beside its event, and how it is written there.

use lapin::types::{AMQPValue, FieldTable};

use super::names::name;
use crate::bus::Refusal;
use crate::event::identity::CloudEventId;
use crate::trail::{Origin, REQUEST_HEADER, TRACE_HEADER};

/// The two spellings of the prefix that CloudEvents' binding to AMQP allows; we write the first.
const CLOUD_EVENT_PREFIXES: [&str; 2] = ["cloudEvents:", "cloudEvents_"];

/// Where a message says that it comes from.
pub(super) fn origin(headers: Option<&FieldTable>) -> Origin {
    let Some(headers) = headers else { return Origin::default() };
    Origin::of_headers(text(headers, REQUEST_HEADER), text(headers, TRACE_HEADER))
}

/// The name of the CloudEvent that a message is in binary mode; `None` for every other message.
///
/// # Errors
/// It says that it is one and lacks what names it.
pub(super) fn cloud_event(headers: Option<&FieldTable>) -> Result<Option<CloudEventId>, Refusal> {
    let Some(headers) = headers else { return Ok(None) };
    let attribute = |attribute: &str| {
        CLOUD_EVENT_PREFIXES.iter().find_map(|prefix| text(headers, &format!("{prefix}{attribute}")))
    };
    if attribute("specversion") != Some("1.0") {
        return Ok(None);
    }
    let named =
        CloudEventId::new(attribute("source").unwrap_or_default(), attribute("id").unwrap_or_default());
    named.map(Some).map_err(Refusal::event)
}

/// The headers of a message that is published; `None` where there is nothing to say.
pub(super) fn written(origin: &Origin, cloud_event: Option<&CloudEventId>) -> Option<FieldTable> {
    let mut headers = FieldTable::default();
    let mut write = |header: &str, text: String| {
        headers.insert(name(header), AMQPValue::LongString(text.into()));
    };
    if let Some(request) = &origin.request {
        write(REQUEST_HEADER, request.to_string());
    }
    if let Some(trace) = &origin.trace {
        write(TRACE_HEADER, trace.to_string());
    }
    if let Some(event) = cloud_event {
        let [prefix, _] = CLOUD_EVENT_PREFIXES;
        let attributes = [("specversion", "1.0"), ("source", event.source()), ("id", event.id())];
        for (attribute, text) in attributes {
            write(&format!("{prefix}{attribute}"), text.to_owned());
        }
    }
    (!headers.inner().is_empty()).then_some(headers)
}

fn text<'h>(headers: &'h FieldTable, name: &str) -> Option<&'h str> {
    match headers.inner().get(name)? {
        AMQPValue::LongString(text) => std::str::from_utf8(text.as_bytes()).ok(),
        AMQPValue::ShortString(text) => Some(text.as_str()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(entries: &[(&str, &str)]) -> FieldTable {
        let mut headers = FieldTable::default();
        for (header, text) in entries {
            headers.insert(name(header), AMQPValue::LongString((*text).into()));
        }
        headers
    }

    #[test]
    fn what_is_written_is_read_again() {
        let event = CloudEventId::new("/tests/ünï", "1").unwrap();
        let origin_of_it = Origin::of_headers(Some("abc"), None);
        let headers = written(&origin_of_it, Some(&event));
        assert_eq!(cloud_event(headers.as_ref()), Ok(Some(event)));
        assert_eq!(origin(headers.as_ref()), origin_of_it);
        assert_eq!(written(&Origin::default(), None), None);
    }

    #[test]
    fn only_what_says_that_it_is_a_cloud_event_is_one() {
        assert_eq!(cloud_event(None), Ok(None));
        assert_eq!(cloud_event(Some(&table(&[("cloudEvents:id", "1")]))), Ok(None));
        let other =
            [("cloudEvents_specversion", "1.0"), ("cloudEvents_id", "1"), ("cloudEvents_source", "/s")];
        assert_eq!(cloud_event(Some(&table(&other))), Ok(CloudEventId::new("/s", "1").ok()));
        let lacking = cloud_event(Some(&table(&other[..2])));
        assert_eq!(lacking.unwrap_err().to_string(), "the CloudEvent's source is empty");
    }
}
