//! How a document becomes a type of the API, and a document again without a loss.
//!
//! Documents belong to their owners. They have fields that no type knows, and one that was stored long ago, or by KAZOO,
//! may have any value in a field that a type does know. Neither may change or vanish because the API has read it, nor may
//! the order of the fields.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::known::field_names;
use crate::model::Document;

/// A document read as a `T`, whose fields are all optional.
#[derive(Debug, Default)]
pub(super) struct TypedDocument<T> {
    /// The fields that are what `T` says.
    pub(super) known: T,
    /// All others, in their order: of other names, of `null`, or of a type that is not the field's.
    pub(super) rest: Document,
    /// The names of all fields as they were written.
    order: Vec<String>,
}

impl<T: Default + Serialize + DeserializeOwned> TypedDocument<T> {
    pub(super) fn read(mut document: Document) -> Self {
        let names = field_names::<T>();
        let order = document.keys().cloned().collect();
        let named = document.iter().filter(|(key, value)| names.contains(&key.as_str()) && !value.is_null());
        let mut fields: Document = named.map(|(key, value)| (key.clone(), value.clone())).collect();
        let read = T::deserialize(&fields).or_else(|_| {
            // Something is of a wrong type. Alone each field shows whether it is the one.
            fields.retain(|key, value| T::deserialize(&alone(key, value)).is_ok());
            T::deserialize(&fields)
        });
        let known = read.unwrap_or_else(|_| {
            fields.clear();
            T::default()
        });
        document.retain(|key, _| !fields.contains_key(key));
        Self { known, rest: document, order }
    }

    /// The document as it was before it was read.
    pub(super) fn into_document(self) -> Document {
        let Self { known, mut rest, order } = self;
        let mut known = match serde_json::to_value(known) {
            Ok(Value::Object(fields)) => fields,
            _ => Document::new(),
        };
        let taken = |key: String| {
            let value = rest.get_mut(&key).or_else(|| known.get_mut(&key))?.take();
            Some((key, value))
        };
        order.into_iter().filter_map(taken).collect()
    }
}

fn alone(key: &str, value: &Value) -> Document {
    Document::from_iter([(key.to_owned(), value.clone())])
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;
    use crate::api::shapes::{AccountDocument, BooleanOrWord, NewWebhook, Webhook, WebhookPatch};

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Sheep {
        name: Option<String>,
        #[serde(rename = "leg-count")]
        legs: Option<u32>,
    }

    fn document(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn what_is_not_as_the_type_says_is_kept_beside_it_in_its_order() {
        let read = TypedDocument::<Sheep>::read(document(
            r#"{"wool": 1, "leg-count": "4", "name": "a", "x": null}"#,
        ));
        assert_eq!(read.known, Sheep { name: Some("a".to_owned()), legs: None });
        assert_eq!(Value::Object(read.rest).to_string(), r#"{"wool":1,"leg-count":"4","x":null}"#);
        let read = TypedDocument::<Sheep>::read(document(r#"{"name": null, "leg-count": 4}"#));
        assert_eq!((read.known.legs, read.rest.get("name")), (Some(4), Some(&json!(null))));
    }

    #[track_caller]
    fn same<T: Default + Serialize + DeserializeOwned>(text: &str) {
        let written = Value::Object(TypedDocument::<T>::read(document(text)).into_document());
        assert_eq!(written.to_string(), text);
    }

    #[test]
    fn a_document_comes_back_byte_by_byte() {
        for hook in [
            "{}",
            r#"{"uri":"u","group":"g","name":"n","id":"x","retries":2.0,"enabled":"false","format":"form-data"}"#,
            r#"{"http_verb":"POST","format":null,"retries":"2","include_subaccounts":true,"secret":"generate"}"#,
            r#"{"name":7,"custom_data":{"z":"1","a":"2"},"headers":{"X-B":"1","x-a":7},"legacy_signature":"X-Old"}"#,
            r#"{"custom_data":[],"retry_schedule_ms":[1000,2000.0,"3"],"rate_limit":{"count":1,"per_ms":1000.0},"ordering":"no"}"#,
            r#"{"retry_schedule_ms":[1000],"rate_limit":{"count":1,"per_ms":1000},"ordering":"call","_x":{"y":[1.5]}}"#,
            r#"{"legacy_signature":false,"http_verb":"put","secret_set":true,"old_secret_until":"2026","retries":-1}"#,
        ] {
            same::<NewWebhook>(hook);
            same::<WebhookPatch>(hook);
            same::<Webhook>(hook);
        }
        for account in
            [r#"{"enabled":"no","realm":"r","id":"i","name":"n","more":{"b":1,"a":2}}"#, r#"{"realm":null}"#]
        {
            same::<AccountDocument>(account);
        }
    }

    #[test]
    fn a_flag_is_a_boolean_or_its_word() {
        let read =
            |value: Value| serde_json::from_value::<BooleanOrWord>(value).ok().map(BooleanOrWord::is_set);
        assert_eq!((read(json!(true)), read(json!("true"))), (Some(true), Some(true)));
        assert_eq!((read(json!(false)), read(json!("false"))), (Some(false), Some(false)));
        assert_eq!((read(json!("yes")), read(json!(1)), read(json!(null))), (None, None, None));
    }
}
