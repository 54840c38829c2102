//! What is said of a body that cannot be read to its end: it is too large, late or broken off.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::error::Failure;

/// A body that did not arrive in time.
pub(super) fn late(within: Duration) -> Failure {
    let sentence = format!("the body did not arrive within {} s", within.as_secs());
    Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", sentence)
}

pub(super) fn too_large(limit: usize) -> Failure {
    Failure::with_data(
        StatusCode::PAYLOAD_TOO_LARGE,
        "payload_too_large",
        json!({"message": format!("the body may have {limit} bytes; send less at once"), "limit_bytes": limit}),
    )
}

pub(super) fn unread(error: &axum::Error, limit: usize) -> Failure {
    let mut source: Option<&dyn std::error::Error> = Some(error);
    while let Some(cause) = source {
        if cause.to_string() == "length limit exceeded" {
            return too_large(limit);
        }
        source = cause.source();
    }
    Failure::new(StatusCode::BAD_REQUEST, "faulty_request", "the body could not be read to its end")
}
