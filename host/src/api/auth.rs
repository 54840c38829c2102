//! Who may ask what: whether the token of a request reaches so far.

use std::sync::Arc;

use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use super::Api;
use super::audit_layer::AuditedRequest;
use super::caller::{ApiCaller, NotKnown};
use super::error::Failure;
use super::rules::{AuditedChange, RouteReach, rule};
use crate::access::AccessCounters;
use crate::hooks::editor::{EditError, fields};
use crate::model::Document;

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
            let change = AuditedRequest::by(holder, action, &params, &request);
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
