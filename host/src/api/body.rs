//! What a request's body must be: small enough, in time, of the right type, and `{"data": {…}}` for `/v2`.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::Api;
use super::arriving::{BodyMemory, BodyRoom};
use super::caller::ApiCaller;
use super::error::Failure;
use super::offload::by_size;
use super::typed::TypedDocument;
use crate::hooks::editor::fields;
use crate::model::Document;

/// Bytes of a body from somebody without a token: there is only a log-in to send.
const OF_STRANGERS: usize = 16 << 10;

/// The whole body, with the memory that it takes until it is answered.
async fn read(parts: &Parts, body: Body, api: &Api) -> Result<(Bytes, BodyMemory), Failure> {
    let holder = parts.extensions.get::<ApiCaller>().and_then(ApiCaller::holder);
    let (limit, pool) = (api.limits.event_bytes, &api.memory.requests);
    let (limit, room) = match holder.map(|holder| &holder.account) {
        None => (limit.min(OF_STRANGERS), BodyRoom::part_of(pool, &api.strangers.bodies, "")),
        Some(None) => (limit, BodyRoom::of(pool)),
        Some(Some(account)) => (limit, BodyRoom::part_of(pool, &api.strangers.bodies, account.as_str())),
    };
    room.read(&parts.headers, body, limit, api.limits.body_timeout).await
}

/// The `data` object of a request, read as the `T` that its route names as its `request_body`. What is not as that says is
/// kept beside it and found by whoever knows the rules.
pub(super) struct Data<T>(
    pub(super) TypedDocument<T>,
    #[expect(dead_code, reason = "what is in it goes back when it is dropped")] pub(super) HeldBody,
);

/// The memory of a body, for as long as its request is under way.
pub(super) struct HeldBody(
    #[expect(dead_code, reason = "what is in it goes back when it is dropped")] BodyMemory,
);

/// What the data of a request can be read as.
pub(super) trait RequestData: Default + Serialize + DeserializeOwned + Send + 'static {}

impl<T: Default + Serialize + DeserializeOwned + Send + 'static> RequestData for T {}

impl<T: RequestData> FromRequest<Arc<Api>> for Data<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        typed_json(&parts.headers)?;
        let largest = api.editor.largest_document();
        if let Some(length @ 1..) = announced(&parts.headers)
            && length <= api.limits.event_bytes as u64
            && let Err(too_large) = fits(length, largest)
        {
            return Err(too_large);
        }
        let (bytes, memory) = read(&parts, body, api).await?;
        let held = HeldBody(memory);
        fits(bytes.len() as u64, largest)?;
        Ok(Self(typed(bytes.len(), data(json(bytes).await?)?).await?, held))
    }
}

/// As [`Data`], of a request that may have no body at all, or no data in it (`null`): an empty object then.
pub(super) struct DataIfAny<T>(
    pub(super) TypedDocument<T>,
    #[expect(dead_code, reason = "what is in it goes back when it is dropped")] pub(super) HeldBody,
);

impl<T: RequestData> FromRequest<Arc<Api>> for DataIfAny<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, api: &Arc<Api>) -> Result<Self, Failure> {
        let (parts, body) = request.into_parts();
        let (bytes, memory) = read(&parts, body, api).await?;
        let held = HeldBody(memory);
        if bytes.trim_ascii().is_empty() {
            return Ok(Self(TypedDocument::default(), held));
        }
        typed_json(&parts.headers)?;
        let (length, body) = (bytes.len(), json(bytes).await?);
        if body.get("data") == Some(&Value::Null) {
            return Ok(Self(TypedDocument::default(), held));
        }
        Ok(Self(typed(length, data(body)?).await?, held))
    }
}

/// How much longer than a document a request may be that carries it: escapes, white space, what stands around it.
const SPELLING: u64 = 4;

/// Requests of this length are read whatever the limits of documents are.
const ALWAYS_READ: u64 = 256 << 10;

/// How long a body is said to be.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok())
}

/// Refuses a body before it is read where no document could fit that is so long.
fn fits(bytes: u64, largest_document: u64) -> Result<(), Failure> {
    let most = largest_document.saturating_mul(SPELLING).max(ALWAYS_READ);
    if bytes <= most {
        return Ok(());
    }
    let message = format!(
        "a document may have {largest_document} bytes and a request with one {most}, this request has {bytes}; \
         the setting is limits.hook_bytes"
    );
    let error = json!({"message": message, "target": largest_document, "cause": bytes, "setting": "limits.hook_bytes"});
    Err(Failure::validation(json!({"hook_bytes": {"limit": error}})))
}

async fn json(bytes: Bytes) -> Result<Value, Failure> {
    let read = by_size(bytes.len(), move || serde_json::from_slice(&bytes)).await?;
    read.map_err(|error| malformed(&error))
}

/// As much work as reading the JSON was.
async fn typed<T: RequestData>(bytes: usize, data: Document) -> Result<TypedDocument<T>, Failure> {
    by_size(bytes, move || TypedDocument::read(data)).await
}

fn typed_json(headers: &HeaderMap) -> Result<(), Failure> {
    match media_type(headers) {
        Some(other) if !is_json(&other) => Err(wrong_type(&other, "application/json")),
        _ => Ok(()),
    }
}

/// Whether a body of this type is read as JSON: what means JSON, and what clients say that send JSON without thinking of
/// its type, as curl and KAZOO's documentation do. Crossbar takes the same.
fn is_json(media_type: &str) -> bool {
    matches!(
        media_type,
        "" | "application/json"
            | "application/x-json"
            | "text/json"
            | "text/x-json"
            | "application/x-www-form-urlencoded"
    ) || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}

fn data(body: Value) -> Result<Document, Failure> {
    let wrong = |code: &str, message: &str| Err(Failure::validation(fields::invalid("data", code, message)));
    let Value::Object(mut envelope) = body else {
        return wrong("required", r#"the body must be {"data": {…}}"#);
    };
    match envelope.remove("data") {
        Some(Value::Object(data)) => Ok(data),
        Some(_) => wrong("type", "data must be an object"),
        None => wrong("required", r#"the body must be {"data": {…}}"#),
    }
}

/// The media type in lower case, without its parameters.
pub(super) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    Some(text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase())
}

pub(super) fn wrong_type(given: &str, wanted: &str) -> Failure {
    Failure::with_data(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        json!({"message": format!("send the body as {wanted}"), "cause": given}),
    )
}

pub(super) fn malformed(error: &serde_json::Error) -> Failure {
    Failure::with_data(
        StatusCode::BAD_REQUEST,
        "parse_error",
        json!({"message": format!("the body is not JSON: {error}"), "line": error.line(), "column": error.column()}),
    )
}
