//! The API's description, OpenAPI 3.1. Handlers and their types say what they take and answer; what stands around all
//! of them (tokens, envelopes, limits on bodies) is added here from where it is decided. Nothing of it is written twice.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use axum::http::Method;
use serde_json::Value;
use utoipa::openapi::path::{Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::schema::{AllOfBuilder, ArrayBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    self, Content, HeaderBuilder, OpenApi, Ref, RefOr, Required, ResponseBuilder, Schema, SecurityRequirement,
};
use utoipa::{IntoResponses, OpenApi as _, ToSchema};

use super::envelope::{AnswerEnvelope, FailureEnvelope, ListBody, PagedData, Paging, RawResponse, Reply};
use super::error::Failure;
use super::routes::described;
use super::rules::{RouteReach, rule};
use super::{
    audit, configs, deliveries, envelope, events, failed_events, failures, health, hooks, limits, log_in,
    metadata, modules, shapes, tokens, webhooks,
};

mod kept;
mod links;
mod live;
pub(super) mod served;

pub(super) use kept::{EntityTag, FixedDescription, KeptDescription};
pub(super) use served::answered;

const JSON: &str = "application/json";

/// What no handler says.
#[derive(utoipa::OpenApi)]
#[openapi(
    info(
        title = "Hookline",
        description = "Takes events off a message bus, hands each to modules, and turns what they answer into requests to the \
                       endpoints that customers have configured.\n\nRoutes below `/v2` answer as KAZOO's Crossbar does; the \
                       others are for whoever runs the host. Every JSON answer is an envelope, also when something is wrong.",
        license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
    ),
    servers((url = "/", description = "this host")),
    tags(
        (name = "Webhooks", description = "What can be hooked, and the hooks of an account."),
        (name = "Attempts", description = "What was sent for an account, and what came back."),
        (name = "Accounts", description = "The tree of accounts in the embedded store."),
        (name = "Tokens", description = "Who may use the API."),
        (name = "Settings", description = "When hooks that fail are paused and disabled."),
        (name = "Events", description = "Events in, and what happens."),
        (name = "Deliveries", description = "What waits, what is dead, and what is sent again."),
        (name = "Modules", description = "The loaded modules and the files that were refused."),
        (name = "Operation", description = "For whoever runs the host."),
    ),
    components(schemas(
        envelope::AnswerEnvelope<'static>,
        envelope::FailureEnvelope<'static>,
        envelope::Paging,
        envelope::RequestShare,
        envelope::RequestWarning,
        shapes::AccountDocument,
        shapes::Webhook,
        shapes::EventType,
        shapes::SamplePayload,
        shapes::Attempt,
        shapes::TestedAttempt,
        shapes::AccountSummary,
        webhooks::HookSummary,
        webhooks::ModuleId,
        webhooks::EnabledCount,
        tokens::TokenShape,
        tokens::CreatedToken,
        tokens::RevokedToken,
        log_in::LogInShape,
        log_in::ApiKeyShape,
        log_in::NewApiKey,
        configs::Config,
        limits::LimitsConfig,
        audit::AuditShape,
        events::AcceptedCount,
        deliveries::DeliveryShape,
        deliveries::WithPayload,
        deliveries::ReplayJobShape,
        modules::ModuleShape,
        failed_events::FailedEventShape,
        failed_events::FailedEventWithBody,
        failed_events::ForgottenCount,
        failed_events::ReplayAnswerShape,
        failed_events::ModuleReplayShape,
        modules::PinnedUseShape,
        hooks::ServedHook,
        failures::Failing,
        failures::Forgotten,
        failures::SwitchedOn,
        metadata::ResetShape,
        health::LivenessAnswer,
        health::ReadyAnswer,
    )),
)]
struct RouteFrame;

/// The description but for what modules add.
#[must_use]
pub fn fixed() -> Value {
    static FIXED: LazyLock<Value> = LazyLock::new(|| {
        let mut fixed = serde_json::to_value(document()).unwrap_or_default();
        links::add(&mut fixed);
        fixed
    });
    FIXED.clone()
}

fn document() -> OpenApi {
    let (_, handlers) = described().split_for_parts();
    let mut document = RouteFrame::openapi();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.merge(handlers);
    let components = document.components.get_or_insert_default();
    for (name, scheme) in schemes() {
        components.add_security_scheme(name, scheme);
    }
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            surround(&method, path, operation);
        }
    }
    document
}

