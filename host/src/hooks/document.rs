//! How a stored hook document becomes a [`Hook`], and what is done about documents of older times.

use std::borrow::Cow;

use serde_json::Value;

use super::editor::{fields, headers_of};
use super::vault::SEALED;
use crate::model::headers::{self, HookHeaders};
use crate::model::rate;
use crate::model::sign::{HookSigning, Secret, ValidSecret};
use crate::model::{
    AccountId, Document, Format, Hook, HookAddress, HookEvent, HookId, HookOptions, Ordering, Verb,
};

pub use super::validation::{Events, UriRules, ValidationError, ValidationErrors, validate};

/// `retries` of a document that has none.
pub const DEFAULT_RETRIES: u8 = 2;

/// Why a document is not a hook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadHook {
    /// A field that a hook cannot do without is missing or empty.
    #[error("hook document {id}: {field} is missing, it must be a text that is not empty")]
    Missing {
        /// The document's id, or `?`.
        id: String,
        /// The field's name in the document.
        field: &'static str,
    },
    /// A field has a value that means nothing.
    #[error("hook document {id}: {field} is {value}, it must be {expected}")]
    Invalid {
        /// The document's id, or `?`.
        id: String,
        /// The field's name in the document.
        field: &'static str,
        /// What stands there, as JSON.
        value: String,
        /// What would be right.
        expected: &'static str,
    },
    /// A field breaks a rule of ours; its value may be a secret and is not shown.
    #[error("hook document {id}: {field} {why}")]
    Broken {
        /// The document's id, or `?`.
        id: String,
        /// The field's name in the document.
        field: &'static str,
        /// Which rule.
        why: String,
    },
}

impl Hook {
    /// Reads a document as the original's `webhooks_util:jobj_to_rec/1` maps it.
    ///
    /// Departures, all where the original would crash or would make a hook that can only crash: an
    /// unknown verb, a missing `uri` and an empty id or account are errors here; verbs are taken in any
    /// case; a missing or unknown `format` is form-data for every verb. Whether the event is known is
    /// not asked (`Events::knows` is): a hook for a module that is not loaded yet waits for it.
    ///
    /// Fields that the original does not know (`headers`, `secret`, `legacy_signature`) are held to their rules, as a
    /// request without them would not be what its owner asked for. `retry_schedule_ms`, `rate_limit` and `ordering`
    /// say only when it is sent; what is none is passed over.
    pub fn from_document(document: &Document) -> Result<Self, BadHook> {
        let id = identity(document, ["_id", "ID"]);
        let label = id.unwrap_or("?").to_owned();
        let missing = |field| BadHook::Missing { id: label.clone(), field };
        let invalid = |field, value: &Value, expected| BadHook::Invalid {
            id: label.clone(),
            field,
            value: value.to_string(),
            expected,
        };

        let broken = |field, why| BadHook::Broken { id: label.clone(), field, why };

        let hook_id = id.ok_or_else(|| missing("_id"))?;
        let account =
            identity(document, ["pvt_account_id", "Account-ID"]).ok_or_else(|| missing("pvt_account_id"))?;
        let uri = match document.get("uri") {
            None => return Err(missing("uri")),
            Some(value) => text(value).ok_or_else(|| invalid("uri", value, "an http or https address"))?,
        };
        if uri.is_empty() {
            return Err(missing("uri"));
        }
        let verb = match document.get("http_verb") {
            None => Verb::Post,
            Some(value) => text(value)
                .and_then(|verb| Verb::parse(&verb))
                .ok_or_else(|| invalid("http_verb", value, "get, post or put"))?,
        };
        let event = match document.get("hook").and_then(Value::as_str) {
            Some(name) if !name.is_empty() => HookEvent::parse(name),
            _ => return Err(missing("hook")),
        };
        Ok(Self {
            id: HookId::from(hook_id),
            account: AccountId::from(account),
            uri: HookAddress::from(&*uri),
            verb,
            event,
            format: format(document.get("format")),
            retries: retries(document.get("retries")),
            ordering: document.get("ordering").and_then(Value::as_str).and_then(Ordering::parse),
            include_subaccounts: boolean(document.get("include_subaccounts")).unwrap_or(false),
            include_internal_legs: boolean(document.get("include_internal_legs")).unwrap_or(true),
            enabled: boolean(document.get("enabled")).unwrap_or(true),
            options: options(document, hook_id).map_err(|(field, why)| broken(field, why))?.into(),
        })
    }
}

