//! How stored metadata documents are made anew from the loaded modules: KAZOO's `reset_hook_definitions`.
//!
//! What the host itself shows and checks hooks by is always the loaded module's word. The stored documents are for
//! others who read the store; whoever changed one there has it back as the module wants it.

use std::collections::BTreeSet;
use std::sync::Arc;

use tracing::info;

use crate::clock;
use crate::model::Document;
use crate::model::ModuleId;
use crate::module::loaded_module::LoadedModule;
use crate::module::metadata;
use crate::module::registry::ModuleSnapshot;
use crate::store::{Documents, StoreError};

/// What every id begins with.
const PREFIX: &str = "webhooks_";

/// What a reset did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MetadataReset {
    /// Documents that say what their module says, and nothing else.
    pub written: Vec<String>,
    /// Documents of modules that are not loaded: they are gone.
    pub removed: Vec<String>,
}

/// Why nothing was reset, or not all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotReset {
    /// Neither a document nor a module has this id.
    #[error("there is no module and no stored document {0}")]
    Unknown(String),
    /// The store failed at this document.
    #[error("the document {id} cannot be reset: {error}")]
    Store {
        /// The document's id.
        id: String,
        /// Why.
        error: StoreError,
    },
}

/// Writes the documents of these modules anew and takes those of others away; with an id, only that one's.
pub(super) async fn reset(
    documents: &dyn Documents,
    loaded: &ModuleSnapshot,
    id: Option<&str>,
) -> Result<MetadataReset, NotReset> {
    let failed = |id: &str| {
        let id = id.to_owned();
        move |error| NotReset::Store { id, error }
    };
    let stored = documents.metadata().await.map_err(failed(id.unwrap_or(PREFIX)))?;
    let ids = wanted(id, &stored, loaded.modules())?;
    let mut reset = MetadataReset::default();
    for id in ids {
        let known = stored.iter().find(|document| has_id(document, &id));
        match loaded.module(&id) {
            Some(module) => {
                let document = anew(&module.id, known, module.metadata());
                documents.save_metadata(document).await.map_err(failed(&id))?;
                reset.written.push(id);
            }
            None => {
                documents.delete_metadata(&id).await.map_err(failed(&id))?;
                reset.removed.push(id);
            }
        }
    }
    info!(written = ?reset.written, removed = ?reset.removed, "metadata documents were reset");
    Ok(reset)
}

/// The ids that are reset, in their order.
fn wanted<'m>(
    id: Option<&str>,
    stored: &[Document],
    modules: impl Iterator<Item = &'m Arc<LoadedModule>>,
) -> Result<BTreeSet<String>, NotReset> {
    let stored = stored.iter().filter_map(|document| document.get("_id")?.as_str().map(str::to_owned));
    let known: BTreeSet<String> = stored.chain(modules.map(|module| module.id.to_string())).collect();
    let Some(id) = id else { return Ok(known) };
    let id = if id.starts_with(PREFIX) { id.to_owned() } else { format!("{PREFIX}{id}") };
    if known.contains(&id) { Ok(BTreeSet::from([id])) } else { Err(NotReset::Unknown(id)) }
}

fn has_id(document: &Document, id: &str) -> bool {
    document.get("_id").is_some_and(|known| known == id)
}

/// As if there had been none. It is written over the stored one, so that it is at no moment missing.
fn anew(id: &ModuleId, stored: Option<&Document>, said: &plugin_api::Metadata) -> Document {
    let mut document = metadata::first(id, said, clock::gregorian_now());
    document
        .extend(stored.and_then(|stored| stored.get_key_value("_rev")).map(|(k, v)| (k.clone(), v.clone())));
    document
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document(value: Value) -> Document {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn an_id_is_known_by_a_stored_document_with_and_without_its_prefix() {
        let stored = [document(json!({"_id": "webhooks_door"})), document(json!({"_id": "webhooks_bell"}))];
        let ids = |id| wanted(id, &stored, std::iter::empty()).map(Vec::from_iter);
        for (id, expected) in [
            (None, vec!["webhooks_bell", "webhooks_door"]),
            (Some("door"), vec!["webhooks_door"]),
            (Some("webhooks_door"), vec!["webhooks_door"]),
        ] {
            assert_eq!(ids(id).unwrap(), expected);
        }
        assert_eq!(ids(Some("gate")), Err(NotReset::Unknown("webhooks_gate".to_owned())));
    }

    #[test]
    fn a_document_says_what_its_module_says_and_nothing_that_others_have_added() {
        let said = plugin_api::Metadata::new("Door", "A door moved");
        let stored =
            document(json!({"_id": "webhooks_door", "_rev": "7-a", "name": "Gate", "colour": "green"}));
        let made = anew(&ModuleId::new("webhooks_door"), Some(&stored), &said);
        assert_eq!((&made["name"], &made["_rev"], made.get("colour")), (&json!("Door"), &json!("7-a"), None));
        assert_eq!(anew(&ModuleId::new("webhooks_door"), None, &said).get("_rev"), None);
    }
}
