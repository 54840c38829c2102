//! Routing keys: how they are built from an event or a wish, and which pattern takes which key. Pure.

use super::Binding;
use serde_json::Value;
use std::borrow::Cow;

/// Call events.
pub const CALL_EVENTS: &str = "callevt";
/// Changes of documents and databases.
pub const CONFIGURATION: &str = "configuration";
/// Notifications.
pub const NOTIFICATIONS: &str = "notifications";
/// Text and multimedia messages.
pub const MESSAGES: &str = "im";

/// One segment of a routing key, as `kz_amqp_util:encode` writes it.
///
/// The empty segment and a lone `*` or `#` stay. Otherwise letters, digits, `-`, `~` and `_` stay, a space
/// becomes `+` and every other byte `%` with two upper-case hexadecimal digits.
pub fn encode(segment: impl AsRef<[u8]>) -> String {
    let segment = segment.as_ref();
    if segment == b"*" || segment == b"#" {
        return char::from(segment[0]).to_string();
    }
    let mut out = String::with_capacity(segment.len() + 8);
    for &byte in segment {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'~' | b'_' => out.push(char::from(byte)),
            b' ' => out.push('+'),
            _ => {
                out.push('%');
                out.push(hex_digit(byte >> 4));
                out.push(hex_digit(byte & 0x0f));
            }
        }
    }
    out
}

fn hex_digit(nibble: u8) -> char {
    char::from(if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 })
}

/// Whether a topic exchange hands a message under `key` to a queue bound with `pattern`.
pub fn matches(pattern: &str, key: &str) -> bool {
    let pattern = words(pattern);
    let key = words(key);
    let (mut p, mut k) = (0, 0);
    // Where to go on when the words after the last `#` do not fit: that `#` takes one word more.
    let mut retry: Option<(usize, usize)> = None;
    while k < key.len() {
        match pattern.get(p) {
            Some(&"#") => {
                retry = Some((p + 1, k));
                p += 1;
            }
            Some(&word) if word == "*" || word == key[k] => {
                p += 1;
                k += 1;
            }
            _ => {
                let Some((after, taken)) = retry else { return false };
                retry = Some((after, taken + 1));
                p = after;
                k = taken + 1;
            }
        }
    }
    pattern[p..].iter().all(|word| *word == "#")
}

/// The broker sees no word in the empty key, and an empty word between two dots.
fn words(key: &str) -> Vec<&str> {
    if key.is_empty() { Vec::new() } else { key.split('.').collect() }
}

/// Call events of one name (`*` for all) of one call (`*` for all), as `kapi_call:bind_q`.
pub fn call(event: &str, call_id: &str) -> Binding {
    Binding::new(CALL_EVENTS, format!("call.{event}.{}", encode(call_id)))
}

/// Which document changes are meant; `*` is any.
#[derive(Debug, Clone, Copy)]
pub struct Documents<'a> {
    /// `created`, `edited` or `deleted`, with or without `doc_` or `db_` before it.
    pub action: &'a str,
    /// The database, as the writer spells it.
    pub db: &'a str,
    /// `pvt_type` of the document; `database` for a database.
    pub doc_type: &'a str,
    /// Id of the document.
    pub id: &'a str,
}

impl Default for Documents<'_> {
    fn default() -> Self {
        Self { action: "*", db: "*", doc_type: "*", id: "*" }
    }
}

impl Documents<'_> {
    /// The routing key under which such a change is published, as `kapi_conf` builds it.
    pub fn key(&self) -> String {
        let action: Cow<'_, str> = match self.action {
            "*" => "*".into(),
            action if action.starts_with("doc_") || action.starts_with("db_") => action.into(),
            action if self.doc_type == "database" => format!("db_{action}").into(),
            action => format!("doc_{action}").into(),
        };
        format!("{action}.{}.{}.{}", self.db, self.doc_type, encode(self.id))
    }

    /// The binding for such changes. All of them is the key `#`, which takes other keys of the exchange too.
    pub fn binding(&self) -> Binding {
        let key = self.key();
        Binding::new(CONFIGURATION, if key == "*.*.*.*" { "#".to_owned() } else { key })
    }
}

/// The bulk notice "documents of this type were changed", as `kapi_conf` publishes and binds it.
pub fn document_type_update(doc_type: &str) -> Binding {
    Binding::new(CONFIGURATION, format!("configuration.doc_type_update.{doc_type}"))
}

/// One notification by its `Event-Name`; `None` for a name that is not known.
pub fn notification(event_name: &str) -> Option<Binding> {
    let (_, suffix) = NOTIFICATION_KEYS.iter().find(|(name, _)| *name == event_name)?;
    Some(Binding::new(NOTIFICATIONS, format!("notifications.{suffix}")))
}

/// Every notification.
pub fn all_notifications() -> Binding {
    Binding::new(NOTIFICATIONS, "notifications.*.*")
}

/// Messages that came in, of one kind (`sms`, `mms`), route type (`*` for all) and id (`*` for all).
pub fn inbound_message(kind: &str, route_type: &str, message_id: &str) -> Binding {
    let route = encode(route_type.to_lowercase());
    Binding::new(MESSAGES, format!("{kind}.inbound.{route}.{}", encode(message_id)))
}

