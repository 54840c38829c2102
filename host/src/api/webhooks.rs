//! `/v2/webhooks` and `/v2/accounts/{id}/webhooks`: what can be hooked, and the hooks of an account.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use serde_json::{Map, Value, json};

use super::auth::Caller;
use super::envelope::Reply;
use super::error::Failure;
use super::filters::Filters;
use super::{Api, body, listing};
use crate::hooks::Document;
use crate::hooks::editor::{fields, is_enabled, shown_hook};

type Answer = Result<Reply, Failure>;

/// Notifications for whoever runs the system; only an administrator sees that they exist.
const ADMINISTRATORS_TYPES: [&str; 2] = ["system_alert", "webhook_disabled"];

pub(super) async fn available(State(api): State<Arc<Api>>, Extension(caller): Extension<Caller>) -> Reply {
    let everything = caller.is_administrator();
    let docs = api.metadata.metadata();
    let shown = docs.iter().filter_map(|doc| event(doc, everything));
    Reply::ok(shown.map(Value::Object).collect::<Vec<_>>())
}

fn event(doc: &Document, everything: bool) -> Option<Document> {
    let name = fields::id(doc).strip_prefix("webhooks_").filter(|name| *name != "skel")?;
    let mut shown = fields::public(doc);
    fields::set(&mut shown, "id", name);
    if name == "notifications"
        && !everything
        && let Some(Value::Object(types)) =
            shown.get_mut("modifiers").and_then(|modifiers| modifiers.pointer_mut("/type/items"))
    {
        types.retain(|name, _| !ADMINISTRATORS_TYPES.contains(&name.as_str()));
    }
    Some(shown)
}

pub(super) async fn samples(State(api): State<Arc<Api>>) -> Reply {
    Reply::ok(api.modules.samples().into_keys().collect::<Vec<_>>())
}

pub(super) async fn sample(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    Query(query): Query<Vec<(String, String)>>,
) -> Answer {
    let mut samples = api.modules.samples().remove(&id).ok_or_else(|| Failure::bad_identifier(&id))?;
    let filters = Filters::of(&query)?;
    samples.retain(|sample| sample.as_object().is_some_and(|sample| filters.want(sample)));
    Ok(Reply::ok(samples))
}

pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Query(query): Query<listing::Query>,
    Query(filters): Query<Vec<(String, String)>>,
) -> Answer {
    let filters = Filters::of(&filters)?;
    let hooks = api.editor.hooks(&account).await?;
    let wanted = hooks.iter().filter(|doc| filters.want(doc));
    let mut items: BTreeMap<&str, Value> = wanted.map(|doc| (fields::id(doc), summary(doc))).collect();
    let page = query.page(items.keys().map(|id| (*id).to_owned()).collect())?;
    let items = page.ids.iter().filter_map(|id| items.remove(id.as_str())).collect();
    Ok(page.reply(items))
}

fn summary(doc: &Document) -> Value {
    let mut shown = shown_hook(doc);
    let mut item = Map::new();
    for key in ["id", "hook", "name", "uri", "group"] {
        item.extend(shown.shift_remove_entry(key));
    }
    item.insert("enabled".to_owned(), is_enabled(doc).into());
    item.extend(shown.shift_remove_entry("disable_reason"));
    Value::Object(item)
}

pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    let doc = api.editor.create_hook(&account, data).await?;
    Ok(Reply::created(shown_hook(&doc), fields::id(&doc)).revision(&doc))
}

pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
) -> Answer {
    shown(&api.editor.hook(&account, &hook).await?)
}

pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    shown(&api.editor.replace_hook(&account, &hook, data).await?)
}

pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    let data = body::data(&headers, body, &api.limits).await?;
    shown(&api.editor.patch_hook(&account, &hook, data).await?)
}

pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
) -> Answer {
    let deleted = api.editor.delete_hook(&account, &hook).await?;
    Ok(Reply::ok(fields::public_deleted(&deleted)).revision(&deleted))
}

/// The hooks of the account that the host has switched off are on again.
pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    enable_all(&api, &account, false, &headers, body).await
}

pub(super) async fn enable_descendants(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    enable_all(&api, &account, true, &headers, body).await
}

async fn enable_all(api: &Api, account: &str, descendants: bool, headers: &HeaderMap, body: Body) -> Answer {
    const FIELD: &str = "re-enable";
    let data = body::data(headers, body, &api.limits).await?;
    match data.get(FIELD) {
        Some(value) if *value == true || value == "true" => {}
        Some(_) => {
            let wrong = json!({"message": "value not found in enumerated list of values", "target": [true]});
            return Err(Failure::validation(json!({ FIELD: { "enum": wrong } })));
        }
        None => {
            let message = "re-enable is required to patch collections";
            return Err(Failure::validation(fields::invalid(FIELD, "required", message)));
        }
    }
    api.editor.enable_hooks(account, descendants).await?;
    Ok(Reply::ok("hooks updated"))
}

fn shown(doc: &Document) -> Answer {
    Ok(Reply::ok(shown_hook(doc)).revision(doc))
}
