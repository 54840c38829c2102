//! The document of a hook. Its rules are those of `hooks::validation`; here stands which fields it has, and of which
//! types they can be.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Number;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ArrayBuilder, ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::{BooleanOrWord, text};
use crate::model::{Document, headers};

/// A hook, with whatever else its owner keeps in it.
#[derive(Default, Serialize, Deserialize, ToSchema)]
pub(in crate::api) struct Webhook {
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    id: Option<String>,
    #[schema(value_type = String)]
    name: Option<String>,
    #[schema(value_type = String)]
    hook: Option<String>,
    #[schema(value_type = String)]
    uri: Option<String>,
    http_verb: Option<String>,
    format: Option<String>,
    #[schema(value_type = Option<f64>)]
    retries: Option<Number>,
    enabled: Option<bool>,
    include_internal_legs: Option<bool>,
    include_subaccounts: Option<bool>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    custom_data: Option<Document>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    headers: Option<Document>,
    /// The same as `headers`, as KAZOO calls them.
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    custom_request_headers: Option<Document>,
    /// The secret in clear: only in the answer to the request that set it.
    secret: Option<String>,
    /// Whether requests are signed.
    secret_set: Option<bool>,
    /// What signatures are checked with, where the secret is a private key.
    public_key: Option<String>,
    /// Until when the secret before this one signs too.
    old_secret_until: Option<String>,
    /// Why the host has switched the hook off.
    disable_reason: Option<String>,
}

/// A hook to be made, or what takes the place of all its fields. Fields with other names are kept as they are. What KAZOO
/// does not know (`secret`, `headers`, `legacy_signature`, `retry_schedule_ms`, `rate_limit`, `ordering`) stays where it is
/// left out, and goes by `null`.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({
    "name": "New calls", "hook": "channel_create", "uri": "https://hooks.example.com/calls", "format": "json",
    "secret": "generate"
}))]
pub(in crate::api) struct NewWebhook {
    /// What people call it.
    #[schema(value_type = String)]
    name: Option<String>,
    /// What it is for: `all`, or the name of a loaded module without `webhooks_`.
    #[schema(value_type = String)]
    hook: Option<String>,
    /// Where requests go. Addresses that the target guard would refuse are refused here too.
    #[schema(value_type = String, format = "uri")]
    uri: Option<String>,
    #[schema(value_type = Verb, required = false)]
    http_verb: Option<Verb>,
    #[schema(value_type = Format, required = false)]
    format: Option<Format>,
    /// How often a delivery is tried again; in profile `kazoo` how often it is tried. 2 where it is not said.
    #[schema(value_type = RetryCount, required = false)]
    retries: Option<RetryCount>,
    /// `true` where it is not said.
    #[schema(value_type = BooleanOrWord, required = false)]
    enabled: Option<BooleanOrWord>,
    /// Whether events of legs between users of the account are sent too. `true` where it is not said.
    #[schema(value_type = BooleanOrWord, required = false)]
    include_internal_legs: Option<BooleanOrWord>,
    /// Whether events of the accounts below are sent too.
    #[schema(value_type = BooleanOrWord, required = false)]
    include_subaccounts: Option<BooleanOrWord>,
    /// The conditions of the event type (its `modifiers`), and texts that are added to every payload.
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    custom_data: Option<Document>,
    #[schema(required = false)]
    headers: Option<HookHeaders>,
    /// The same as `headers`, as KAZOO calls them. Where both are there they say the same.
    #[schema(required = false)]
    custom_request_headers: Option<HookHeaders>,
    #[schema(required = false)]
    secret: Option<NewSecret>,
    /// `true`: requests carry `X-Hub-Signature-256` too. A text: that header in its place. Needs a secret that begins
    /// with `whsec_`.
    #[schema(required = false)]
    legacy_signature: Option<LegacySignature>,
    #[schema(required = false)]
    retry_schedule_ms: Option<RetryWaits>,
    #[schema(required = false)]
    rate_limit: Option<RateLimit>,
    #[schema(required = false)]
    ordering: Option<Ordering>,
}

/// The fields of a hook to be set; `null` takes one away. The hook that results must follow the rules of a new one.
#[derive(Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "All new calls", "retries": 4}))]
pub(in crate::api) struct WebhookPatch {
    #[schema(value_type = String, required = false)]
    name: Option<String>,
    #[schema(value_type = String, required = false)]
    hook: Option<String>,
    #[schema(value_type = String, format = "uri", required = false)]
    uri: Option<String>,
    http_verb: Option<Verb>,
    format: Option<Format>,
    retries: Option<RetryCount>,
    enabled: Option<BooleanOrWord>,
    include_internal_legs: Option<BooleanOrWord>,
    include_subaccounts: Option<BooleanOrWord>,
    #[schema(value_type = Option<BTreeMap<String, String>>)]
    custom_data: Option<Document>,
    headers: Option<HookHeaders>,
    custom_request_headers: Option<HookHeaders>,
    secret: Option<NewSecret>,
    legacy_signature: Option<LegacySignature>,
    retry_schedule_ms: Option<RetryWaits>,
    rate_limit: Option<RateLimit>,
    ordering: Option<Ordering>,
}

