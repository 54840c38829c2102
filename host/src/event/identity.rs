//! What makes two messages the same event. Pure.
//!
//! A bus and an HTTP client may bring a message twice: the publisher repeats it, the broker delivers it again, two
//! hosts get it. Such a message must cause no second delivery. To take an event for another one is worse, though: it is
//! lost. So messages are the same only where everything that tells them apart is the same. What a broker or a proxy
//! adds (headers, a redelivered flag) is not part of a message here.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};

/// The longest `Msg-ID`, and the longest `source` or `id` of a CloudEvent, in bytes.
pub const ID_LIMIT: usize = 1024;

/// `source` and `id` of a CloudEvent, decoded. Its producer promises that they are unique together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CloudEventId {
    source: Arc<str>,
    id: Arc<str>,
}

/// Why the two texts do not name a CloudEvent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCloudEventId {
    /// One of them is missing or empty.
    #[error("the CloudEvent's {0} is empty")]
    Empty(&'static str),
    /// One of them is longer than [`ID_LIMIT`].
    #[error("the CloudEvent's {attribute} has {bytes} bytes, {ID_LIMIT} are allowed")]
    TooLong {
        /// Which one.
        attribute: &'static str,
        /// How long it is.
        bytes: usize,
    },
}

impl CloudEventId {
    /// The name of a CloudEvent; both texts as they are after decoding.
    ///
    /// # Errors
    /// [`BadCloudEventId`], which names the attribute.
    pub fn new(source: &str, id: &str) -> Result<Self, BadCloudEventId> {
        for (attribute, text) in [("source", source), ("id", id)] {
            match text.len() {
                0 => return Err(BadCloudEventId::Empty(attribute)),
                1..=ID_LIMIT => {}
                bytes => return Err(BadCloudEventId::TooLong { attribute, bytes }),
            }
        }
        Ok(Self { source: source.into(), id: id.into() })
    }

    /// The context in which the event happened.
    #[must_use]
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Which event of its source it is.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// One text for both, for events that need a `Msg-ID`. Both may hold any character, so the separator is escaped
    /// where it stands in the second.
    #[must_use]
    pub fn msg_id(&self) -> String {
        format!("{}#{}", self.source, self.id.replace('%', "%25").replace('#', "%23"))
    }
}

/// What a message says about itself, as far as it decides which event it is.
#[derive(Debug, Clone, Copy)]
pub enum IdentityClaim<'m> {
    /// A message in KAZOO's envelope.
    Message {
        /// Its `Msg-ID`. KAZOO's call events have the switch's `Event-Date-Timestamp` there, which calls of one ring
        /// group, of several accounts and of several switches share, so it says little alone.
        msg_id: Option<&'m str>,
        /// The JSON text after content type and content encoding were undone.
        body: &'m [u8],
    },
    /// An event that came as a CloudEvent, whatever its data holds.
    CloudEvent {
        /// Its `source` and `id`.
        name: &'m CloudEventId,
        /// The accounts that it names, in its own order. An event without one counts as one more account.
        accounts: &'m [&'m str],
    },
}

/// How much of a message's own id, or a CloudEvent's, an identity begins with.
const ID_SHOWN: usize = 20;

/// Bytes of a digest in an identity: what nobody can find two messages for.
const DIGEST: usize = 16;

/// The identity of an event. A text of at most 56 bytes, equal for two messages exactly when they are the same event.
/// `None` for what is never recognised: a message without a `Msg-ID`.
///
/// It begins with the message's own id, so that stores which keep identities in order write next to each other what
/// came next to each other: call events have the time there.
///
/// A host used to keep `CATEGORY/NAME/MSG-ID`. This form has no slash, so none of those that are still in a store is
/// ever taken for one of these.
#[must_use]
pub fn identity(claim: IdentityClaim<'_>) -> Option<String> {
    let mut digest = Sha256::new();
    let (form, id) = match claim {
        IdentityClaim::Message { msg_id, body } => {
            let msg_id = msg_id.filter(|id| !id.is_empty())?;
            add(&mut digest, msg_id.as_bytes());
            digest.update(body);
            ("m3", msg_id)
        }
        IdentityClaim::CloudEvent { name, accounts } => {
            add(&mut digest, name.source.as_bytes());
            add(&mut digest, name.id.as_bytes());
            accounts.iter().for_each(|account| add(&mut digest, account.as_bytes()));
            ("c3", &*name.id)
        }
    };
    let digest = digest.finalize();
    let mut identity = format!("{form}:");
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '.') { c } else { '_' };
    identity.extend(id.chars().take(ID_SHOWN).map(plain));
    identity.push(':');
    for byte in &digest[..DIGEST] {
        for half in [byte >> 4, byte & 15] {
            identity.push(char::from(b"0123456789abcdef"[usize::from(half)]));
        }
    }
    Some(identity)
}

