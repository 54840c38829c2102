//! `GET /hooks`: the hooks that the host serves, of all accounts or of one, for whoever runs it.

use std::sync::Arc;

use axum::extract::{Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Api;
use super::envelope::Reply;
use super::error::Failure;
use crate::hooks::{Document, Hook};

/// What stands behind the `?`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    account: Option<String>,
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Query(wanted): Query<Wanted>,
) -> Result<Reply, Failure> {
    let documents = match wanted.account {
        Some(account) => api.editor.hooks(&account).await?,
        None => api.editor.all_hooks().await?,
    };
    Ok(Reply::ok(documents.iter().filter_map(served).collect::<Vec<_>>()))
}

/// With what applies where the document is silent; nothing for a document that cannot be served.
fn served(document: &Document) -> Option<Value> {
    let hook = Hook::from_document(document).ok()?;
    Some(json!({
        "id": hook.id.as_str(),
        "account_id": hook.account.as_str(),
        "hook": document.get("hook"),
        "uri": hook.uri,
        "http_verb": hook.verb.as_str(),
        "retries": hook.retries,
        "enabled": hook.enabled,
    }))
}