/// Rewrites a hook of an event that no longer exists (`callflow`, `inbound_fax`, `outbound_fax`) into
/// `notifications` hooks: the same document first, then the extra one that a fax hook splits into.
/// Empty when there is nothing to do. `new_id` makes the extra document's id.
///
/// Two departures from `webhooks_util:update_hook_doc/2`. The notification's type is also written where
/// matching looks, into `custom_data.type`; the original writes it at the top only, and the migrated hook
/// then matches every notification, or none. And the extra document has no `_rev`, so that it can be saved.
pub fn migrate(document: &Document, mut new_id: impl FnMut() -> String) -> Vec<Document> {
    let Some(hook) = document.get("hook").and_then(Value::as_str) else {
        return Vec::new();
    };
    match hook.to_lowercase().as_str() {
        "callflow" => vec![notification(document, "callflow")],
        fax @ ("inbound_fax" | "outbound_fax") => {
            let extra_id = new_id();
            let mut original = notification(document, fax);
            original.insert("other_id".into(), extra_id.clone().into());
            let mut extra = notification(document, &format!("{fax}_error"));
            extra.shift_remove("_rev");
            extra.insert("other_id".into(), document.get("_id").cloned().unwrap_or(Value::Null));
            extra.insert("_id".into(), extra_id.into());
            vec![original, extra]
        }
        _ => Vec::new(),
    }
}

fn notification(document: &Document, kind: &str) -> Document {
    let mut migrated = document.clone();
    migrated.insert("hook".into(), "notifications".into());
    migrated.insert("type".into(), kind.into());
    let mut custom_data = object(document.get("custom_data")).cloned().unwrap_or_default();
    custom_data.insert("type".into(), kind.into());
    migrated.insert("custom_data".into(), custom_data.into());
    migrated
}

/// A value as the original's lenient getters read it: strings, numbers and words as they are written,
/// lists as the concatenation of their parts. `None` for what has no text.
pub(crate) fn text(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Null => Some(Cow::Borrowed("null")),
        Value::Bool(word) => Some(Cow::Borrowed(if *word { "true" } else { "false" })),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Array(parts) => {
            let mut joined = Vec::new();
            join(parts, &mut joined)?;
            String::from_utf8(joined).ok().map(Cow::Owned)
        }
        Value::Object(_) => None,
    }
}

fn join(parts: &[Value], joined: &mut Vec<u8>) -> Option<()> {
    for part in parts {
        match part {
            Value::String(text) => joined.extend_from_slice(text.as_bytes()),
            Value::Number(byte) => joined.push(u8::try_from(byte.as_u64()?).ok()?),
            Value::Array(inner) => join(inner, joined)?,
            _ => return None,
        }
    }
    Some(())
}

/// `true`, `false` and the same as words; everything else is no answer.
pub(crate) fn boolean(value: Option<&Value>) -> Option<bool> {
    match value? {
        Value::Bool(flag) => Some(*flag),
        Value::String(word) if word == "true" => Some(true),
        Value::String(word) if word == "false" => Some(false),
        _ => None,
    }
}

fn object(value: Option<&Value>) -> Option<&Document> {
    value.and_then(Value::as_object)
}

/// The first of the fields that is there decides, also when it is no id.
fn identity<'a>(document: &'a Document, fields: [&str; 2]) -> Option<&'a str> {
    let value = fields.iter().find_map(|field| document.get(*field))?;
    value.as_str().filter(|id| !id.is_empty())
}

fn format(value: Option<&Value>) -> Format {
    let json = value.and_then(Value::as_str).is_some_and(|name| name.eq_ignore_ascii_case("json"));
    if json { Format::Json } else { Format::FormData }
}

/// What most documents do not say; otherwise the field that breaks a rule, and why.
fn options(document: &Document, id: &str) -> Result<HookOptions, (&'static str, String)> {
    let modifiers = object(document.get("modifiers")).filter(|modifiers| !modifiers.is_empty());
    Ok(HookOptions {
        retry_schedule_ms: retry_schedule(document.get("retry_schedule_ms")),
        rate_limit: rate_limit(document.get("rate_limit")),
        headers: own_headers(document).map_err(|why| ("headers", why))?,
        signing: signing(document, id)?,
        custom_data: object(document.get("custom_data")).map(|data| Box::new(data.into())),
        modifiers: modifiers.map(|modifiers| Box::new(modifiers.into())),
    })
}

fn own_headers(document: &Document) -> Result<HookHeaders, String> {
    let Some(object) = headers_of(document) else { return Ok(HookHeaders::default()) };
    HookHeaders::read(&object).map_err(|bad| {
        let first = bad.into_iter().next().map(|bad| (bad.name.unwrap_or_default(), bad.why));
        let (name, why) = first.unwrap_or_default();
        format!("{name:?} {why}")
    })
}