/// The method of requests: `post` where it is not said.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum Verb {
    Get,
    Post,
    Put,
}

/// How bodies are written: `form-data` where it is not said, and `json` for a new hook with a secret.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(in crate::api) enum Format {
    FormData,
    Json,
}

/// `call`: what belongs to one call is sent one after the other.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(in crate::api) enum Ordering {
    Call,
}

/// At most `count` requests in `per_ms` milliseconds; what is more waits.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::api) struct RateLimit {
    #[schema(minimum = 1, maximum = 10_000)]
    count: u32,
    #[schema(minimum = 100, maximum = 86_400_000)]
    per_ms: u32,
}

/// A number from 0 to 4, or the text of one, as forms of pages send it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::api) enum RetryCount {
    Number(Number),
    Text(String),
}

impl ToSchema for RetryCount {
    fn name() -> Cow<'static, str> {
        "Retries".into()
    }
}

impl PartialSchema for RetryCount {
    fn schema() -> RefOr<Schema> {
        let number =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(4)).build();
        let word = text().pattern(Some("^[0-4]$")).build();
        Schema::OneOf(OneOfBuilder::new().item(number).item(word).build()).into()
    }
}

/// Numbers of milliseconds between a second and a day.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::api) struct RetryWaits(Vec<Number>);

impl ToSchema for RetryWaits {
    fn name() -> Cow<'static, str> {
        "Waits".into()
    }
}

impl PartialSchema for RetryWaits {
    fn schema() -> RefOr<Schema> {
        let wait =
            ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1_000)).maximum(Some(86_400_000));
        let waits = ArrayBuilder::new().items(wait).min_items(Some(1)).max_items(Some(10));
        waits
            .description(Some("Milliseconds before each further try, in place of the host's schedule."))
            .into()
    }
}

/// What requests are signed with, as Standard Webhooks writes it. `generate`, `generate-v1a`: the host makes one.
#[derive(Serialize, Deserialize)]
pub(in crate::api) struct NewSecret(String);

/// Headers that are added to requests. Not those that belong to the host or to the connection.
#[derive(Serialize, Deserialize)]
pub(in crate::api) struct HookHeaders(Document);

/// `true`, `false`, or the name of a header.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(in crate::api) enum LegacySignature {
    Boolean(bool),
    Header(String),
}

/// Base64 in its only right spelling.
const BASE64: &str = "(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/][AQgw]==|[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=)?";

impl ToSchema for NewSecret {
    fn name() -> Cow<'static, str> {
        "Secret".into()
    }
}

impl PartialSchema for NewSecret {
    fn schema() -> RefOr<Schema> {
        // 24 to 64 bytes, or the 32 of a private key.
        let shared = format!("whsec_(?=[A-Za-z0-9+/=]{{32,88}}$){BASE64}");
        let private = "whsk_[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=";
        let pattern = format!("^(?:generate|generate-v1a|{shared}|{private})$");
        text().pattern(Some(pattern)).description(Some(SECRET)).build().into()
    }
}

const SECRET: &str = "What requests are signed with, as Standard Webhooks writes it. `generate` and `generate-v1a` have the \
                      host make one. It is shown in this answer and never again.";

impl ToSchema for HookHeaders {
    fn name() -> Cow<'static, str> {
        "Headers".into()
    }
}

impl PartialSchema for HookHeaders {
    fn schema() -> RefOr<Schema> {
        let value = text().max_length(Some(4096)).pattern(Some("^(?:[!-~](?:[\\t -~]*[!-~])?)?$"));
        ObjectBuilder::new()
            .schema_type(Type::Object)
            .property_names(Some(text().pattern(Some(headers::name_pattern()))))
            .additional_properties(Some(RefOr::T(Schema::from(value.build()))))
            .max_properties(Some(headers::MOST))
            .description(Some(
                "Added to requests. Names that belong to the host or to the connection are refused.",
            ))
            .build()
            .into()
    }
}

impl ToSchema for LegacySignature {
    fn name() -> Cow<'static, str> {
        "Legacy".into()
    }
}

impl PartialSchema for LegacySignature {
    fn schema() -> RefOr<Schema> {
        let whether = ObjectBuilder::new().schema_type(Type::Boolean).build();
        let name = text().pattern(Some(headers::name_pattern())).build();
        Schema::OneOf(OneOfBuilder::new().item(whether).item(name).build()).into()
    }
}
