//! Payload and hook into the HTTP request, per profile.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;

use super::form::write_form;
use super::json::{JsonStyle, write_object, write_string};
use crate::model::OutgoingRequest;
use crate::model::Profile;
use crate::model::payload::Payload;
use crate::model::{CompactFields, Format, Hook, Verb};

/// What profile `standard` says in `user-agent`.
pub const USER_AGENT: &str = concat!("hookline/", env!("CARGO_PKG_VERSION"));

/// The field that every body has.
const CLUSTER_ID: &str = "cluster_id";

/// Keys of custom_data that are filters and never sent.
const FILTERS: [&str; 2] = ["type", "action"];

/// How many times longer than its fields a form may become. Escapes make three of one, names of two or three levels
/// double it.
const MOST_GROWTH: usize = 32;

/// How long any form may become, in bytes.
const FORM_BYTES: usize = 64 << 10;

/// Up to so many bytes of a payload, and so many fields of custom_data, a request is made in less than about a millisecond.
const SOON_BYTES: usize = 32 << 10;
const SOON_FIELDS: usize = 1_000;

/// What makes a delivery recognisable to its receiver (Standard Webhooks). Profile `kazoo` sends it only where a
/// hook has a secret, as signatures cover it.
#[derive(Clone, Copy, Debug)]
pub struct WebhookHeaders<'a> {
    /// The same for every try and for a redelivered event.
    pub webhook_id: &'a str,
    /// Seconds since 1970, of this try.
    pub timestamp: i64,
}

/// Why a hook cannot be sent to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnsendableHook {
    /// A value would break, or leave, its header.
    #[error("{header} cannot be sent: {value:?} has characters that a header must not have")]
    Header {
        /// The header's name.
        header: &'static str,
        /// What it should have said.
        value: String,
    },
    /// The hook has a secret and it is not at hand. It is not sent to without a signature; another try may find it.
    #[error("not signed: {0}")]
    Locked(String),
    /// Each value of a form repeats the names of what it is nested in, so that few long names can make a body of any
    /// length.
    #[error(
        "the form would have more than {most} bytes, as its values repeat the long names that they are nested in; \
         format json has each name once"
    )]
    TooLong {
        /// How many bytes it may have: [`MOST_GROWTH`] times those of the payload.
        most: usize,
    },
}

/// The request for one hook. With many hooks for one payload, [`SharedBodies`] does the same cheaper.
pub fn build(
    profile: Profile,
    cluster_id: &str,
    hook: &Hook,
    payload: &Payload,
    stamp: Option<WebhookHeaders<'_>>,
) -> Result<OutgoingRequest, UnsendableHook> {
    assemble(profile, hook, stamp, |encoding| {
        encode(profile, cluster_id, payload, additions(hook), encoding).map(Bytes::from)
    })
}

/// A payload on its way to many hooks. The body for hooks that add nothing to it is encoded once per
/// encoding, on first use, and shared.
#[derive(Debug)]
pub struct SharedBodies {
    profile: Profile,
    cluster_id: Arc<str>,
    payload: Payload,
    json: OnceLock<Result<Bytes, UnsendableHook>>,
    form: OnceLock<Result<Bytes, UnsendableHook>>,
}

impl SharedBodies {
    /// Nothing is encoded yet.
    pub fn new(profile: Profile, cluster_id: impl Into<Arc<str>>, payload: Payload) -> Self {
        let cluster_id = cluster_id.into();
        Self { profile, cluster_id, payload, json: OnceLock::new(), form: OnceLock::new() }
    }

    /// The payload.
    pub fn payload(&self) -> &Payload {
        &self.payload
    }

    /// Whether the request for this hook is made in less than about a millisecond.
    pub fn are_soon_made(&self, hook: &Hook) -> bool {
        self.payload.json().len() <= SOON_BYTES
            && hook.options.custom_data.as_deref().map_or(0, CompactFields::len) <= SOON_FIELDS
    }

    /// The request for one hook, the same as [`build`] makes.
    pub fn request(
        &self,
        hook: &Hook,
        stamp: Option<WebhookHeaders<'_>>,
    ) -> Result<OutgoingRequest, UnsendableHook> {
        let encoded = |additions, encoding| {
            encode(self.profile, &self.cluster_id, &self.payload, additions, encoding).map(Bytes::from)
        };
        assemble(self.profile, hook, stamp, |encoding| {
            if let Some(additions) = additions(hook) {
                return encoded(Some(additions), encoding);
            }
            let shared = match encoding {
                BodyEncoding::Json => &self.json,
                BodyEncoding::Form => &self.form,
            };
            shared.get_or_init(|| encoded(None, encoding)).clone()
        })
    }
}