/// A secret stands in clear only in documents that are no stored ones: those that events carry, and those that
/// `hookline try` is given.
fn signing(document: &Document, id: &str) -> Result<HookSigning, (&'static str, String)> {
    let mut signing = HookSigning::default();
    match document.get("secret") {
        None | Some(Value::Null) => {}
        Some(Value::String(text)) => {
            let secret = Secret::parse(text).map_err(|error| ("secret", error.to_string()))?;
            signing.secrets.push(ValidSecret { secret, until: None });
        }
        Some(_) => return Err(("secret", "must be a text".to_owned())),
    }
    if document.contains_key(SEALED) {
        signing.locked = Some(format!("the secret of hook {id} is encrypted and was not decrypted here"));
    }
    if let Some(value) = document.get("legacy_signature") {
        signing.legacy_header = headers::legacy(value).map_err(|why| ("legacy_signature", why))?;
    }
    Ok(signing)
}

fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| fields::whole(value)?.try_into().ok())
}

/// Whole numbers of milliseconds; anything else is none of ours.
fn retry_schedule(value: Option<&Value>) -> Option<Box<[u64]>> {
    let waits: Option<Box<[u64]>> = value?.as_array()?.iter().map(whole).collect();
    waits.filter(|waits| !waits.is_empty())
}

/// Whole numbers; anything else is no limit of ours.
fn rate_limit(value: Option<&Value>) -> Option<rate::RateBound> {
    let limit = object(value)?;
    let number = |field: &str| limit.get(field).and_then(whole);
    rate::RateBound::new(u32::try_from(number("count")?).unwrap_or(u32::MAX), number("per_ms")?)
}

fn retries(value: Option<&Value>) -> u8 {
    let number = match value {
        Some(Value::Number(number)) => number.as_f64(),
        Some(Value::String(digits)) => digits.trim().parse::<f64>().ok().filter(|number| number.is_finite()),
        _ => None,
    };
    // Half away from zero, as Erlang rounds; the cast saturates, and the clamp keeps it in 0..=5.
    number.map_or(DEFAULT_RETRIES, |number| number.round().clamp(0.0, 5.0) as u8)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Profile;

    fn document(value: Value) -> Document {
        value.as_object().cloned().unwrap()
    }

    fn with(field: &str, value: Value) -> Document {
        let mut hook = document(json!({
            "_id": "h1", "pvt_account_id": "a1", "hook": "channel_create", "uri": "http://x/"
        }));
        hook.insert(field.into(), value);
        hook
    }

    #[test]
    fn a_minimal_document_posts_forms_and_retries_twice() {
        let hook = Hook::from_document(&with("name", json!("n"))).unwrap();
        assert_eq!((hook.verb, hook.format, hook.retries), (Verb::Post, Format::FormData, 2));
        assert!(hook.enabled && hook.include_internal_legs && !hook.include_subaccounts);
        assert_eq!(hook.uri.url().map(AsRef::as_ref), Some("http://x/"));
        assert_eq!(hook.event.internal_name(), "CHANNEL_CREATE");
    }

    #[test]
    fn retries_are_tries_for_the_original_and_retries_for_us() {
        for (stored, kazoo, standard) in [(0, 1, 1), (1, 1, 2), (2, 2, 3), (4, 4, 5), (9, 5, 6), (-3, 1, 1)] {
            let hook = Hook::from_document(&with("retries", json!(stored))).unwrap();
            assert_eq!(
                (hook.total_tries(Profile::Kazoo), hook.total_tries(Profile::Standard)),
                (kazoo, standard),
                "retries {stored}"
            );
        }
    }

    #[test]
    fn an_unknown_verb_is_refused_by_name() {
        let error = Hook::from_document(&with("http_verb", json!("delete"))).unwrap_err();
        assert_eq!(
            error.to_string(),
            "hook document h1: http_verb is \"delete\", it must be get, post or put"
        );
    }

    #[test]
    fn the_word_false_disables_a_hook() {
        assert!(!Hook::from_document(&with("enabled", json!("false"))).unwrap().enabled);
        assert!(Hook::from_document(&with("enabled", json!("no"))).unwrap().enabled);
    }

    #[test]
    fn a_fax_hook_without_custom_data_splits_into_two_that_match_their_type_only() {
        let hook = with("hook", json!("outbound_fax"));
        let migrated = migrate(&hook, || "new".to_owned());
        let types: Vec<_> = migrated.iter().map(|doc| doc["custom_data"]["type"].clone()).collect();
        assert_eq!(types, [json!("outbound_fax"), json!("outbound_fax_error")]);
        assert_eq!((&migrated[0]["other_id"], &migrated[1]["_id"]), (&json!("new"), &json!("new")));
        assert_eq!(migrated[1]["other_id"], json!("h1"));
        assert!(migrate(&migrated[0], || "again".to_owned()).is_empty());
    }
}
