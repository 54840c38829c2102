//! `/v2/accounts`: accounts of the embedded store.

use std::sync::Arc;

use axum::extract::{Path, Query, State};

use super::body::Data;
use super::envelope::{Answer, PagedData, Reply};
use super::filters::Filters;
use super::shapes::{AccountDocument, AccountPatch, AccountSummary, NewAccount};
use super::{Api, listing};
use crate::hooks::editor::fields;
use crate::model::{AccountId, Document};
use crate::store::ListedKind;

/// Makes a top-level account
#[utoipa::path(put, path = "/v2/accounts", tag = "Accounts", request_body = NewAccount)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Data(data, _): Data<NewAccount>,
) -> Answer<AccountDocument, 201> {
    created(&api.editor.create_account(None, data.into_document()).await?)
}

/// Makes an account below this one
#[utoipa::path(put, path = "/v2/accounts/{account}", tag = "Accounts", request_body = NewAccount)]
pub(super) async fn create_below(
    State(api): State<Arc<Api>>,
    Path(parent): Path<String>,
    Data(data, _): Data<NewAccount>,
) -> Answer<AccountDocument, 201> {
    created(&api.editor.create_account(Some(&parent), data.into_document()).await?)
}

/// Shows an account
#[utoipa::path(get, path = "/v2/accounts/{account}", tag = "Accounts")]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<AccountDocument> {
    shown(&api.editor.account(&id).await?)
}

/// Replaces the fields of an account
#[utoipa::path(post, path = "/v2/accounts/{account}", tag = "Accounts", request_body = NewAccount, responses(
    (status = 409, description = "Somebody else changed it meanwhile")
))]
pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Data(data, _): Data<NewAccount>,
) -> Answer<AccountDocument> {
    shown(&api.editor.replace_account(&id, data.into_document()).await?)
}

/// Changes some fields of an account
#[utoipa::path(patch, path = "/v2/accounts/{account}", tag = "Accounts", request_body = AccountPatch, responses(
    (status = 409, description = "Somebody else changed it meanwhile")
))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Data(data, _): Data<AccountPatch>,
) -> Answer<AccountDocument> {
    shown(&api.editor.patch_account(&id, data.into_document()).await?)
}

/// Deletes an account with its hooks and tokens
#[utoipa::path(delete, path = "/v2/accounts/{account}", tag = "Accounts", responses(
    (status = 409, description = "There are accounts below it, or somebody else changed it meanwhile")
))]
pub(super) async fn delete(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<AccountDocument> {
    let deleted = api.editor.delete_account(&id).await?;
    if let Err(error) = api.access.tokens.revoke_of(&AccountId::from(id)).await {
        // Nobody gets in with them any more, and the next start forgets those of accounts that are gone.
        tracing::warn!(%error, "the tokens of a deleted account are still stored");
    }
    Ok(Reply::document(fields::public_deleted(&deleted)).revision(&deleted))
}

/// Lists the accounts right below
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/children",
    tag = "Accounts",
    params(listing::ListingQuery, Filters)
)]
pub(super) async fn children(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<listing::ListingQuery>,
    filters: Filters,
) -> Answer<PagedData<AccountSummary>> {
    list(&api, api.editor.children(&id).await?, &query, &filters).await
}

/// Lists all accounts below
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/descendants",
    tag = "Accounts",
    params(listing::ListingQuery, Filters)
)]
pub(super) async fn descendants(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<listing::ListingQuery>,
    filters: Filters,
) -> Answer<PagedData<AccountSummary>> {
    list(&api, api.editor.descendants(&id).await?, &query, &filters).await
}

async fn list(
    api: &Api,
    ids: Vec<AccountId>,
    query: &listing::ListingQuery,
    filters: &Filters,
) -> Answer<PagedData<AccountSummary>> {
    let ids = ids.iter().map(AccountId::to_string).collect();
    let shown = |doc: &Document| Some(AccountSummary::of(doc));
    listing::documents(&*api.documents, ListedKind::Account, ids, query, filters, shown).await
}

fn created(doc: &Document) -> Answer<AccountDocument, 201> {
    Ok(Reply::document(fields::public(doc)).at(fields::id(doc)).revision(doc))
}

fn shown(doc: &Document) -> Answer<AccountDocument> {
    Ok(Reply::document(fields::public(doc)).revision(doc))
}
