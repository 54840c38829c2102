//! Crossbar's log-in, for KAZOO's clients: an account's token serves as API key, and the answer has the token that they
//! go on with. There are no users here, so that they cannot log in with a name and a password.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::Extension;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::Api;
use super::auth::{account_of, may_act};
use super::body::Data;
use super::caller::{ApiCaller, address_or_none};
use super::envelope::{Answer, Reply};
use super::error::Failure;
use crate::access::Recognised;
use crate::access::tokens::Holder;
use crate::clock;
use crate::hooks::editor::fields;
use crate::hooks::limits::LimitName;
use crate::model::{AccountId, Document};

/// What pages of Monster UI are shown in where an account does not say.
const LANGUAGE: &str = "en-us";

/// Where a request comes from.
pub(super) struct PeerAddress(IpAddr);

impl<S: Sync> FromRequestParts<S> for PeerAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(address_or_none(&parts.extensions)))
    }
}

/// What is shown to log in.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(as = ApiAuth, example = json!({"api_key": "hlt_0123456789abcdef_0123456789abcdef"}))]
pub(super) struct ShownKey {
    /// A token of an account.
    #[schema(value_type = String, min_length = 1)]
    api_key: Option<String>,
}

/// Who has logged in, in Crossbar's words.
#[derive(Serialize, ToSchema)]
#[schema(as = LogIn)]
pub(super) struct LogInShape {
    /// None where it is the token in `admin.token`, which belongs to no account.
    account_id: Option<String>,
    account_name: Option<String>,
    /// The id of the API key.
    owner_id: String,
    /// Whether the account is its own reseller.
    is_reseller: bool,
    reseller_id: Option<String>,
    language: String,
    /// Monster UI's apps for the account; it has its own list of them.
    apps: Vec<Value>,
    /// Whether the API key is an administrator's.
    is_administrator: bool,
}

impl LogInShape {
    fn of(holder: &Holder, account: Option<&Document>) -> Self {
        let text = |key: &str| account?.get(key).and_then(Value::as_str).map(str::to_owned);
        let (account_id, reseller_id) = (text("_id"), text("pvt_reseller_id"));
        Self {
            account_name: text("name"),
            owner_id: holder.id.clone(),
            is_reseller: reseller_id.is_some() && reseller_id == account_id,
            account_id,
            reseller_id,
            language: text("language").unwrap_or_else(|| LANGUAGE.to_owned()),
            apps: Vec::new(),
            is_administrator: holder.administrator,
        }
    }
}

/// Logs in with an API key
///
/// A token of an account serves as API key. The envelope's `auth_token` is what the next requests carry: a JSON Web Token
/// that is valid for a day, and no longer than the API key.
#[utoipa::path(put, path = "/v2/api_auth", tag = "Tokens", request_body = ShownKey, responses(
    (status = 401, description = "The API key is not known"),
    (status = 403, description = "The account is disabled, or the token belongs to no account"),
    (status = 429, description = "Too many wrong tokens and API keys came from this address")
))]
pub(super) async fn api_auth(
    State(api): State<Arc<Api>>,
    from: PeerAddress,
    Data(data, _): Data<ShownKey>,
) -> Answer<LogInShape, 201> {
    let wrong =
        |code: &str, message: &str| Err(Failure::validation(fields::invalid("api_key", code, message)));
    let key = match data.known.api_key.as_deref().map(str::trim) {
        Some("") => return wrong("minLength", "an API key has at least 1 character"),
        Some(key) => key,
        None if data.rest.get("api_key").is_some_and(|key| !key.is_null()) => {
            return wrong("type", "value did not match type(s): string");
        }
        None => return wrong("required", "field is required but missing"),
    };
    let logged_in = match api.access.recognise_key(key, from.0).await {
        Recognised::Holder(holder) => log_in(&api, &holder).await,
        Recognised::Unknown | Recognised::Ended => Err(Failure::credentials("the API key is not known")),
        Recognised::Wait(wait) => Err(Failure::throttled(wait)),
    };
    logged_in.inspect_err(|failure| failure.count(&api.access.counters))
}

