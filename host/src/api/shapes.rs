//! The documents that the API takes and answers. Their owners may keep more in them (`api::typed`); what breaks a rule is
//! found where the rule is kept: `hooks::validation`, `hooks::editor`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::openapi::schema::Type;
use utoipa::openapi::{ObjectBuilder, OneOfBuilder, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::model::Document;

mod attempt;
mod webhook;

pub(super) use attempt::{Attempt, TestedAttempt};
pub(super) use webhook::{NewWebhook, Webhook, WebhookPatch};

/// An account, with whatever else its owner keeps in it.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountDocument {
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    id: Option<String>,
    #[schema(value_type = String)]
    name: Option<String>,
    realm: Option<String>,
    /// Whether tokens of the account, and of no other, work. Without it they do.
    enabled: Option<bool>,
}

/// An account to be made, or what takes the place of all its fields. Fields with other names are kept as they are.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"name": "Acme", "realm": "acme.example.com"}))]
pub(super) struct NewAccount {
    #[schema(value_type = String, min_length = 1, max_length = 128)]
    name: Option<String>,
    /// The SIP realm, for those who have one.
    #[schema(value_type = String, required = false)]
    realm: Option<String>,
    /// Whether tokens of the account, and of no other, work. Without it they do.
    #[schema(value_type = bool, required = false)]
    enabled: Option<bool>,
}

/// The fields of an account to be set; `null` takes one away.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
#[schema(example = json!({"realm": "calls.example.com"}))]
pub(super) struct AccountPatch {
    #[schema(value_type = String, min_length = 1, max_length = 128, required = false)]
    name: Option<String>,
    realm: Option<String>,
    enabled: Option<bool>,
}

/// An account of a listing.
// Its fields are what the document has in them: of another type, where it was stored so.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AccountSummary {
    #[schema(value_type = String, pattern = "^[0-9a-f]{32}$")]
    id: Option<Value>,
    /// The ids of the accounts above, the topmost first.
    #[schema(value_type = Vec<String>)]
    tree: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    name: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    realm: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<bool>)]
    enabled: Option<Value>,
}

impl AccountSummary {
    pub(super) fn of(account: &Document) -> Self {
        let field = |name: &str| account.get(name).cloned();
        Self {
            id: field("_id"),
            tree: field("pvt_tree"),
            name: field("name"),
            realm: field("realm"),
            enabled: field("enabled"),
        }
    }
}

/// What can be hooked: a loaded module's metadata.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct EventType {
    /// What a hook of this type says as its `hook`.
    #[schema(value_type = String)]
    id: Option<String>,
    #[schema(value_type = String)]
    name: Option<String>,
    description: Option<String>,
    /// What a hook's `custom_data` must say, and which words it may use there.
    modifiers: Option<Map<String, Value>>,
}

/// An example of a payload, as the module sends it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Sample)]
pub(super) struct SamplePayload(pub(super) Map<String, Value>);

/// A boolean, or the text of one.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum BooleanOrWord {
    Boolean(bool),
    Word(FlagWord),
}

/// How forms of pages send a boolean.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum FlagWord {
    True,
    False,
}

impl BooleanOrWord {
    pub(super) fn is_set(self) -> bool {
        matches!(self, BooleanOrWord::Boolean(true) | BooleanOrWord::Word(FlagWord::True))
    }
}

impl ToSchema for BooleanOrWord {
    fn name() -> Cow<'static, str> {
        "Flag".into()
    }
}

impl PartialSchema for BooleanOrWord {
    fn schema() -> RefOr<Schema> {
        let whether = ObjectBuilder::new().schema_type(Type::Boolean).build();
        let word = text().enum_values(Some(["true", "false"])).build();
        Schema::OneOf(OneOfBuilder::new().item(whether).item(word).build()).into()
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}
