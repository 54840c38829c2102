//! The shapes of documents, for the API's description: they are read and written as they are, whatever else stands in
//! them. What breaks a rule is found where the rule is kept: `hooks::validation`, `hooks::editor`.

#![expect(dead_code, reason = "no document is ever one of these: they are its shape")]

use serde_json::{Map, Value};
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

mod webhook;

pub(super) use webhook::{NewWebhook, Webhook, WebhookPatch};

/// What stands around the data of every answer.
#[derive(ToSchema)]
#[schema(as = Envelope)]
pub(super) struct EnvelopeShape {
    #[schema(schema_with = success)]
    status: String,
    /// The id of the request, which the log knows too. Send one of your own as `X-Request-Id`.
    request_id: String,
    /// The document's revision, or a digest of the data.
    revision: String,
    /// The host that answered.
    node: String,
    /// When, in UTC.
    timestamp: String,
    /// Of the host; for those with a token.
    version: Option<String>,
    /// The token that was used; in the answer to a log-in the new one.
    auth_token: Option<String>,
    tokens: Option<ShareShape>,
    /// What will not go as its owner may think.
    warnings: Option<Vec<WarningShape>>,
}

/// A client's share of requests, as Crossbar tells it; here requests cost nothing.
#[derive(ToSchema)]
#[schema(as = RequestShare)]
pub(super) struct ShareShape {
    consumed: u32,
    remaining: u32,
}

/// Something that is allowed and seldom meant.
#[derive(ToSchema)]
#[schema(as = Warning)]
pub(super) struct WarningShape {
    /// The field of the document.
    field: String,
    /// What comes of it, and what would be better.
    message: String,
}

/// What an envelope says of pages.
#[derive(ToSchema)]
#[schema(as = Paging)]
pub(super) struct PagingShape {
    /// How many items this page has.
    page_size: u32,
    /// Where this page was asked to begin.
    start_key: Option<String>,
    /// Where the next page begins; there is none where this is missing.
    next_start_key: Option<String>,
}

/// The answer when something is wrong.
#[derive(ToSchema)]
#[schema(as = Failed)]
pub(super) struct ErrorShape {
    /// What is wrong, and what would be right. Of a validation error: by dotted path of the field, then by the rule.
    data: Map<String, Value>,
    #[schema(schema_with = error)]
    status: String,
    /// The status code, as a text.
    #[schema(pattern = "^[45][0-9]{2}$")]
    error: String,
    /// A fixed code, such as `bad_identifier`.
    message: String,
    request_id: String,
    node: String,
    timestamp: String,
    version: Option<String>,
    auth_token: Option<String>,
    tokens: Option<ShareShape>,
}

fn success() -> Object {
    constant("success")
}

fn error() -> Object {
    constant("error")
}

fn constant(word: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([word])).build()
}

/// An account, with whatever else its owner keeps in it.
#[derive(ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountShape {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    name: String,
    realm: Option<String>,
    /// Whether tokens of the account, and of no other, work. Without it they do.
    enabled: Option<bool>,
}

/// An account to be made, or what takes the place of all its fields. Fields with other names are kept as they are.
#[derive(ToSchema)]
#[schema(example = json!({"name": "Acme", "realm": "acme.example.com"}))]
pub(super) struct NewAccount {
    #[schema(min_length = 1, max_length = 128)]
    name: String,
    /// The SIP realm, for those who have one.
    #[schema(required = false)]
    realm: String,
    /// Whether tokens of the account, and of no other, work. Without it they do.
    #[schema(required = false)]
    enabled: bool,
}

/// The fields of an account to be set; `null` takes one away.
#[derive(ToSchema)]
#[schema(example = json!({"realm": "calls.example.com"}))]
pub(super) struct AccountPatch {
    #[schema(min_length = 1, max_length = 128, required = false)]
    name: String,
    realm: Option<String>,
    enabled: Option<bool>,
}

/// An account of a listing.
#[derive(ToSchema)]
pub(super) struct AccountSummary {
    #[schema(pattern = "^[0-9a-f]{32}$")]
    id: String,
    /// The ids of the accounts above, the topmost first.
    tree: Vec<String>,
    name: Option<String>,
    realm: Option<String>,
    enabled: Option<bool>,
}

/// What can be hooked: a loaded module's metadata.
#[derive(ToSchema)]
pub(super) struct EventType {
    /// What a hook of this type says as its `hook`.
    id: String,
    name: String,
    description: Option<String>,
    /// What a hook's `custom_data` must say, and which words it may use there.
    modifiers: Option<Map<String, Value>>,
}

/// An example of a payload, as the module sends it.
#[derive(ToSchema)]
#[schema(as = Sample)]
pub(super) struct SampleShape(Map<String, Value>);

/// One try of a delivery. Profile `kazoo` keeps the original's fields, profile `standard` more.
#[derive(ToSchema)]
#[schema(as = Attempt)]
pub(super) struct AttemptShape {
    hook_id: String,
    hook_event: String,
    /// `success` or `failure`.
    result: String,
    /// When it was kept, in Gregorian seconds.
    timestamp: i64,
}