#[derive(Clone, Copy)]
enum BodyEncoding {
    Form,
    Json,
}

fn assemble(
    profile: Profile,
    hook: &Hook,
    stamp: Option<WebhookHeaders<'_>>,
    encoded: impl FnOnce(BodyEncoding) -> Result<Bytes, UnsendableHook>,
) -> Result<OutgoingRequest, UnsendableHook> {
    let (content_type, encoding) = match (hook.verb, hook.format) {
        (Verb::Get, _) => (None, BodyEncoding::Form),
        (_, Format::FormData) => (Some("application/x-www-form-urlencoded"), BodyEncoding::Form),
        (_, Format::Json) => (Some("application/json"), BodyEncoding::Json),
    };
    let mut headers = Vec::with_capacity(6);
    let mut say = |header: &'static str, value: &str| {
        if value.is_empty() || !value.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            return Err(UnsendableHook::Header { header, value: value.to_owned() });
        }
        headers.push((header.to_owned(), value.to_owned()));
        Ok(())
    };
    if let Some(content_type) = content_type {
        say("content-type", content_type)?;
    }
    // The original sends whatever stands in an id, line breaks included.
    say("x-hook-id", hook.id.as_str())?;
    say("x-account-id", hook.account.as_str())?;
    if profile == Profile::Standard {
        say("user-agent", USER_AGENT)?;
    }
    let stamp = stamp.filter(|_| profile == Profile::Standard || hook.options.signing.is_wanted());
    if let Some(stamp) = stamp {
        say("webhook-id", stamp.webhook_id)?;
        say("webhook-timestamp", &stamp.timestamp.to_string())?;
    }
    headers.extend(hook.options.headers.iter().map(|(name, value)| (name.to_owned(), value.to_owned())));
    let bytes = encoded(encoding)?;
    let (url, body) = match hook.verb {
        Verb::Get => (with_query(profile, &hook.uri, &String::from_utf8_lossy(&bytes)), Bytes::new()),
        Verb::Post | Verb::Put => (String::from(&*hook.uri), bytes),
    };
    if let Some(stamp) = stamp {
        let signed = hook.options.signing.headers(stamp.webhook_id, stamp.timestamp, &body);
        headers.extend(signed.map_err(UnsendableHook::Locked)?);
    }
    Ok(OutgoingRequest { method: hook.verb, url, headers, body })
}

/// The original always appends `?query`, to whatever ends the address; we join properly.
fn with_query(profile: Profile, uri: &str, query: &str) -> String {
    if profile == Profile::Kazoo {
        return format!("{uri}?{query}");
    }
    let (address, fragment) = uri.find('#').map_or((uri, ""), |at| uri.split_at(at));
    let joint = match address.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some((_, before)) if before.ends_with('&') => "",
        Some(_) => "&",
    };
    format!("{address}{joint}{query}{fragment}")
}

/// What a hook adds to the payload; `None` when that is nothing.
fn additions(hook: &Hook) -> Option<&CompactFields> {
    let custom_data = hook.options.custom_data.as_deref()?;
    custom_data.iter().any(|(key, _)| !FILTERS.contains(&key)).then_some(custom_data)
}

fn encode(
    profile: Profile,
    cluster_id: &str,
    payload: &Payload,
    additions: Option<&CompactFields>,
    encoding: BodyEncoding,
) -> Result<Vec<u8>, UnsendableHook> {
    if let (BodyEncoding::Json, Profile::Standard, None) = (encoding, profile, additions)
        && let Some(body) = appended(payload, cluster_id)
    {
        return Ok(body);
    }
    let mut cluster = Vec::with_capacity(cluster_id.len() + 2);
    write_string(cluster_id, &mut cluster);
    let cluster = String::from_utf8_lossy(&cluster);
    let fields = merge(payload, additions, &cluster);
    let members = fields.iter().copied();
    let mut out = Vec::with_capacity(payload.json().len() * 3 / 2 + 64);
    match (encoding, profile) {
        (BodyEncoding::Form, _) => {
            let length: usize = fields.iter().map(|(key, raw)| key.len() + raw.len()).sum();
            let most = length.saturating_mul(MOST_GROWTH).saturating_add(FORM_BYTES);
            write_form(members, profile, most, &mut out).map_err(|_| UnsendableHook::TooLong { most })?;
        }
        (BodyEncoding::Json, Profile::Standard) => write_object(members, JsonStyle::Compact, &mut out),
        (BodyEncoding::Json, Profile::Kazoo) => write_object(members, JsonStyle::KazooPretty, &mut out),
    }
    Ok(out)
}