/// Adds one part with its length, so that what stands on both sides of a border cannot move over it.
fn add(digest: &mut Sha256, part: &[u8]) {
    digest.update((part.len() as u64).to_le_bytes());
    digest.update(part);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(msg_id: Option<&str>, body: &str) -> Option<String> {
        identity(IdentityClaim::Message { msg_id, body: body.as_bytes() })
    }

    fn cloud(source: &str, id: &str, accounts: &[&str]) -> Option<String> {
        let name = CloudEventId::new(source, id).unwrap();
        identity(IdentityClaim::CloudEvent { name: &name, accounts })
    }

    const CREATE: &str = r#"{"Event-Name":"CHANNEL_CREATE","Call-ID":"1","Msg-ID":"63900000000"}"#;
    const SAME_TICK: &str = r#"{"Event-Name":"CHANNEL_CREATE","Call-ID":"2","Msg-ID":"63900000000"}"#;
    const OTHER_ACCOUNT: &str =
        r#"{"Call-ID":"1","Custom-Channel-Vars":{"Account-ID":"b"},"Msg-ID":"63900000000"}"#;

    #[test]
    fn which_messages_are_the_same_event() {
        let timestamp = Some("63900000000");
        // What is compared, whether it is one event, the two identities.
        let table = [
            (
                "a broker's redelivery, or the same message at two hosts",
                true,
                message(timestamp, CREATE),
                message(timestamp, CREATE),
            ),
            (
                "calls of one tick of a switch's clock",
                false,
                message(timestamp, CREATE),
                message(timestamp, SAME_TICK),
            ),
            (
                "one tick, another account",
                false,
                message(timestamp, CREATE),
                message(timestamp, OTHER_ACCOUNT),
            ),
            (
                "a publisher's repetition with an id of its own each time",
                false,
                message(Some("a"), CREATE),
                message(Some("b"), CREATE),
            ),
            (
                "a notification and the next one that answers the same request",
                false,
                message(Some("r1"), r#"{"Event-Name":"fax_inbound"}"#),
                message(Some("r1"), r#"{"Event-Name":"fax_outbound"}"#),
            ),
            (
                "two revisions of a document",
                false,
                message(Some("d"), r#"{"Rev":"1-a"}"#),
                message(Some("d"), r#"{"Rev":"2-b"}"#),
            ),
            (
                "another spelling of the same JSON",
                false,
                message(Some("a"), r#"{"a":1}"#),
                message(Some("a"), r#"{ "a": 1 }"#),
            ),
            ("a border that moved", false, message(Some("ab"), "c"), message(Some("a"), "bc")),
            ("a CloudEvent again, with other data", true, cloud("/s", "1", &["a"]), cloud("/s", "1", &["a"])),
            ("CloudEvents of two sources", false, cloud("/s", "1", &["a"]), cloud("/t", "1", &["a"])),
            ("CloudEvents with two ids", false, cloud("/s", "1", &["a"]), cloud("/s", "2", &["a"])),
            (
                "one CloudEvent's name in two accounts",
                false,
                cloud("/s", "1", &["a"]),
                cloud("/s", "1", &["b"]),
            ),
            ("with an account and without", false, cloud("/s", "1", &["a"]), cloud("/s", "1", &[])),
            ("without an account, again", true, cloud("/s", "1", &[]), cloud("/s", "1", &[])),
            (
                "source and id with a separator in them",
                false,
                cloud("/s#1", "2", &[]),
                cloud("/s", "1#2", &[]),
            ),
            ("accounts side by side", false, cloud("/s", "1", &["ab", "c"]), cloud("/s", "1", &["a", "bc"])),
            ("a CloudEvent and a message of one id", false, cloud("/s", "1", &[]), message(Some("/s#1"), "")),
        ];
        for (what, same, left, right) in table {
            assert!(left.is_some() && right.is_some(), "{what}");
            assert_eq!(left == right, same, "{what}: {left:?}, {right:?}");
        }
    }

    #[test]
    fn without_a_msg_id_nothing_is_recognised() {
        assert_eq!(message(None, CREATE), None);
        assert_eq!(message(Some(""), CREATE), None);
    }

    #[test]
    fn no_identity_has_the_form_that_older_versions_kept() {
        for identity in [message(Some("call_event/CHANNEL_CREATE/1"), CREATE), cloud("a/b", "c/d", &[])] {
            let identity = identity.unwrap();
            assert!(!identity.contains('/') && identity.len() <= 56, "{identity}");
        }
    }

    #[test]
    fn what_came_one_after_the_other_stands_one_after_the_other() {
        let identities = [9, 10, 11].map(|n| message(Some(&format!("639000000{n:02}")), CREATE));
        assert!(identities.is_sorted() && identities[0].as_deref().unwrap().starts_with("m3:63900000009:"));
        let long = message(Some(&"ü/".repeat(500)), CREATE).unwrap();
        assert!(long.starts_with("m3:____________________:") && long.len() == 56, "{long}");
    }

    #[test]
    fn a_cloud_event_needs_both_names_within_the_limit() {
        let long = "x".repeat(ID_LIMIT);
        assert!(CloudEventId::new(&long, &long).is_ok());
        assert_eq!(CloudEventId::new("", "1"), Err(BadCloudEventId::Empty("source")));
        assert_eq!(CloudEventId::new("/s", ""), Err(BadCloudEventId::Empty("id")));
        let error = CloudEventId::new("/s", &format!("{long}x")).unwrap_err();
        assert_eq!(error.to_string(), "the CloudEvent's id has 1025 bytes, 1024 are allowed");
    }

    #[test]
    fn no_two_cloud_events_get_one_msg_id() {
        let msg_id = |source, id| CloudEventId::new(source, id).unwrap().msg_id();
        let ids = [msg_id("/a#b", "c"), msg_id("/a", "b#c"), msg_id("/a", "b%23c")];
        assert_eq!(ids, ["/a#b#c", "/a#b%23c", "/a#b%2523c"]);
    }
}
