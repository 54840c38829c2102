//! The metadata document of a module as it is stored: written when it is new or says something else.

use plugin_api::Metadata;
use serde_json::Value;

use crate::model::Document;
use crate::model::ModuleId;

/// `pvt_type` of a stored metadata document.
pub const DOCUMENT_TYPE: &str = "webhook_meta";

/// The public fields that a module asks to be stored. Samples are served from the loaded module instead.
#[must_use]
pub fn public_fields(metadata: &Metadata) -> Document {
    let mut fields = Document::new();
    fields.insert("name".to_owned(), metadata.name.clone().into());
    fields.insert("description".to_owned(), metadata.description.clone().into());
    if !metadata.modifiers.is_empty() {
        fields.insert("modifiers".to_owned(), Value::Object(metadata.modifiers.clone()));
    }
    fields
}

/// The document to save, or nothing where the stored one says the same already.
///
/// New values go over old ones; objects are merged, arrays and scalars replaced. In the original
/// (`webhooks_util:init_metadata`) a key that was once written is never removed; here the keys inside
/// `modifiers` are the module's alone, so that an event type that is gone is gone for the validation too.
#[must_use]
pub fn update(
    module: &ModuleId,
    stored: Option<&Document>,
    metadata: &Metadata,
    now: i64,
) -> Option<Document> {
    let wanted = public_fields(metadata);
    let same = |stored: &Document| wanted.iter().all(|(key, value)| stored.get(key) == Some(value));
    let mut document = match stored {
        Some(stored) if same(stored) => return None,
        Some(stored) => stored.clone(),
        None => return Some(first(module, metadata, now)),
    };
    document.insert("pvt_modified".to_owned(), now.into());
    document.extend(wanted);
    Some(document)
}

/// The document of a module that has none yet.
#[must_use]
pub fn first(module: &ModuleId, metadata: &Metadata, now: i64) -> Document {
    let mut document = Document::new();
    document.insert("_id".to_owned(), module.as_str().into());
    document.insert("pvt_type".to_owned(), DOCUMENT_TYPE.into());
    document.insert("pvt_created".to_owned(), now.into());
    document.insert("pvt_modified".to_owned(), now.into());
    document.extend(public_fields(metadata));
    document
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn door() -> ModuleId {
        ModuleId::new("webhooks_door")
    }

    #[test]
    fn a_document_is_written_once_and_again_only_when_it_says_something_else() {
        let metadata = Metadata::new("Door", "A door moved").modifier("type", json!({"items": ["all"]}));
        let first = update(&door(), None, &metadata, 10).unwrap();
        assert_eq!(
            Value::Object(first.clone()),
            json!({"_id": "webhooks_door", "pvt_type": "webhook_meta", "pvt_created": 10, "pvt_modified": 10,
                   "name": "Door", "description": "A door moved", "modifiers": {"type": {"items": ["all"]}}})
        );
        assert_eq!(update(&door(), Some(&first), &metadata, 20), None);

        let renamed = Metadata::new("Doors", "A door moved");
        let second = update(&door(), Some(&first), &renamed, 30).unwrap();
        assert_eq!(second["name"], "Doors");
        assert_eq!(second["pvt_created"], 10);
        assert_eq!(second["pvt_modified"], 30);
    }

    #[test]
    fn a_key_that_somebody_added_stays_and_causes_no_write() {
        let metadata = Metadata::new("Door", "A door moved");
        let mut stored = update(&door(), None, &metadata, 10).unwrap();
        stored.insert("colour".to_owned(), "green".into());
        assert_eq!(update(&door(), Some(&stored), &metadata, 20), None);
    }
}