async fn log_in(api: &Api, holder: &Holder) -> Answer<LogInShape, 201> {
    let (Some(account), Some(token)) = (&holder.account, api.access.log_ins.issue(holder, clock::unix_now()))
    else {
        return Err(Failure::forbidden(
            "the token in admin.token belongs to no account: make one with `hookline token create --account ID`",
        ));
    };
    let account = account_of(api, account.as_str()).await?;
    may_act(&account)?;
    Ok(Reply::of(&LogInShape::of(holder, Some(&account))).auth_token(token))
}

/// Refuses a name and a password
///
/// Always: there are no users here.
#[utoipa::path(put, path = "/v2/user_auth", tag = "Tokens", responses(
    (status = 401, description = "There are no users here; log in at /v2/api_auth")
))]
pub(super) async fn user_auth() -> Failure {
    let message = "this host has no users: log in with an API key, by PUT /v2/api_auth";
    let data = json!({"message": message, "cause": "user_auth", "target": "api_auth"});
    Failure::with_data(StatusCode::UNAUTHORIZED, "invalid_credentials", data)
}

/// Shows whose token this is
#[utoipa::path(get, path = "/v2/token_auth", tag = "Tokens")]
pub(super) async fn token_auth(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
) -> Answer<LogInShape> {
    let holder = caller.holder().ok_or_else(Failure::internal)?;
    let account = match &holder.account {
        Some(account) => Some(account_of(&api, account.as_str()).await?),
        None => None,
    };
    Ok(Reply::of(&LogInShape::of(holder, account.as_ref())))
}

/// Whether an account has an API key.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct ApiKeyShape {
    api_key_set: bool,
    /// Its id among the account's tokens.
    id: Option<String>,
    created: Option<String>,
    last_used: Option<String>,
}

/// Says whether the account has an API key
///
/// The key itself is not kept, and not shown.
#[utoipa::path(get, path = "/v2/accounts/{account}/api_key", tag = "Tokens")]
pub(super) async fn api_key(State(api): State<Arc<Api>>, Path(account): Path<String>) -> Answer<ApiKeyShape> {
    api.editor.account(&account).await?;
    let key = api.access.tokens.api_key(&AccountId::from(account)).await?;
    let time = |ms: i64| fields::iso_time(ms / 1_000);
    Ok(Reply::of(&ApiKeyShape {
        api_key_set: key.is_some(),
        created: key.as_ref().and_then(|key| time(key.created_ms)),
        last_used: key.as_ref().and_then(|key| time(key.used_ms?)),
        id: key.map(|key| key.id),
    }))
}

/// An API key that was made just now.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(super) struct NewApiKey {
    /// The key itself. It is not kept, and not shown again.
    api_key: String,
    api_key_set: bool,
    /// Its id among the account's tokens.
    id: String,
}

/// Makes a new API key
///
/// The only answer that has the key in it. The one before works no more, nor does who has logged in with it.
#[utoipa::path(put, path = "/v2/accounts/{account}/api_key", tag = "Tokens", responses(
    (status = 409, description = "The account has too many tokens already")
))]
pub(super) async fn make_api_key(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
    Path(account): Path<String>,
) -> Answer<NewApiKey, 201> {
    api.editor.account(&account).await?;
    let created_by = caller.holder().map(|holder| holder.id.clone()).unwrap_or_default();
    let account = AccountId::from(account);
    let most = api.editor.limit(account.as_str(), LimitName::Tokens);
    let (key, shown) = api.access.tokens.renew_api_key(&account, created_by, most).await?;
    // The account may have been deleted meanwhile, without having seen this token.
    if let Err(error) = api.editor.account(account.as_str()).await {
        api.access.tokens.revoke(&shown.id).await?;
        return Err(error.into());
    }
    let made = NewApiKey { api_key: key.reveal().to_owned(), api_key_set: true, id: shown.id };
    Ok(Reply::of(&made).at(&made.id))
}
