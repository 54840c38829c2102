//! How the description, and other large texts for anybody, are sent: not at all to whoever has them.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;

use super::kept::{EntityTag, FixedDescription, WrittenDescription};
use crate::api::Api;
use crate::api::envelope::RawResponse;

/// `GET /openapi.json`
///
/// Describes the API. What hooks may name, and which conditions they must state, is taken from the modules that are
/// loaded right now.
#[utoipa::path(get, path = "/openapi.json", tag = "Operation", operation_id = "openapi", responses(
    (status = 200, description = "This description", content_type = "application/json", body = Value),
    (status = 304, description = "It is still what the header `if-none-match` names")
))]
pub(in crate::api) async fn description(
    State(api): State<Arc<Api>>,
    Extension(fixed): Extension<FixedDescription>,
    headers: HeaderMap,
) -> RawResponse {
    let WrittenDescription { text, tag, .. } =
        api.strangers.described.now(api.metadata.as_ref(), fixed).await;
    RawResponse(answered(&api, &headers, "application/json", tag, text).await)
}

/// The answer with a large text for anybody, or that the client has it.
pub(in crate::api) async fn answered(
    api: &Api,
    headers: &HeaderMap,
    kind: &str,
    tag: EntityTag,
    text: Bytes,
) -> Response {
    let mut response = if tag.is_known(headers) {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        api.strangers.large.take().await;
        let mut response = Body::from(text).into_response();
        if let Ok(kind) = HeaderValue::from_str(kind) {
            response.headers_mut().insert(header::CONTENT_TYPE, kind);
        }
        response
    };
    response.headers_mut().insert(header::ETAG, tag.value());
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}