/// A payload that is spelled as a body is, with the cluster's id behind it: what [`encode`] would write token by token.
fn appended(payload: &Payload, cluster_id: &str) -> Option<Vec<u8>> {
    if !payload.is_compact() || payload.get(CLUSTER_ID).is_some() {
        return None;
    }
    let json = payload.json().strip_suffix(b"}")?;
    let mut out = Vec::with_capacity(json.len() + cluster_id.len() + 32);
    out.extend_from_slice(json);
    if !payload.is_empty() {
        out.push(b',');
    }
    write_string(CLUSTER_ID, &mut out);
    out.push(b':');
    write_string(cluster_id, &mut out);
    out.push(b'}');
    Some(out)
}

/// The payload with custom_data set over it and then the cluster's id, as `webhooks_util:fire_hook/2` does:
/// a known key keeps its place, new keys come at the end, the last of custom_data first; objects are
/// replaced whole, and `null` takes the key away.
fn merge<'a>(payload: &'a Payload, additions: Option<&'a CompactFields>, cluster: &'a str) -> Vec<Field<'a>> {
    let mut fields: Vec<Option<Field<'a>>> = payload.fields().map(Some).collect();
    let places = BodyPlaces::of(payload, additions.map_or(0, CompactFields::len));
    for (key, value) in additions.into_iter().flat_map(|added| added.iter().rev()) {
        if FILTERS.contains(&key) {
            continue;
        }
        match (value, places.first(payload, key)) {
            ("null", Some(place)) => fields[place] = None,
            ("null", None) => {}
            (value, Some(place)) => {
                if let Some(field) = &mut fields[place] {
                    field.1 = value;
                }
            }
            (value, None) => fields.push(Some((key, value))),
        }
    }
    let mut fields: Vec<Field<'a>> = fields.into_iter().flatten().collect();
    match fields.iter_mut().find(|(name, _)| *name == CLUSTER_ID) {
        Some(field) => field.1 = cluster,
        None => fields.push((CLUSTER_ID, cluster)),
    }
    fields
}

/// Name and JSON text of one field of a body.
type Field<'a> = (&'a str, &'a str);

/// Up to so many keys of custom_data are searched for in the payload; for more of them it is indexed first, so that the
/// work grows with the sum of both and not with their product.
const FEW_ADDITIONS: usize = 8;

/// Where a payload has which field.
enum BodyPlaces<'a> {
    Searched,
    Indexed(HashMap<&'a str, usize>),
}

impl<'a> BodyPlaces<'a> {
    fn of(payload: &'a Payload, additions: usize) -> Self {
        if additions <= FEW_ADDITIONS {
            return Self::Searched;
        }
        let mut places = HashMap::with_capacity(payload.len());
        for (place, (key, _)) in payload.fields().enumerate() {
            places.entry(key).or_insert(place);
        }
        Self::Indexed(places)
    }