const TOKEN: &str = "token";
const BEARER: &str = "bearer";

fn schemes() -> [(&'static str, SecurityScheme); 2] {
    let description = "A token of an administrator, or of an account for itself and the accounts below it.";
    let header = ApiKeyValue::with_description("X-Auth-Token", description);
    let bearer = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The same tokens."));
    [(TOKEN, SecurityScheme::ApiKey(ApiKey::Header(header))), (BEARER, SecurityScheme::Http(bearer.build()))]
}

/// The operations of a path, each with its method.
fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::PATCH, &mut item.patch),
        (Method::DELETE, &mut item.delete),
    ]
    .into_iter()
    .filter_map(|(method, operation)| operation.as_mut().map(|operation| (method, operation)))
}

/// Adds what holds for every route of this kind.
fn surround(method: &Method, path: &str, operation: &mut Operation) {
    name(operation);
    if let Some(RefOr::T(body)) = &mut operation.request_body {
        enclose(body);
    }
    for parameter in operation.parameters.iter_mut().flatten() {
        if let RefOr::T(parameter) = parameter
            && parameter.parameter_in == ParameterIn::Path
        {
            describe_id(path, parameter);
        }
    }
    let (reach, _) = rule(method, path);
    let scheme = |name| SecurityRequirement::new::<_, [&str; 0], &str>(name, []);
    operation.security = Some(match reach {
        RouteReach::Anybody => Vec::new(),
        _ => vec![scheme(TOKEN), scheme(BEARER)],
    });
    for (status, description) in common_failures(operation, reach) {
        let response = || ResponseBuilder::new().description(description).build().into();
        operation.responses.responses.entry(status.to_owned()).or_insert_with(response);
    }
    for (status, response) in &mut operation.responses.responses {
        let failed = status == "default" || status.as_str() >= "400";
        if let RefOr::T(response) = response
            && failed
            && response.content.is_empty()
        {
            json(response, Ref::from_schema_name(FailureEnvelope::name()));
        }
    }
}

/// Statuses with which routes of this kind fail, and what each means.
fn common_failures(operation: &Operation, reach: RouteReach) -> Vec<(&'static str, &'static str)> {
    let asks_in = |place: &ParameterIn| {
        let mut parameters = operation.parameters.iter().flatten();
        parameters
            .any(|parameter| matches!(parameter, RefOr::T(parameter) if parameter.parameter_in == *place))
    };
    let mut statuses = vec![("default", "Anything else that went wrong; `message` is a fixed code")];
    if asks_in(&ParameterIn::Query) || operation.request_body.is_some() {
        statuses
            .push(("400", "Something of the request is wrong; `data` says what, and what would be right"));
    }
    if asks_in(&ParameterIn::Path) {
        statuses.push(("404", "There is no such thing"));
    }
    if operation.request_body.is_some() {
        statuses.push(("408", "The body did not arrive in time"));
        statuses.push(("413", "The body is too large; `data.limit_bytes` says how large it may be"));
        statuses.push(("415", "The body has a type that is not taken here"));
    }
    if reach != RouteReach::Anybody {
        let forbidden = match reach {
            RouteReach::Administrators => "The token is not an administrator's",
            _ => "The token does not reach this account, or the account is disabled",
        };
        statuses.push(("401", "There is no token, or it is not known"));
        statuses.push(("403", forbidden));
        statuses.push((
            "429",
            "Too many wrong tokens came from this address; the header `retry-after` says how long to wait",
        ));
    }
    statuses
        .push(("503", "The host cannot do this right now; the header `retry-after` says when to try again"));
    statuses
}

/// A request's data comes in an envelope, too. Only events, which may come as JSON and otherwise, come without.
fn enclose(body: &mut RequestBody) {
    if body.content.len() == 1
        && let Some(RefOr::T(content)) = body.content.get_mut(JSON)
        && let Some(data) = content.schema.take()
    {
        let data = if body.required == Some(Required::False) { without_null(data) } else { data };
        let enclosed = ObjectBuilder::new().schema_type(Type::Object).property("data", data).required("data");
        content.schema = Some(RefOr::T(enclosed.build().into()));
    }
}