/// Messages that go out, of one kind, by one route id (`None` leaves its segment out) and id.
pub fn outbound_message(kind: &str, route_id: Option<&str>, message_id: &str) -> Binding {
    let id = encode(message_id);
    let key = match route_id {
        Some(route) => format!("{kind}.outbound.{}.{id}", encode(route.to_lowercase())),
        None => format!("{kind}.outbound.{id}"),
    };
    Binding::new(MESSAGES, key)
}

/// Where KAZOO would publish an event: exchange and routing key, from the event's top-level values.
///
/// `get` answers a top-level key with its text (a boolean as `true` or `false`). `None` for a category or
/// name that KAZOO has no exchange for, or when what the key is built from is missing.
pub fn routing_key_of_event<'a>(get: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Binding> {
    let text = |key: &str| get(key).filter(|value| !value.is_empty());
    let category = text("Event-Category")?;
    let name = text("Event-Name")?;
    match category.as_ref() {
        "call_event" => Some(call(&name, &call_event_id(text)?)),
        "configuration" => configuration_key(&name, text),
        "notification" => notification(&name),
        "sms" | "mms" => message_key(&category, &name, text),
        _ => None,
    }
}

/// The same for a parsed event.
pub fn routing_key_of_value(event: &Value) -> Option<Binding> {
    routing_key_of_event(|key| match event.get(key)? {
        Value::String(text) => Some(Cow::Borrowed(text.as_str())),
        Value::Bool(flag) => Some(Cow::Borrowed(if *flag { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        _ => None,
    })
}

/// A leg of a loopback channel goes by its own id, any other by the id of the call that it originated from.
fn call_event_id<'a>(text: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Cow<'a, str>> {
    let own = || text("Call-ID").or_else(|| text("Unique-ID"));
    if text("Channel-Is-Loopback").is_some_and(|flag| flag == "true") {
        own()
    } else {
        text("Origination-Call-ID").or_else(own)
    }
}

fn configuration_key<'a>(name: &str, text: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Binding> {
    if name == "doc_type_update" {
        return Some(document_type_update(&text("Type")?));
    }
    if !name.starts_with("doc_") && !name.starts_with("db_") {
        return None;
    }
    // A notice whose writer did not know the type carries the word `undefined` in its key.
    let doc_type = text("Type").unwrap_or(Cow::Borrowed("undefined"));
    let (db, id) = (text("Database")?, text("ID")?);
    let key = Documents { action: name, db: &db, doc_type: &doc_type, id: &id }.key();
    Some(Binding::new(CONFIGURATION, key))
}

fn message_key<'a>(kind: &str, name: &str, text: impl Fn(&str) -> Option<Cow<'a, str>>) -> Option<Binding> {
    let id = text("Message-ID")?;
    match (name, text("Route-Type")) {
        ("inbound", Some(route)) => Some(inbound_message(kind, &route, &id)),
        ("inbound", None) => {
            Some(Binding::new(MESSAGES, format!("{kind}.inbound.{}", encode(id.as_bytes()))))
        }
        ("outbound", _) => Some(outbound_message(kind, text("Route-ID").as_deref(), &id)),
        _ => None,
    }
}

/// `Event-Name` of a notification and what follows `notifications.` in its key (`kapi_notifications`).
const NOTIFICATION_KEYS: &[(&str, &str)] = &[
    ("account_zone_change", "account.zone_change"),
    ("bill_reminder", "account.reminder"),
    ("low_balance", "account.low_balance"),
    ("new_account", "account.new"),
    ("service_added", "account.service_added"),
    ("topup", "account.topup"),
    ("transaction", "account.transaction"),
    ("cf_notification", "account.cf_notification"),
    ("number_feature_manual_action", "account.number_feature_manual_action"),
    ("skel", "account.skel"),
    ("inbound_fax", "fax.inbound"),
    ("inbound_fax_error", "fax.inbound_error"),
    ("outbound_fax", "fax.outbound"),
    ("outbound_fax_error", "fax.outbound_error"),
    ("outbound_smtp_fax_error", "fax.outbound_smtp_error"),
    ("cnam_request", "number.cnam_request"),
    ("port_cancel", "number.port_cancel"),
    ("port_comment", "number.port_comment"),
    ("port_pending", "number.port_pending"),
    ("port_rejected", "number.port_rejected"),
    ("port_request", "number.port_request"),
    ("port_scheduled", "number.port_scheduled"),
    ("port_unconfirmed", "number.port_unconfirmed"),
    ("ported", "number.ported"),
    ("denied_emergency_bridge", "registration.denied_emergency_bridge"),
    ("emergency_bridge", "registration.emergency_bridge"),
    ("deregister", "sip.deregister"),
    ("first_occurrence", "sip.first_occurrence"),
    ("missed_call", "sip.missed_call"),
    ("register", "sip.register"),
    ("system_alert", "system.alert"),
    ("customer_update", "user.customer_update"),
    ("new_user", "user.new"),
    ("password_recovery", "user.password_recovery"),
    // Published by the original although it is missing from its list of definitions.
    ("voicemail_deleted", "voicemail.deleted"),
    ("voicemail_full", "voicemail.full"),
    ("voicemail_new", "voicemail.new"),
    ("voicemail_saved", "voicemail.saved"),
    ("webhook", "webhook.callflow"),
    ("webhook_disabled", "webhook.disabled"),
];

#[cfg(test)]
mod tests;
