//! `/v2/accounts`: accounts of the embedded store.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Value, json};

use super::envelope::Reply;
use super::error::Failure;
use super::filters::Filters;
use super::{Api, body, listing};
use crate::hooks::editor::{EditError, fields};
use crate::hooks::{AccountId, Document};

type Answer = Result<Reply, Failure>;

pub(super) async fn create(State(api): State<Arc<Api>>, headers: HeaderMap, body: Body) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    created(&api.editor.create_account(None, data).await?)
}

pub(super) async fn create_below(
    State(api): State<Arc<Api>>,
    Path(parent): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    created(&api.editor.create_account(Some(&parent), data).await?)
}

pub(super) async fn show(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    shown(&api.editor.account(&id).await?)
}

pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    shown(&api.editor.replace_account(&id, data).await?)
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    shown(&api.editor.patch_account(&id, data).await?)
}

pub(super) async fn delete(State(api): State<Arc<Api>>, Path(id): Path<String>) -> Answer {
    let deleted = api.editor.delete_account(&id).await?;
    if let Err(error) = api.access.tokens.revoke_of(&AccountId::from(id)).await {
        // Nobody gets in with them any more, and the next start forgets those of accounts that are gone.
        tracing::warn!(%error, "the tokens of a deleted account are still stored");
    }
    Ok(Reply::ok(fields::public_deleted(&deleted)).revision(&deleted))
}

pub(super) async fn children(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<listing::Query>,
    Query(filters): Query<Vec<(String, String)>>,
) -> Answer {
    list(&api, api.editor.children(&id).await?, &query, &Filters::of(&filters)?).await
}

pub(super) async fn descendants(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<listing::Query>,
    Query(filters): Query<Vec<(String, String)>>,
) -> Answer {
    list(&api, api.editor.descendants(&id).await?, &query, &Filters::of(&filters)?).await
}

async fn list(api: &Api, ids: Vec<AccountId>, query: &listing::Query, filters: &Filters) -> Answer {
    let mut ids: Vec<String> = ids.iter().map(AccountId::to_string).collect();
    if !filters.want_all() {
        let mut wanted = Vec::new();
        for id in ids {
            if account(api, &id).await?.is_some_and(|doc| filters.want(&doc)) {
                wanted.push(id);
            }
        }
        ids = wanted;
    }
    let page = query.page(ids)?;
    let mut items = Vec::with_capacity(page.ids.len());
    for id in &page.ids {
        items.extend(account(api, id).await?.map(|doc| summary(&doc)));
    }
    Ok(page.reply(items))
}

/// An account of a listing; nothing when it was deleted after the listing began.
async fn account(api: &Api, id: &str) -> Result<Option<Document>, Failure> {
    match api.editor.account(id).await {
        Ok(doc) => Ok(Some(doc)),
        Err(EditError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn summary(doc: &Document) -> Value {
    let mut item = json!({"id": doc.get("_id"), "tree": doc.get("pvt_tree")});
    for key in ["name", "realm", "enabled"] {
        if let Some(value) = doc.get(key) {
            item[key] = value.clone();
        }
    }
    item
}

fn created(doc: &Document) -> Answer {
    Ok(Reply::created(fields::public(doc), fields::id(doc)).revision(doc))
}

fn shown(doc: &Document) -> Answer {
    Ok(Reply::ok(fields::public(doc)).revision(doc))
}
