//! Who may ask what: whose token a request carries, and whether that reaches so far.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, MatchedPath, RawPathParams, Request, State};
use axum::http::{Extensions, HeaderMap, header};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::asked::QueryToken;
use super::error::Failure;
use super::rules::{AuditedChange, RouteReach, rule};
use super::written;
use crate::access::tokens::Holder;
use crate::access::{Access, AccessCounters, Recognised};
use crate::hooks::editor::{EditError, fields};
use crate::model::Document;

/// Who asks. Every request carries one as an extension.
#[derive(Debug, Clone)]
pub(super) enum ApiCaller {
    /// Nobody who is known.
    Anybody(NotKnown),
    /// Somebody whose token was not looked at.
    Throttled {
        /// When the next one will be.
        wait: Duration,
    },
    /// Somebody whose token is known.
    Known {
        /// The token, which the envelope repeats.
        token: String,
        /// Whose it is.
        holder: Arc<Holder>,
    },
}

/// Why somebody is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotKnown {
    /// There was no token.
    NoToken,
    /// It is nobody's.
    WrongToken,
    /// It is one of a log-in whose time is over, or whose API key was revoked.
    LogInEnded,
}

impl NotKnown {
    pub(super) fn failure(self) -> Failure {
        Failure::credentials(match self {
            Self::NoToken => "send a token as X-Auth-Token or as Authorization: Bearer",
            Self::WrongToken => "the token is not known",
            Self::LogInEnded => {
                "the log-in has ended: its time is over or its API key was revoked; log in again"
            }
        })
    }
}

impl ApiCaller {
    /// Whose token was shown, by a client at this address.
    pub(super) async fn of(token: Option<String>, from: IpAddr, access: &Access) -> Self {
        let Some(token) = token else { return Self::Anybody(NotKnown::NoToken) };
        match access.recognise(&token, from).await {
            Recognised::Holder(holder) => Self::Known { token, holder },
            Recognised::Unknown => Self::Anybody(NotKnown::WrongToken),
            Recognised::Ended => Self::Anybody(NotKnown::LogInEnded),
            Recognised::Wait(wait) => Self::Throttled { wait },
        }
    }

    pub(super) fn is_administrator(&self) -> bool {
        self.holder().is_some_and(|holder| holder.administrator)
    }

    /// Whose token it is, where it is known.
    pub(super) fn holder(&self) -> Option<&Arc<Holder>> {
        match self {
            Self::Known { holder, .. } => Some(holder),
            Self::Anybody(_) | Self::Throttled { .. } => None,
        }
    }
}

/// The token that a request shows. A header goes before the query.
pub(super) fn token(request: &Request) -> Option<String> {
    let in_query = || Some(request.extensions().get::<QueryToken>()?.0.trim());
    let token = of_headers(request.headers()).filter(|token| !token.is_empty()).or_else(in_query);
    token.map(str::to_owned)
}

fn of_headers(headers: &HeaderMap) -> Option<&str> {
    if let Some(token) = headers.get("x-auth-token") {
        return token.to_str().ok().map(str::trim);
    }
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The other end of the connection; a proxy's headers are not believed.
pub(super) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(address)| address.ip().to_canonical())
}

/// The address that guesses are counted under.
pub(super) fn address_or_none(extensions: &Extensions) -> IpAddr {
    address(extensions).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

/// Stands before every route: lets through whom its rule lets through, and has changes written down.
pub(super) async fn gate(
    State(api): State<Arc<Api>>,
    path: MatchedPath,
    params: RawPathParams,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let (reach, change) = rule(request.method(), path.as_str());
    let caller = request.extensions().get::<ApiCaller>();
    let account = params.iter().find(|(name, _)| *name == "account").map(|(_, value)| value);
    admit(&api, reach, caller, account).await.inspect_err(|failure| failure.count(&api.access.counters))?;
    match (change, caller.and_then(ApiCaller::holder)) {
        (AuditedChange::Named(action), Some(holder)) => {
            let change = written::AuditedRequest::by(holder, action, &params, &request);
            Ok(change.made(&api, request, next).await)
        }
        _ => Ok(next.run(request).await),
    }
}

async fn admit(
    api: &Api,
    reach: RouteReach,
    caller: Option<&ApiCaller>,
    account: Option<&str>,
) -> Result<(), Failure> {
    if reach == RouteReach::Anybody {
        return Ok(());
    }
    let holder = match caller {
        Some(ApiCaller::Known { holder, .. }) => holder,
        Some(ApiCaller::Throttled { wait }) => return Err(Failure::throttled(*wait)),
        Some(ApiCaller::Anybody(why)) => return Err(why.failure()),
        None => return Err(NotKnown::NoToken.failure()),
    };
    match (&holder.account, reach, account) {
        _ if holder.administrator => Ok(()),
        (Some(own), RouteReach::Known, _) => may_act(&account_of(api, own.as_str()).await?),
        (Some(own), RouteReach::Account, Some(account)) => {
            may_act(&account_of(api, own.as_str()).await?)?;
            match api.editor.account(account).await {
                Ok(doc) if account == own.as_str() || is_below(&doc, own.as_str()) => Ok(()),
                // Whether there is such an account is not for strangers to know.
                Ok(_) | Err(EditError::NotFound { .. }) => {
                    Err(Failure::forbidden("the token reaches its account and those below it"))
                }
                Err(error) => Err(error.into()),
            }
        }
        _ => Err(Failure::forbidden("this is for administrators")),
    }
}

/// The account of a token.
pub(super) async fn account_of(api: &Api, id: &str) -> Result<Document, Failure> {
    match api.editor.account(id).await {
        Err(EditError::NotFound { .. }) => Err(Failure::credentials("the token is not known")),
        found => Ok(found?),
    }
}

/// Whether tokens of an account work.
pub(super) fn may_act(account: &Document) -> Result<(), Failure> {
    match account.get("enabled") {
        Some(serde_json::Value::Bool(false)) => {
            Err(Failure::forbidden(&format!("account {} is disabled", fields::id(account))))
        }
        _ => Ok(()),
    }
}

fn is_below(account: &Document, ancestor: &str) -> bool {
    let tree = account.get("pvt_tree").and_then(serde_json::Value::as_array);
    tree.is_some_and(|tree| tree.iter().any(|id| id == ancestor))
}

impl Failure {
    /// Counts a request that was turned away.
    pub(super) fn count(&self, counters: &AccessCounters) {
        match self.status.as_u16() {
            401 => AccessCounters::add(&counters.credentials),
            403 => AccessCounters::add(&counters.forbidden),
            429 => AccessCounters::add(&counters.throttled),
            _ => {}
        }
    }
}
