//! Who changed what: of everybody for administrators, of one account for those who reach it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::envelope::{Answer, Page, Reply};
use super::known::Only;
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::store::{AuditQuery, StoredAuditEntry};

/// What stands behind the `?` of `GET /audit`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct Wanted {
    /// Only changes of this account.
    account: Option<String>,
}

/// Lists who changed what
///
/// The latest first.
#[utoipa::path(
    get,
    path = "/audit",
    tag = "Operation",
    operation_id = "audit_list",
    params(Wanted, listing::Numbered)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Only(wanted, query): Only<Wanted, listing::Numbered>,
) -> Answer<Page<Entry>> {
    page(&api, wanted.account, &query).await
}

/// Lists who changed what in an account
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/audit",
    tag = "Accounts",
    operation_id = "accounts_audit",
    params(listing::Numbered)
)]
pub(super) async fn list_of(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Query(query): Query<listing::Numbered>,
) -> Answer<Page<Entry>> {
    api.editor.account(&account).await?;
    page(&api, Some(account), &query).await
}

async fn page(api: &Api, account: Option<String>, query: &listing::Numbered) -> Answer<Page<Entry>> {
    let (size, up_to) = (query.size()?, query.start()?);
    let wanted = AuditQuery { account, up_to, limit: size + 1 };
    let mut entries = api.access.audit.list(wanted).await?;
    let next = entries.get(size).map(|entry| entry.id);
    entries.truncate(size);
    let shown: Vec<Entry> = entries.into_iter().map(shown).collect();
    Ok(Reply::page(&shown, up_to.map(|id| id.to_string()), next.map(|id| id.to_string())))
}

/// A change.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct Entry {
    id: i64,
    at: Option<String>,
    /// The id of the token that it was made with.
    token: String,
    /// Whose token that was; none for the host's own.
    token_account_id: Option<String>,
    /// Where the request came from.
    address: Option<String>,
    /// Such as `webhook.create`.
    action: String,
    /// The account that it concerns.
    account_id: Option<String>,
    /// What was changed.
    document: Option<String>,
    request_id: String,
}

fn shown(stored: StoredAuditEntry) -> Entry {
    let StoredAuditEntry { id, entry } = stored;
    Entry {
        id,
        at: fields::iso_time(entry.at_ms / 1_000),
        token: entry.token,
        token_account_id: entry.token_account,
        address: entry.address,
        action: entry.action,
        account_id: entry.account,
        document: entry.document,
        request_id: entry.request,
    }
}
