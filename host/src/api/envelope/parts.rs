//! What an envelope has beside its data, of answers and of failures. It is written and described from here.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use utoipa::openapi::ObjectBuilder;
use utoipa::openapi::schema::{Object, Type};

use crate::model::Document;

/// What stands around the data of every answer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Envelope)]
pub(in crate::api) struct AnswerEnvelope<'a> {
    #[schema(schema_with = success)]
    pub(super) status: &'static str,
    /// The id of the request, which the log knows too. Send one of your own as `X-Request-Id`.
    pub(super) request_id: &'a str,
    /// The document's revision, or a digest of the data.
    pub(super) revision: String,
    /// The host that answered.
    pub(super) node: &'a str,
    /// When, in UTC.
    pub(super) timestamp: String,
    /// Of the host; for those with a token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
    /// The token that was used; in the answer to a log-in the new one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<RequestShare>,
    /// What will not go as its owner may think.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) warnings: Option<Vec<RequestWarning>>,
    #[serde(flatten)]
    #[schema(ignore)]
    pub(super) paging: Option<Paging>,
    /// What routes say beside that; they describe it themselves.
    #[serde(flatten)]
    #[schema(ignore)]
    pub(super) more: Document,
}

/// A client's share of requests, as Crossbar tells it; here requests cost nothing.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct RequestShare {
    pub(super) consumed: u32,
    pub(super) remaining: u32,
}

/// Something that is allowed and seldom meant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Warning)]
pub(in crate::api) struct RequestWarning {
    /// The field of the document.
    pub(in crate::api) field: &'static str,
    /// What comes of it, and what would be better.
    pub(in crate::api) message: &'static str,
}

/// What an envelope says of pages.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::api) struct Paging {
    /// How many items this page has.
    #[schema(value_type = u32)]
    pub(super) page_size: usize,
    /// Where this page was asked to begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_key: Option<String>,
    /// Where the next page begins; there is none where this is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next_start_key: Option<String>,
    /// Of attempts: where an ascending listing goes on with what comes later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) follow_key: Option<String>,
}

/// The answer when something is wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Failed)]
pub(in crate::api) struct FailureEnvelope<'a> {
    /// What is wrong, and what would be right. Of a validation error: by dotted path of the field, then by the rule.
    #[schema(value_type = Map<String, Value>)]
    pub(super) data: &'a Value,
    #[schema(schema_with = error)]
    pub(super) status: &'static str,
    /// The status code, as a text.
    #[schema(pattern = "^[45][0-9]{2}$")]
    pub(super) error: String,
    /// A fixed code, such as `bad_identifier`.
    pub(super) message: &'a str,
    pub(super) request_id: &'a str,
    pub(super) node: &'a str,
    pub(super) timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) auth_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tokens: Option<RequestShare>,
}

pub(super) const SUCCESS: &str = "success";
pub(super) const ERROR: &str = "error";

fn success() -> Object {
    constant(SUCCESS)
}

fn error() -> Object {
    constant(ERROR)
}

fn constant(word: &str) -> Object {
    ObjectBuilder::new().schema_type(Type::String).enum_values(Some([word])).build()
}
