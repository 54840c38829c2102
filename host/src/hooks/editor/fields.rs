//! Which fields of a document are whose: private ones are the host's, public ones the client's. Pure.

use std::collections::HashSet;

use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::model::Document;

/// A private field begins with `_` or `pvt_`.
pub fn is_private(key: &str) -> bool {
    key.starts_with('_') || key.starts_with("pvt_")
}

/// What a client sees: `id`, then the public fields.
pub fn public(doc: &Document) -> Document {
    let id = doc.get("_id").map(|id| ("id".to_owned(), id.clone()));
    id.into_iter().chain(client_fields(doc.clone())).collect()
}

/// What a client sees of a document that was deleted just now.
pub fn public_deleted(doc: &Document) -> Document {
    let mut shown = public(doc);
    shown.insert("_read_only".to_owned(), json!({"deleted": true}));
    shown
}

/// What a client may set: private fields and `id` are dropped.
pub fn client_fields(doc: Document) -> impl Iterator<Item = (String, Value)> {
    doc.into_iter().filter(|(key, _)| !is_private(key) && key != "id")
}

/// The stored document's private fields with other public ones.
pub fn replaced(stored: &Document, public: Document) -> Document {
    let private = stored.iter().filter(|(key, _)| is_private(key));
    private.map(|(key, value)| (key.clone(), value.clone())).chain(client_fields(public)).collect()
}

/// The stored document with the given top-level fields set; `null` takes a field away.
pub fn patched(stored: &Document, patch: Document) -> Document {
    let mut doc = stored.clone();
    let mut removed = HashSet::new();
    for (key, value) in client_fields(patch) {
        match value {
            Value::Null => drop(removed.insert(key)),
            value => drop(doc.insert(key, value)),
        }
    }
    // All at once: taking one field out of an ordered map moves all behind it.
    if !removed.is_empty() {
        doc.retain(|key, _| !removed.contains(key));
    }
    doc
}

/// Sets a private or public text field.
pub fn set(doc: &mut Document, key: &str, value: impl Into<Value>) {
    doc.insert(key.to_owned(), value.into());
}

/// The document's `_id`.
pub fn id(doc: &Document) -> &str {
    text(doc, "_id")
}

/// The account that a document belongs to.
pub fn owner(doc: &Document) -> &str {
    text(doc, "pvt_account_id")
}

/// Whether the document was soft deleted.
pub fn is_deleted(doc: &Document) -> bool {
    doc.get("pvt_deleted") == Some(&Value::Bool(true))
}

/// How often the document was saved, as its `_rev` says.
pub fn saves(doc: &Document) -> u64 {
    text(doc, "_rev").split('-').next().and_then(|saves| saves.parse().ok()).unwrap_or(0)
}

/// Unix seconds as people read them: `2026-07-01T12:00:00Z`.
pub fn iso_time(unix: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp(unix).ok()?.format(&Rfc3339).ok()
}

/// 32 lower-case hex digits.
pub fn new_id() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A whole number, however JSON spells it: `2` and `2.0` are the same.
pub fn whole(value: &Value) -> Option<i64> {
    // Up to here every whole number has a floating one of its own.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let float = || value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() <= EXACT);
    value.as_i64().or_else(|| float().map(|number| number as i64))
}

/// One entry of a validation error: the field, the rule's code, and what is wrong.
pub fn invalid(field: &str, code: &str, message: &str) -> Value {
    json!({field: {code: {"message": message}}})
}

fn text<'a>(doc: &'a Document, key: &str) -> &'a str {
    doc.get(key).and_then(Value::as_str).unwrap_or_default()
}
