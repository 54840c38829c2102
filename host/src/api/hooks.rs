//! `GET /hooks`: the hooks that the host serves, of all accounts or of one, for whoever runs it.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use super::{Api, listing};
use crate::hooks::{Document, Hook};

/// What stands behind the `?`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    account: Option<String>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Known(wanted, query): Known<Wanted, listing::Query>,
) -> Result<Reply, Failure> {
    let documents = match wanted.account {
        Some(account) => api.editor.hooks(&account).await?,
        None => api.editor.all_hooks().await?,
    };
    let mut served: BTreeMap<String, Value> = documents.iter().filter_map(served).collect();
    let page = query.page(served.keys().cloned().collect())?;
    let items = page.ids.iter().filter_map(|id| served.remove(id)).collect();
    Ok(page.reply(items))
}

/// With what applies where the document is silent, by its id; nothing for a document that cannot be served.
fn served(document: &Document) -> Option<(String, Value)> {
    let hook = Hook::from_document(document).ok()?;
    let shown = json!({
        "id": hook.id.as_str(),
        "account_id": hook.account.as_str(),
        "hook": document.get("hook"),
        "uri": hook.uri,
        "http_verb": hook.verb.as_str(),
        "retries": hook.retries,
        "enabled": hook.enabled,
    });
    Some((hook.id.to_string(), shown))
}
