//! `/v2/webhooks` and `/v2/accounts/{id}/webhooks`: what can be hooked, and the hooks of an account.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use super::body::Data;
use super::caller::ApiCaller;
use super::envelope::{Answer, ListBody, PagedData, Reply, RequestWarning};
use super::error::Failure;
use super::filters::Filters;
use super::shapes::{BooleanOrWord, EventType, NewWebhook, SamplePayload, Webhook, WebhookPatch};
use super::typed::TypedDocument;
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
    Reply::documents(docs.iter().filter_map(|doc| event(doc, everything)))
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
) -> Answer<ListBody<SamplePayload>> {
    let samples = api.modules.samples().remove(&id).ok_or_else(|| Failure::bad_identifier(&id))?;
    let wanted = samples.into_iter().filter_map(|sample| match sample {
        Value::Object(sample) => Some(sample).filter(|sample| filters.want(sample)).map(SamplePayload),
        _ => None,
    });
    Ok(Reply::many(&wanted.collect::<Vec<_>>()))
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
    let shown = |doc: &Document| Some(HookSummary::of(doc));
    listing::documents(&*api.documents, ListedKind::Hook, ids, &query, &filters, shown).await
}

/// A hook of a listing.
// Its fields are what the document has in them: of another type, where it was stored so.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookSummary)]
pub(super) struct HookSummary {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    hook: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    uri: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    group: Option<Value>,
    enabled: bool,
    /// Why the host has switched the hook off.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    disable_reason: Option<Value>,
}

impl HookSummary {
    fn of(doc: &Document) -> Self {
        let field = |name: &str| doc.get(name).cloned();
        Self {
            id: fields::id(doc).to_owned(),
            hook: field("hook"),
            name: field("name"),
            uri: field("uri"),
            group: field("group"),
            enabled: is_enabled(doc),
            disable_reason: disable_reason(doc).cloned(),
        }
    }
}

/// Makes a hook
#[utoipa::path(put, path = "/v2/accounts/{account}/webhooks", tag = "Webhooks", request_body = NewWebhook)]
pub(super) async fn create(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(data, _): Data<NewWebhook>,
) -> Answer<Webhook, 201> {
    let doc = api.editor.create_hook(&account, data.into_document()).await?;
    Ok(warned(Reply::document(shown_hook(&doc)), &doc).at(fields::id(&doc)).revision(&doc))
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
    shown(&api.editor.replace_hook(&account, &hook, data.into_document()).await?)
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
    shown(&api.editor.patch_hook(&account, &hook, data.into_document()).await?)
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
    Ok(Reply::document(shown_deleted_hook(&deleted)).revision(&deleted))
}

/// What a collection of hooks can be asked for.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"re-enable": true}))]
#[schema(as = Enable)]
pub(super) struct EnableRequest {
    #[serde(rename = "re-enable")]
    #[schema(required = true, schema_with = yes)]
    re_enable: Option<BooleanOrWord>,
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
    enable_all(&api, &account, false, data).await
}

/// Switches the hooks of an account and of all below it on again
#[utoipa::path(patch, path = "/v2/accounts/{account}/descendants/webhooks", tag = "Webhooks",
    request_body = EnableRequest)]
pub(super) async fn enable_descendants(
    State(api): State<Arc<Api>>,
    Path(account): Path<String>,
    Data(data, _): Data<EnableRequest>,
) -> Answer<EnabledCount> {
    enable_all(&api, &account, true, data).await
}

/// What was done, in words.
#[derive(Serialize, ToSchema)]
#[schema(example = "hooks updated")]
#[schema(as = Done)]
pub(super) struct EnabledCount(&'static str);

async fn enable_all(
    api: &Api,
    account: &str,
    descendants: bool,
    data: TypedDocument<EnableRequest>,
) -> Answer<EnabledCount> {
    const FIELD: &str = "re-enable";
    match data.known.re_enable {
        Some(flag) if flag.is_set() => {}
        None if !data.rest.contains_key(FIELD) => {
            let message = "re-enable is required to patch collections";
            return Err(Failure::validation(fields::invalid(FIELD, "required", message)));
        }
        Some(_) | None => {
            let wrong = json!({"message": "value not found in enumerated list of values", "target": [true]});
            return Err(Failure::validation(json!({ FIELD: { "enum": wrong } })));
        }
    }
    api.editor.enable_hooks(account, descendants).await?;
    Ok(Reply::of(&EnabledCount("hooks updated")))
}

fn shown(doc: &Document) -> Answer<Webhook> {
    Ok(warned(Reply::document(shown_hook(doc)), doc).revision(doc))
}

/// Says beside the hook what of it is seldom meant.
fn warned<const STATUS: u16>(reply: Reply<Webhook, STATUS>, doc: &Document) -> Reply<Webhook, STATUS> {
    let said = |(field, message)| RequestWarning { field, message };
    reply.warnings(warnings(doc).into_iter().map(said).collect())
}
