//! `/v2/webhooks` and `/v2/accounts/{id}/webhooks`: what can be hooked, and the hooks of an account.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use serde::Serialize;
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use super::body::Data;
use super::caller::ApiCaller;
use super::envelope::{Answer, ListBody, PagedData, Reply};
use super::error::Failure;
use super::filters::Filters;
use super::shapes::{EventType, NewWebhook, SampleShape, Webhook, WebhookPatch};
use super::{Api, listing};
use crate::hooks::editor::{disable_reason, fields, is_enabled, shown_deleted_hook, shown_hook, warnings};
use crate::model::Document;
use crate::store::ListedKind;

/// Notifications for whoever runs the system; only an administrator sees that they exist.
const ADMINISTRATORS_TYPES: [&str; 2] = ["system_alert", "webhook_disabled"];

/// Lists what can be hooked
#[utoipa::path(get, path = "/v2/webhooks", tag = "Webhooks")]
pub(super) async fn available(
    State(api): State<Arc<Api>>,
    Extension(caller): Extension<ApiCaller>,
) -> Reply<ListBody<EventType>> {
    let everything = caller.is_administrator();
    let docs = api.metadata.metadata();
    let shown = docs.iter().filter_map(|doc| event(doc, everything));
    Reply::raw(shown.map(Value::Object).collect::<Vec<_>>())
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

/// Lists the modules that have samples
#[utoipa::path(get, path = "/v2/webhooks/samples", tag = "Webhooks")]
pub(super) async fn samples(State(api): State<Arc<Api>>) -> Reply<ListBody<ModuleId>> {
    Reply::many(&api.modules.samples().into_keys().map(ModuleId).collect::<Vec<_>>())
}

/// The id of a module.
#[derive(Serialize, ToSchema)]
#[schema(example = "webhooks_channel_create")]
pub(super) struct ModuleId(String);

/// Shows a module's samples
///
/// What its hooks are sent, without what a hook adds to it.
#[utoipa::path(get, path = "/v2/webhooks/samples/{id}", tag = "Webhooks", params(Filters))]
pub(super) async fn sample(
    State(api): State<Arc<Api>>,
    Path(id): Path<String>,
    filters: Filters,
) -> Answer<ListBody<SampleShape>> {
    let mut samples = api.modules.samples().remove(&id).ok_or_else(|| Failure::bad_identifier(&id))?;
    samples.retain(|sample| sample.as_object().is_some_and(|sample| filters.want(sample)));
    Ok(Reply::raw(samples))
}

/// Lists the hooks of an account
#[utoipa::path(
    get,
    path = "/v2/accounts/{account}/webhooks",
    tag = "Webhooks",
    params(listing::ListingQuery, Filters)
)]
pub(super) async fn list(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Query(query): Query<listing::ListingQuery>,
    filters: Filters,
) -> Answer<PagedData<HookSummary>> {
    api.editor.account(&account).await?;
    let ids = listing::hook_ids(&*api.documents, Some(&account), &query, &filters).await?;
    let shown = |doc: &Document| Some(summary(doc));
    listing::documents(&*api.documents, ListedKind::Hook, ids, &query, &filters, shown).await
}

/// A hook of a listing.
#[derive(ToSchema)]
#[schema(as = WebhookSummary)]
#[expect(dead_code, reason = "it is taken from a document; this is its shape")]
pub(super) struct HookSummary {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    hook: Option<String>,
    name: Option<String>,
    uri: Option<String>,
    group: Option<String>,
    enabled: bool,
    /// Why the host has switched the hook off.
    disable_reason: Option<String>,
}

fn summary(doc: &Document) -> Value {
    let mut item = Map::new();
    fields::set(&mut item, "id", fields::id(doc));
    for key in ["hook", "name", "uri", "group"] {
        item.extend(doc.get(key).map(|value| (key.to_owned(), value.clone())));
    }
    item.insert("enabled".to_owned(), is_enabled(doc).into());
    item.extend(disable_reason(doc).map(|reason| ("disable_reason".to_owned(), reason.clone())));
    Value::Object(item)
}

/// Makes a hook
#[utoipa::path(put, path = "/v2/accounts/{account}/webhooks", tag = "Webhooks", request_body = NewWebhook)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(data, _): Data<NewWebhook>,
) -> Answer<Webhook, 201> {
    let doc = api.editor.create_hook(&account, data).await?;
    Ok(warned(Reply::raw(shown_hook(&doc)), &doc).at(fields::id(&doc)).revision(&doc))
}

