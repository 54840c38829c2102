//! Access tokens: how they are made, which are seen by whom, and how they are revoked.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::auth::Caller;
use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use super::{Api, body, listing};
use crate::access::tokens::{NewToken, Shown, TokenError};
use crate::hooks::editor::fields;
use crate::hooks::{AccountId, Document};

type Answer = Result<Reply, Failure>;

/// Characters of a name.
const NAME: usize = 128;

/// `PUT /v2/accounts/{account}/tokens`: the only answer that has the token in it.
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    let (name, administrator) = wanted(&data)?;
    if administrator && !caller.is_administrator() {
        return Err(Failure::forbidden("only administrators make administrators"));
    }
    api.editor.account(&account).await?;
    let created_by = caller.holder().map(|holder| holder.id.clone()).unwrap_or_default();
    let account = AccountId::from(account);
    let new = NewToken { account: account.clone(), administrator, name, created_by };
    let (token, shown) = api.access.tokens.create(new).await?;
    // The account may have been deleted meanwhile, without having seen this token.
    if let Err(error) = api.editor.account(account.as_str()).await {
        api.access.tokens.revoke(&shown.id).await?;
        return Err(error.into());
    }
    let mut data = public(&shown);
    data["token"] = token.reveal().into();
    Ok(Reply::created(data, &shown.id))
}

fn wanted(data: &Document) -> Result<(Option<String>, bool), Failure> {
    let wrong = |field: &str, code: &str, message: &str| {
        Err(Failure::validation(fields::invalid(field, code, message)))
    };
    let name = match data.get("name") {
        None | Some(Value::Null) => None,
        Some(Value::String(name)) if name.chars().count() <= NAME => Some(name.clone()),
        Some(Value::String(_)) => {
            return wrong("name", "maxLength", "the name must have at most 128 characters");
        }
        Some(_) => return wrong("name", "type", "the name must be a string"),
    };
    match data.get("admin") {
        None => Ok((name, false)),
        Some(Value::Bool(administrator)) => Ok((name, *administrator)),
        Some(_) => wrong("admin", "type", "admin must be true or false"),
    }
}

/// `GET /v2/accounts/{account}/tokens`
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path(account): Path<String>,
    Query(query): Query<listing::Query>,
) -> Answer {
    api.editor.account(&account).await?;
    let mut tokens = api.access.tokens.list(Some(&AccountId::from(account)));
    tokens.retain(|token| is_for(token, &caller));
    page(tokens, &query)
}

/// What stands behind the `?` of `GET /tokens`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    account: Option<String>,
}

/// `GET /tokens`: of all accounts.
pub(super) async fn list_all(
    State(api): State<Arc<Api>>,
    Known(wanted, query): Known<Wanted, listing::Query>,
) -> Answer {
    page(api.access.tokens.list(wanted.account.map(AccountId::from).as_ref()), &query)
}

fn page(mut tokens: Vec<Shown>, query: &listing::Query) -> Answer {
    let page = query.page(tokens.iter().map(|token| token.id.clone()).collect())?;
    let place = |id: &String| page.ids.iter().position(|listed| listed == id);
    tokens.retain(|token| place(&token.id).is_some());
    tokens.sort_by_key(|token| place(&token.id));
    let items = tokens.iter().map(public).collect();
    Ok(page.reply(items))
}

/// `DELETE /v2/accounts/{account}/tokens/{token}`
pub(super) async fn revoke(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<Caller>,
    Path((account, id)): Path<(String, String)>,
) -> Answer {
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

/// `DELETE /tokens/{token}`
pub(super) async fn revoke_any(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let known = api.access.tokens.show(&id);
    revoked(&api, &id, known).await
}

async fn revoked(api: &Api, id: &str, known: Option<Shown>) -> Answer {
    api.access.tokens.revoke(id).await?;
    let mut data = known.as_ref().map_or_else(|| json!({"id": id}), public);
    data["_read_only"] = json!({"deleted": true});
    Ok(Reply::ok(data))
}

/// Administrators' tokens are not for accounts to see or to revoke.
fn is_for(token: &Shown, caller: &Caller) -> bool {
    !token.administrator || caller.is_administrator()
}

fn public(token: &Shown) -> Value {
    let time = |ms: i64| fields::iso_time(ms / 1_000);
    json!({
        "id": token.id,
        "account_id": token.account.as_str(),
        "name": token.name,
        "admin": token.administrator,
        "created": time(token.created_ms),
        "created_by": token.created_by,
        "last_used": token.used_ms.and_then(time),
    })
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::TooMany => Self::new(StatusCode::CONFLICT, "too_many_tokens", error.to_string()),
            TokenError::Unknown(id) => Self::bad_identifier(&id),
            TokenError::Store(error) => error.into(),
        }
    }
}
