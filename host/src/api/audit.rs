//! Who changed what: of everybody for administrators, of one account for those who reach it.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::envelope::{Answer, PagedData, Reply};
use super::known::StrictQuery;
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::store::{AuditQuery, StoredAuditEntry};

/// What stands behind the `?` of `GET /audit`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditListQuery {
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
    params(AuditListQuery, listing::NumberedPage)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, query): StrictQuery<AuditListQuery, listing::NumberedPage>,
) -> Answer<PagedData<AuditShape>> {
    page(&api, wanted.account, &query).await
}

/// Lists who changed what in an account
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/audit",
    tag = "Accounts",
    operation_id = "accounts_audit",
    params(listing::NumberedPage)
)]
pub(super) async fn list_of(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Query(query): Query<listing::NumberedPage>,
) -> Answer<PagedData<AuditShape>> {
    api.editor.account(&account).await?;
    page(&api, Some(account), &query).await
}

async fn page(
    api: &Api,
    account: Option<String>,
    query: &listing::NumberedPage,
) -> Answer<PagedData<AuditShape>> {
    let (size, up_to) = (query.size()?, query.start()?);
    let wanted = AuditQuery { account, up_to, limit: size + 1 };
    let mut entries = api.access.audit.list(wanted).await?;
    let next = entries.get(size).map(|entry| entry.id);
    entries.truncate(size);
    let shown: Vec<AuditShape> = entries.into_iter().map(shown).collect();
    Ok(Reply::page(&shown, up_to.map(|id| id.to_string()), next.map(|id| id.to_string())))
}

/// A change.
#[derive(Serialize, ToSchema)]
#[schema(as = AuditEntry)]
pub(super) struct AuditShape {
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

fn shown(stored: StoredAuditEntry) -> AuditShape {
    let StoredAuditEntry { id, entry } = stored;
    AuditShape {
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