    /// The place of a field; of a repeated one the first.
    fn first(&self, payload: &Payload, key: &str) -> Option<usize> {
        match self {
            Self::Searched => payload.fields().position(|(name, _)| name == key),
            Self::Indexed(places) => places.get(key).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hook(more: Value) -> Hook {
        let mut document = json!({"_id": "h1", "pvt_account_id": "a1", "hook": "all", "uri": "http://x/p"});
        document.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap());
        Hook::from_document(document.as_object().unwrap()).unwrap()
    }

    fn payload(json: &str) -> Payload {
        Payload::parse(Bytes::copy_from_slice(json.as_bytes())).unwrap()
    }

    #[test]
    fn a_standard_get_joins_the_query_before_the_fragment() {
        for (uri, expected) in [
            ("http://x/p", "http://x/p?a=1&cluster_id=c"),
            ("http://x/p?y=2#f", "http://x/p?y=2&a=1&cluster_id=c#f"),
            ("http://x/p?#f?g", "http://x/p?a=1&cluster_id=c#f?g"),
            ("http://x/p?y&", "http://x/p?y&a=1&cluster_id=c"),
        ] {
            let hook = hook(json!({"http_verb": "get", "uri": uri}));
            let request = build(Profile::Standard, "c", &hook, &payload(r#"{"a":1}"#), None).unwrap();
            assert_eq!(request.url, expected);
            assert!(request.body.is_empty());
        }
    }

    #[test]
    fn a_standard_request_is_stamped_and_compact() {
        let stamp = Some(WebhookHeaders { webhook_id: "msg_1", timestamp: 1_700_000_000 });
        let hook = hook(json!({"format": "json", "custom_data": {"type": "t", "k": "v"}}));
        let request =
            build(Profile::Standard, "c", &hook, &payload(r#"{ "n" : 18446744073709551616 }"#), stamp);
        let request = request.unwrap();
        assert_eq!(request.body, r#"{"n":18446744073709551616,"k":"v","cluster_id":"c"}"#);
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        let expected = [
            ("content-type", "application/json"),
            ("x-hook-id", "h1"),
            ("x-account-id", "a1"),
            ("user-agent", USER_AGENT),
            ("webhook-id", "msg_1"),
            ("webhook-timestamp", "1700000000"),
        ];
        assert_eq!(headers, expected);
    }

    #[test]
    fn a_hook_with_a_secret_is_signed_in_both_profiles_and_its_own_headers_go_along() {
        let hook = hook(json!({"format": "json", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "headers": {"X-Tenant": "blue"}, "legacy_signature": true}));
        let stamp = Some(WebhookHeaders { webhook_id: "msg_1", timestamp: 1_700_000_000 });
        for profile in [Profile::Standard, Profile::Kazoo] {
            let request = build(profile, "c", &hook, &payload(r#"{"a":1}"#), stamp).unwrap();
            let header =
                |name: &str| request.headers.iter().find(|(key, _)| key == name).map(|(_, v)| v.as_str());
            let secret = &hook.options.signing.secrets[0].secret;
            assert_eq!(header("webhook-id"), Some("msg_1"));
            let signature = secret.sign("msg_1", 1_700_000_000, &request.body);
            assert_eq!(header("webhook-signature"), Some(signature.as_str()));
            assert_eq!(header("x-hub-signature-256"), secret.sign_legacy(&request.body).as_deref());
            assert_eq!(header("x-tenant"), Some("blue"));
        }
    }

    #[test]
    fn a_hook_whose_secret_is_not_at_hand_is_not_sent_to_unsigned() {
        let hook = hook(json!({"pvt_secrets": []}));
        let stamp = Some(WebhookHeaders { webhook_id: "msg_1", timestamp: 1 });
        let error = build(Profile::Kazoo, "c", &hook, &payload("{}"), stamp).unwrap_err();
        assert!(error.to_string().contains("secret of hook h1 is encrypted"), "{error}");
    }

    /// What is appended to is what would be written anew.
    #[test]
    fn a_compact_payload_becomes_the_same_body_as_one_with_spaces() {
        for (compact, spaced) in [
            ("{}", "{ }"),
            (r#"{"a":1,"b":["x",{"c":"\u0020"}]}"#, r#"{"a": 1,"b":["x",{"c":"\u0020"}]}"#),
            (r#"{"a":1,"a":{}}"#, r#"{"a":1,"a":{ }}"#),
            (r#"{"a":1,"cluster_id":"own","b":2}"#, r#"{"a":1,"cluster_id": "own","b":2}"#),
        ] {
            let hook = hook(json!({"format": "json"}));
            let [body, expected] = [compact, spaced]
                .map(|json| build(Profile::Standard, "c\"d", &hook, &payload(json), None).unwrap().body);
            assert_eq!(body, expected);
            assert!(body.ends_with(if compact.contains("own") { b"2}" } else { b"c\\\"d\"}" }), "{body:?}");
        }
    }

    #[test]
    fn an_id_with_a_line_break_is_unsendable() {
        let hook = hook(json!({"_id": "h\r\nx: y"}));
        let error = build(Profile::Kazoo, "c", &hook, &payload("{}"), None).unwrap_err();
        assert!(matches!(error, UnsendableHook::Header { header: "x-hook-id", .. }), "{error}");
    }

    #[test]
    fn hooks_that_add_nothing_share_one_body() {
        let bodies = SharedBodies::new(Profile::Kazoo, "c", payload(r#"{"a":1}"#));
        let plain = hook(json!({"format": "json"}));
        let filtering = hook(json!({"format": "json", "custom_data": {"type": "all", "action": "all"}}));
        let adding = hook(json!({"format": "json", "custom_data": {"k": "v"}}));
        let [first, second, third] =
            [&plain, &filtering, &adding].map(|hook| bodies.request(hook, None).unwrap());
        assert_eq!(first.body.as_ptr(), second.body.as_ptr());
        assert_ne!(first.body, third.body);
        for (hook, request) in [(&plain, first), (&filtering, second), (&adding, third)] {
            assert_eq!(Ok(request), build(Profile::Kazoo, "c", hook, bodies.payload(), None));
        }
    }
}
