//! What a request's body must be: small enough, in time, of the right type, and `{"data": {…}}` for `/v2`.

use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::Bytes;
use serde_json::{Value, json};

use super::Limits;
use super::error::Failure;
use crate::hooks::Document;
use crate::hooks::editor::fields;

/// The whole body, unless it has more than `limit` bytes.
pub(super) async fn read(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    limits: &Limits,
) -> Result<Bytes, Failure> {
    let announced =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match tokio::time::timeout(limits.body_timeout, to_bytes(body, limit)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(unread(&error, limit)),
        Err(_) => Err(Failure::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout",
            format!("the body did not arrive within {} s", limits.body_timeout.as_secs()),
        )),
    }
}

/// The `data` object of a `/v2` request.
pub(super) async fn data(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Document, Failure> {
    typed_json(headers)?;
    data_of(&read(headers, body, limits.event_bytes, limits).await?)
}

/// As [`data`], of a request that may have no body at all: an empty object then.
pub(super) async fn data_if_any(
    headers: &HeaderMap,
    body: Body,
    limits: &Limits,
) -> Result<Document, Failure> {
    let bytes = read(headers, body, limits.event_bytes, limits).await?;
    if bytes.trim_ascii().is_empty() {
        return Ok(Document::new());
    }
    typed_json(headers)?;
    data_of(&bytes)
}

fn typed_json(headers: &HeaderMap) -> Result<(), Failure> {
    match media_type(headers).as_deref() {
        None | Some("application/json") => Ok(()),
        Some(other) => Err(wrong_type(other, "application/json")),
    }
}

fn data_of(bytes: &[u8]) -> Result<Document, Failure> {
    let parsed: Value = serde_json::from_slice(bytes).map_err(|error| malformed(&error))?;
    let Value::Object(mut envelope) = parsed else {
        return Err(Failure::validation(fields::invalid(
            "data",
            "required",
            r#"the body must be {"data": {…}}"#,
        )));
    };
    match envelope.remove("data") {
        Some(Value::Object(data)) => Ok(data),
        Some(_) => Err(Failure::validation(fields::invalid("data", "type", "data must be an object"))),
        None => {
            Err(Failure::validation(fields::invalid("data", "required", r#"the body must be {"data": {…}}"#)))
        }
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

fn too_large(limit: usize) -> Failure {
    Failure::with_data(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload_too_large",
        json!({"message": format!("the body may have {limit} bytes; send less at once"), "limit_bytes": limit}),
    )
}

fn unread(error: &axum::Error, limit: usize) -> Failure {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.to_string() == "length limit exceeded" {
            return too_large(limit);
        }
        source = cause.source();
    }
    Failure::new(StatusCode::BAD_REQUEST, "faulty_request", "the body could not be read to its end")
}