/// A body that may be missing is not `null` when it is there.
fn without_null(schema: RefOr<Schema>) -> RefOr<Schema> {
    match schema {
        RefOr::T(Schema::OneOf(either)) => {
            let named = either.items.iter().find(|item| matches!(item, RefOr::Ref(_))).cloned();
            named.unwrap_or(RefOr::T(Schema::OneOf(either)))
        }
        other => other,
    }
}

/// The tag and the handler's name: unique, and good names for functions of generated clients. Where many handlers share
/// a tag they give their names themselves.
fn name(operation: &mut Operation) {
    let tag = operation.tags.iter().flatten().next().map(|tag| tag.to_lowercase());
    if let (Some(tag), Some(id)) = (tag, &mut operation.operation_id)
        && tag != "operation"
        && !id.starts_with(&tag)
    {
        *id = format!("{tag}_{id}");
    }
}

/// What the parts of a path in braces are.
fn describe_id(path: &str, parameter: &mut Parameter) {
    let (description, pattern, example) = match (parameter.name.as_str(), path.split('/').nth(1)) {
        ("account", _) => ("The account's id", "^[0-9a-f]{32}$", "4f3a1c0b9d8e7f6a5b4c3d2e1f0a9b8c"),
        ("hook", _) => ("The hook's id", "^[0-9a-f]{32}$", "0a1b2c3d4e5f60718293a4b5c6d7e8f9"),
        ("token", _) => ("The token's id, which is no secret", "^[0-9A-Za-z]{1,64}$", "3b9f1d2c"),
        (_, Some("modules" | "v2")) => {
            ("The module's id", "^webhooks_[a-z0-9_]+$", "webhooks_channel_create")
        }
        _ => ("A number, as the listing shows it", "^[0-9]{1,18}$", "42"),
    };
    parameter.description = Some(description.to_owned());
    let schema = ObjectBuilder::new()
        .schema_type(Type::String)
        .pattern(Some(pattern))
        .examples([Value::from(example)]);
    parameter.schema = Some(RefOr::T(schema.build().into()));
}

type Responses = BTreeMap<String, RefOr<openapi::Response>>;

impl<T: RouteShape, const STATUS: u16> IntoResponses for Reply<T, STATUS> {
    fn responses() -> Responses {
        let fields = ObjectBuilder::new().property("data", T::shape()).required("data");
        let mut parts = AllOfBuilder::new().item(Ref::from_schema_name(AnswerEnvelope::name()));
        if T::PAGED {
            parts = parts.item(Ref::from_schema_name(Paging::name()));
        }
        let mut response = ResponseBuilder::new().description(match STATUS {
            201 => "It was made",
            202 => "It was taken, and is done from here on",
            _ => "Done",
        });
        if STATUS == 201 {
            let id = HeaderBuilder::new().description(Some("The id of what was made"));
            response = response.header("location", id.build());
        }
        let mut response = response.build();
        json(&mut response, RefOr::T(Schema::AllOf(parts.item(fields).build())));
        BTreeMap::from([(STATUS.to_string(), response.into())])
    }
}

/// Says that the response is JSON of this shape.
fn json(response: &mut openapi::Response, schema: impl Into<RefOr<Schema>>) {
    response.content.insert(JSON.to_owned(), RefOr::T(Content::new(Some(schema))));
}

impl IntoResponses for RawResponse {
    /// Its route says.
    fn responses() -> Responses {
        Responses::new()
    }
}

impl IntoResponses for Failure {
    /// [`surround`] knows better.
    fn responses() -> Responses {
        Responses::new()
    }
}

/// The schema of an envelope's data.
pub(super) trait RouteShape {
    /// Whether the envelope tells of other pages.
    const PAGED: bool = false;

    fn shape() -> RefOr<Schema>;
}

/// One thing, with a schema of its own.
impl<T: ToSchema> RouteShape for T {
    fn shape() -> RefOr<Schema> {
        Ref::from_schema_name(T::name()).into()
    }
}

impl<T: ToSchema> RouteShape for ListBody<T> {
    fn shape() -> RefOr<Schema> {
        array::<T>()
    }
}

impl<T: ToSchema> RouteShape for PagedData<T> {
    const PAGED: bool = true;

    fn shape() -> RefOr<Schema> {
        array::<T>()
    }
}

fn array<T: ToSchema>() -> RefOr<Schema> {
    let items = Ref::from_schema_name(T::name());
    RefOr::T(ArrayBuilder::new().items(items).build().into())
}
