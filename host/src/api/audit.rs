//! Who changed what: of everybody for administrators, of one account for those who reach it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::Deserialize;
use serde_json::{Value, json};

use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::store::{AuditQuery, StoredAuditEntry};

/// What stands behind the `?` of `GET /audit`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    account: Option<String>,
}

/// `GET /audit`
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Known(wanted, query): Known<Wanted, listing::Query>,
) -> Result<Reply, Failure> {
    page(&api, wanted.account, &query).await
}

/// `GET /v2/accounts/{account}/audit`
pub(super) async fn list_of(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Query(query): Query<listing::Query>,
) -> Result<Reply, Failure> {
    api.editor.account(&account).await?;
    page(&api, Some(account), &query).await
}

async fn page(api: &Api, account: Option<String>, query: &listing::Query) -> Result<Reply, Failure> {
    let (size, up_to) = (query.size()?, query.start_number()?);
    let wanted = AuditQuery { account, up_to, limit: size + 1 };
    let mut entries = api.access.audit.list(wanted).await?;
    let next = entries.get(size).map(|entry| entry.id);
    entries.truncate(size);
    let reply = Reply::ok(entries.iter().map(shown).collect::<Vec<_>>()).beside("page_size", entries.len());
    Ok(match next {
        Some(next) => reply.beside("next_start_key", next.to_string()),
        None => reply,
    })
}

fn shown(stored: &StoredAuditEntry) -> Value {
    let entry = &stored.entry;
    json!({
        "id": stored.id,
        "at": fields::iso_time(entry.at_ms / 1_000),
        "token": entry.token,
        "token_account_id": entry.token_account,
        "address": entry.address,
        "action": entry.action,
        "account_id": entry.account,
        "document": entry.document,
        "request_id": entry.request,
    })
}
