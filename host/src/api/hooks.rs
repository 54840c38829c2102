//! `GET /hooks` and `/hooks/{hook}`: the hooks that the host serves and how they do, of all accounts or of one, for
//! whoever runs it.

use std::sync::Arc;

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use super::envelope::{Answer, PagedData, Reply};
use super::error::Failure;
use super::filters::Filters;
use super::known::StrictQuery;
use super::{Api, listing};
use crate::delivery::shards::DueShards;
use crate::disabler::Disabler;
use crate::model::{Document, Hook};
use crate::store::ListedKind;

/// What stands behind the `?`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct HookListQuery {
    /// Only hooks of this account.
    account: Option<String>,
}

/// Lists the hooks that the host serves
///
/// Of all accounts, descending by their ids.
#[utoipa::path(get, path = "/hooks", tag = "Operation", operation_id = "hooks_list", params(HookListQuery, listing::ListingQuery), responses(
    (status = 404, description = "There is no such account")
))]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, query): StrictQuery<HookListQuery, listing::ListingQuery>,
) -> Answer<PagedData<ServedHook>> {
    if let Some(account) = &wanted.account {
        api.editor.account(account).await?;
    }
    let all = Filters::default();
    let ids = listing::hook_ids(&*api.documents, wanted.account.as_deref(), &query, &all).await?;
    let (disabler, due) = (Arc::clone(&api.disabler), Arc::clone(&api.due));
    let shown = move |document: &Document| served(document, &disabler, &due);
    listing::documents(&*api.documents, ListedKind::Hook, ids, &query, &all, shown).await
}

/// Shows a hook that the host serves
///
/// With how many requests it may have at once now, and has.
#[utoipa::path(get, path = "/hooks/{hook}", tag = "Operation", operation_id = "hooks_show")]
pub(super) async fn show(State(api): State<Arc<Api>>, Path(hook): Path<String>) -> Answer<ServedHook> {
    let document = api.documents.hook(&hook).await?;
    let shown = document.and_then(|document| served(&document, &api.disabler, &api.due));
    shown.map(|shown| Reply::of(&shown)).ok_or_else(|| Failure::bad_identifier(&hook))
}

/// A hook, with what applies where its document is silent.
#[derive(Serialize, ToSchema)]
#[schema(as = ServedWebhook)]
pub(super) struct ServedHook {
    id: String,
    account_id: String,
    hook: Option<Value>,
    uri: String,
    http_verb: &'static str,
    retries: u8,
    enabled: bool,
    /// Whether a delivery to it was tried since the host started, or since the hook was last changed.
    tried: bool,
    /// Requests to it that are under way.
    in_flight: usize,
    /// How many may be, as its endpoint answers now.
    in_flight_limit: usize,
}

/// Nothing for a document that cannot be served.
fn served(document: &Document, disabler: &Disabler, due: &DueShards) -> Option<ServedHook> {
    let hook = Hook::from_document(document).ok()?;
    let concurrency = due.concurrency(&hook.id);
    Some(ServedHook {
        id: hook.id.to_string(),
        account_id: hook.account.to_string(),
        hook: document.get("hook").cloned(),
        uri: String::from(&*hook.uri),
        http_verb: hook.verb.as_str(),
        retries: hook.retries,
        enabled: hook.enabled,
        tried: disabler.was_tried(&hook.id),
        in_flight: concurrency.in_flight,
        in_flight_limit: concurrency.limit,
    })
}
