//! Access tokens: how they are made, which are seen by whom, and how they are revoked.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::body::Data;
use super::caller::ApiCaller;
use super::envelope::{Answer, PagedData, Reply};
use super::error::Failure;
use super::known::StrictQuery;
use super::shapes::BooleanOrWord;
use super::typed::TypedDocument;
use super::{Api, listing};
use crate::access::tokens::{NewToken, ShownToken, TokenError};
use crate::hooks::editor::fields;
use crate::hooks::limits::LimitName;
use crate::model::AccountId;

/// Characters of a name.
const NAME: usize = 128;

/// A token to be made.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = NewToken, example = json!({"name": "deployment"}))]
pub(super) struct TokenQuery {
    /// What people call it.
    #[schema(max_length = 128)]
    name: Option<String>,
    /// Whether it is an administrator's. Only administrators make those.
    #[schema(value_type = BooleanOrWord, required = false)]
    admin: Option<BooleanOrWord>,
}

/// Makes a token
///
/// The only answer that has the token in it.
#[utoipa::path(put, path = "/v2/accounts/{account}/tokens", tag = "Tokens", request_body = TokenQuery, responses(
    (status = 409, description = "The account has too many already")
))]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
    Path(account): Path<String>,
    Data(data, _): Data<TokenQuery>,
) -> Answer<CreatedToken, 201> {
    let (name, administrator) = wanted(data)?;
    if administrator && !caller.is_administrator() {
        return Err(Failure::forbidden("only administrators make administrators"));
    }
    api.editor.account(&account).await?;
    let created_by = caller.holder().map(|holder| holder.id.clone()).unwrap_or_default();
    let account = AccountId::from(account);
    let new = NewToken { account: account.clone(), administrator, name, created_by };
    let most = api.editor.limit(account.as_str(), LimitName::Tokens);
    let (token, shown) = api.access.tokens.create(new, most).await?;
    // The account may have been deleted meanwhile, without having seen this token.
    if let Err(error) = api.editor.account(account.as_str()).await {
        api.access.tokens.revoke(&shown.id).await?;
        return Err(error.into());
    }
    let created = CreatedToken { known: public(&shown), token: token.reveal().to_owned() };
    Ok(Reply::of(&created).at(&shown.id))
}

fn wanted(data: TypedDocument<TokenQuery>) -> Result<(Option<String>, bool), Failure> {
    let TypedDocument { known: TokenQuery { name, admin }, rest, .. } = data;
    let wrong = |field: &str, code: &str, message: &str| {
        Err(Failure::validation(fields::invalid(field, code, message)))
    };
    if name.as_ref().is_some_and(|name| name.chars().count() > NAME) {
        return wrong("name", "maxLength", "the name must have at most 128 characters");
    }
    if rest.get("name").is_some_and(|name| !name.is_null()) {
        return wrong("name", "type", "the name must be a string");
    }
    if rest.contains_key("admin") {
        return wrong("admin", "type", "admin must be true or false");
    }
    Ok((name, admin.is_some_and(BooleanOrWord::is_set)))
}

/// Lists the tokens of an account
#[utoipa::path(get, path = "/v2/accounts/{account}/tokens", tag = "Tokens", params(listing::ListingQuery))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
    Path(account): Path<String>,
    Query(query): Query<listing::ListingQuery>,
) -> Answer<PagedData<TokenShape>> {
    api.editor.account(&account).await?;
    let mut ids = api.access.tokens.ids(Some(&AccountId::from(account)));
    if !caller.is_administrator() {
        ids.retain(|id| api.access.tokens.show(id).is_some_and(|token| is_for(&token, &caller)));
    }
    page(&api, ids, &query)
}

/// What stands behind the `?` of `GET /tokens`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct NewTokenShape {
    /// Only those of this account.
    account: Option<String>,
}

