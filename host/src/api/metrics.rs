//! The host's figures, for Prometheus and whoever reads its format.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};

use super::Api;
use super::error::Failure;
use crate::metrics::CONTENT_TYPE;

pub(super) async fn exposition(State(api): State<Arc<Api>>) -> Result<Response, Failure> {
    match api.figures.exposition().await {
        Ok(text) => Ok(([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response()),
        Err(error) => {
            tracing::error!(%error, "the figures cannot be written");
            Err(Failure::internal())
        }
    }
}