/// Shows a hook
#[utoipa::path(get, path = "/v2/accounts/{account}/webhooks/{hook}", tag = "Webhooks")]
pub(super) async fn show(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
) -> Answer<Webhook> {
    shown(&api.editor.hook(&account, &hook).await?)
}

/// Replaces the fields of a hook
///
/// Unless it says `enabled: false`, a hook that the host has switched off is on again.
#[utoipa::path(post, path = "/v2/accounts/{account}/webhooks/{hook}", tag = "Webhooks",
    request_body = NewWebhook, responses((status = 409, description = "Somebody else changed it meanwhile")))]
pub(super) async fn replace(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    Data(data, _): Data<NewWebhook>,
) -> Answer<Webhook> {
    shown(&api.editor.replace_hook(&account, &hook, data).await?)
}

/// Changes some fields of a hook
///
/// Unless it says `enabled: false`, a hook that the host has switched off is on again.
#[utoipa::path(patch, path = "/v2/accounts/{account}/webhooks/{hook}", tag = "Webhooks",
    request_body = WebhookPatch, responses((status = 409, description = "Somebody else changed it meanwhile")))]
pub(super) async fn patch(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
    Data(data, _): Data<WebhookPatch>,
) -> Answer<Webhook> {
    shown(&api.editor.patch_hook(&account, &hook, data).await?)
}

/// Deletes a hook
#[utoipa::path(delete, path = "/v2/accounts/{account}/webhooks/{hook}", tag = "Webhooks", responses(
    (status = 409, description = "Somebody else changed it meanwhile")
))]
pub(super) async fn delete(
    State(api): State<Arc<Api>>,
    Path((account, hook)): Path<(String, String)>,
) -> Answer<Webhook> {
    let deleted = api.editor.delete_hook(&account, &hook).await?;
    Ok(Reply::raw(shown_deleted_hook(&deleted)).revision(&deleted))
}

/// What a collection of hooks can be asked for.
#[derive(ToSchema)]
#[schema(example = json!({"re-enable": true}))]
#[expect(dead_code, reason = "it is read as a document; this is its shape")]
#[schema(as = Enable)]
pub(super) struct EnableRequest {
    #[schema(rename = "re-enable", schema_with = yes)]
    re_enable: bool,
}

fn yes() -> Object {
    ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true])).build()
}

/// Switches the hooks of an account on again
///
/// Those that the host has switched off, and no others.
#[utoipa::path(patch, path = "/v2/accounts/{account}/webhooks", tag = "Webhooks", request_body = EnableRequest)]
pub(super) async fn enable(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(data, _): Data<EnableRequest>,
) -> Answer<EnabledCount> {
    enable_all(&api, &account, false, &data).await
}

/// Switches the hooks of an account and of all below it on again
#[utoipa::path(patch, path = "/v2/accounts/{account}/descendants/webhooks", tag = "Webhooks",
    request_body = EnableRequest)]
pub(super) async fn enable_descendants(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(data, _): Data<EnableRequest>,
) -> Answer<EnabledCount> {
    enable_all(&api, &account, true, &data).await
}

/// What was done, in words.
#[derive(Serialize, ToSchema)]
#[schema(example = "hooks updated")]
#[schema(as = Done)]
pub(super) struct EnabledCount(&'static str);

async fn enable_all(api: &Api, account: &str, descendants: bool, data: &Document) -> Answer<EnabledCount> {
    const FIELD: &str = "re-enable";
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
    Ok(Reply::of(&EnabledCount("hooks updated")))
}

fn shown(doc: &Document) -> Answer<Webhook> {
    Ok(warned(Reply::raw(shown_hook(doc)), doc).revision(doc))
}

/// Says beside the hook what of it is seldom meant.
fn warned<const STATUS: u16>(reply: Reply<Webhook, STATUS>, doc: &Document) -> Reply<Webhook, STATUS> {
    let said = |(field, message)| json!({"field": field, "message": message});
    let said: Vec<Value> = warnings(doc).into_iter().map(said).collect();
    reply.beside_some("warnings", (!said.is_empty()).then_some(said))
}