/// Lists the tokens of all accounts
#[utoipa::path(get, path = "/tokens", tag = "Tokens", params(NewTokenShape, listing::ListingQuery))]
pub(super) async fn list_all(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, query): StrictQuery<NewTokenShape, listing::ListingQuery>,
) -> Answer<PagedData<TokenShape>> {
    page(&api, api.access.tokens.ids(wanted.account.map(AccountId::from).as_ref()), &query)
}

fn page(api: &Api, ids: Vec<String>, query: &listing::ListingQuery) -> Answer<PagedData<TokenShape>> {
    let page = query.page(ids)?;
    let shown = page.ids.iter().filter_map(|id| api.access.tokens.show(id));
    let known: Vec<TokenShape> = shown.map(|token| public(&token)).collect();
    Ok(page.reply(&known))
}

/// Revokes a token of an account
///
/// It works no more from now on.
#[utoipa::path(delete, path = "/v2/accounts/{account}/tokens/{token}", tag = "Tokens")]
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
    Path((account, id)): Path<(String, String)>,
) -> Answer<RevokedToken> {
    let known = api.access.tokens.show(&id);
    match known {
        Some(token) if token.account.as_str() != account || !is_for(&token, &caller) => {
            Err(Failure::bad_identifier(&id))
        }
        // One that memory does not know may be in the store after a failure; that is the administrator's to mend.
        None if !caller.is_administrator() => Err(Failure::bad_identifier(&id)),
        known => revoked(&api, &id, known).await,
    }
}

/// Revokes a token
#[utoipa::path(delete, path = "/tokens/{token}", tag = "Tokens")]
pub(super) async fn revoke_any(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer<RevokedToken> {
    let known = api.access.tokens.show(&id);
    revoked(&api, &id, known).await
}

async fn revoked(api: &Api, id: &str, known: Option<ShownToken>) -> Answer<RevokedToken> {
    api.access.tokens.revoke(id).await?;
    let known = known.as_ref().map(public);
    let id = id.to_owned();
    Ok(Reply::of(&RevokedToken { id, known, read_only: RevokedShape { deleted: true } }))
}

/// Administrators' tokens are not for accounts to see or to revoke.
fn is_for(token: &ShownToken, caller: &ApiCaller) -> bool {
    !token.administrator || caller.is_administrator()
}

/// A token, but for itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub(super) struct TokenShape {
    id: String,
    account_id: String,
    name: Option<String>,
    /// Whether it is an administrator's.
    admin: bool,
    created: Option<String>,
    /// The id of the token that it was made with.
    created_by: String,
    last_used: Option<String>,
}

/// A token that was made just now.
#[derive(Serialize, ToSchema)]
#[schema(as = CreatedToken)]
pub(super) struct CreatedToken {
    #[serde(flatten)]
    known: TokenShape,
    /// The token itself. It is not kept, and not shown again.
    token: String,
}

/// A token that works no more.
#[derive(Serialize, ToSchema)]
#[schema(as = RevokedToken)]
pub(super) struct RevokedToken {
    id: String,
    #[serde(flatten)]
    known: Option<TokenShape>,
    #[serde(rename = "_read_only")]
    read_only: RevokedShape,
}

/// That something is deleted.
#[derive(Serialize, ToSchema)]
#[schema(as = Gone)]
pub(super) struct RevokedShape {
    deleted: bool,
}

fn public(token: &ShownToken) -> TokenShape {
    let time = |ms: i64| fields::iso_time(ms / 1_000);
    TokenShape {
        id: token.id.clone(),
        account_id: token.account.to_string(),
        name: token.name.clone(),
        admin: token.administrator,
        created: time(token.created_ms),
        created_by: token.created_by.clone(),
        last_used: token.used_ms.and_then(time),
    }
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooMany(ref reached) => {
                let mut data = reached.to_json();
                data["message"] = error.to_string().into();
                Self::with_data(StatusCode::CONFLICT, "too_many_tokens", data)
            }
            TokenError::Unknown(id) => Self::bad_identifier(&id),
            TokenError::Store(error) => error.into(),
        }
    }
}
