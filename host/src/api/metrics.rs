//! The host's figures, for Prometheus and whoever reads its format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse as _;

use super::Api;
use super::envelope::RawResponse;
use super::error::Failure;

/// The media type of the figures.
const CONTENT_TYPE: &str = prometheus_client::encoding::prometheus_text::CONTENT_TYPE;

/// Shows what the host counts
///
/// In Prometheus's text format; the operator's guide says what each figure means.
#[utoipa::path(get, path = "/metrics", tag = "Operation", operation_id = "metrics", responses(
    (status = 200, description = "The figures", content_type = "text/plain", body = String)
))]
pub(super) async fn exposition(State(api): State<Arc<Api>>) -> Result<RawResponse, Failure> {
    match api.figures.exposition().await {
        Ok(text) => Ok(RawResponse(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response())),
        Err(error) => {
            tracing::error!(%error, "the figures cannot be written");
            Err(Failure::internal())
        }
    }
}
