//! What a failure looks like to a client: status, a fixed code as the message, and data that says what to do.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::IntakeError;
use crate::hooks::editor::EditError;
use crate::store::StoreError;

/// Why a request was not done. Clients see all of it.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// A fixed code, such as `bad_identifier`.
    pub(super) message: String,
    pub(super) data: Value,
    pub(super) retry_after_seconds: Option<u32>,
}

impl Failure {
    /// A failure whose data is one sentence for people.
    pub(super) fn new(status: StatusCode, message: &str, sentence: impl Into<String>) -> Self {
        Self::with_data(status, message, json!({"message": sentence.into()}))
    }

    pub(super) fn with_data(status: StatusCode, message: &str, data: Value) -> Self {
        Self { status, message: message.to_owned(), data, retry_after_seconds: None }
    }

    pub(super) fn bad_identifier(id: &str) -> Self {
        let data = json!({"message": "bad identifier", "cause": id});
        Self::with_data(StatusCode::NOT_FOUND, "bad_identifier", data)
    }

    /// Data is keyed by dotted path, then by the rule's code.
    pub(super) fn validation(data: Value) -> Self {
        Self::with_data(StatusCode::BAD_REQUEST, "validation error", data)
    }

    pub(super) fn credentials(sentence: &str) -> Self {
        let data = json!({"message": "invalid credentials", "cause": sentence});
        Self::with_data(StatusCode::UNAUTHORIZED, "invalid_credentials", data)
    }

    pub(super) fn forbidden(sentence: &str) -> Self {
        let data = json!({"message": "forbidden", "cause": sentence});
        Self::with_data(StatusCode::FORBIDDEN, "forbidden", data)
    }

    /// Too many wrong tokens came from the client's address.
    pub(super) fn throttled(wait: Duration) -> Self {
        let seconds = u32::try_from(wait.as_millis().div_ceil(1_000)).unwrap_or(u32::MAX);
        let data = json!({
            "message": "too many requests",
            "cause": "too many wrong tokens came from this address; its next one is looked at later",
            "retry_after_seconds": seconds,
        });
        let failure = Self::with_data(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", data);
        Self { retry_after_seconds: Some(seconds), ..failure }
    }

    /// Something that is ours to mend; what exactly stands in the log.
    pub(super) fn internal() -> Self {
        let sentence = "the host failed to handle this request; its log has the cause under the request id";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "unspecified_fault", sentence)
    }

    /// An answer of the framework to a request that reached no route of ours.
    pub(super) fn of_framework(status: StatusCode) -> Self {
        let reason = status.canonical_reason().unwrap_or("the request was refused").to_lowercase();
        Self::new(status, "faulty_request", reason)
    }

    pub(super) fn too_many_watchers(most: usize) -> Self {
        let sentence = format!("{most} others watch the stream already");
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", sentence).retry_soon()
    }

    pub(super) fn retry_soon(self) -> Self {
        Self { retry_after_seconds: Some(1), ..self }
    }
}

impl IntoResponse for Failure {
    /// The body is written by [`super::envelope::wrap`].
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        if let Some(seconds) = self.retry_after_seconds {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
        }
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

impl From<EditError> for Failure {
    fn from(error: EditError) -> Self {
        match error {
            EditError::NotFound { id } => Self::bad_identifier(&id),
            EditError::Invalid(data) => Self::validation(data),
            EditError::Limit(reached) => Self::validation(reached.to_json()),
            EditError::HasDescendants { id, count } => Self::with_data(
                StatusCode::CONFLICT,
                "account_has_descendants",
                json!({"message": "account has descendants", "cause": id, "descendants": count}),
            ),
            EditError::Store(error) => error.into(),
            EditError::NotLoaded { .. } | EditError::BrokenOff(_) => {
                tracing::error!(%error, "a change failed");
                Self::internal()
            }
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        if let StoreError::Conflict { id } = error {
            let data = json!({"message": "conflicting documents", "cause": id});
            return Self::with_data(StatusCode::CONFLICT, "datastore_conflict", data);
        }
        if let StoreError::TooSlow { .. } = error {
            let sentence = format!("{error}; ask for less at once: a shorter time, one account, one hook");
            return Self::new(StatusCode::SERVICE_UNAVAILABLE, "query_too_slow", sentence);
        }
        tracing::error!(%error, "the store failed a request");
        let mut data = json!({"message": "the store cannot be used right now"});
        if error == StoreError::Full {
            data["cause"] = error.to_string().into();
        }
        Self::with_data(StatusCode::SERVICE_UNAVAILABLE, "datastore_fault", data).retry_soon()
    }
}

impl From<IntakeError> for Failure {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Malformed { index, ref reason } => Self::with_data(
                StatusCode::BAD_REQUEST,
                "malformed_event",
                json!({"message": error.to_string(), "index": index, "reason": reason}),
            ),
            IntakeError::Unavailable(ref reason) => Self::with_data(
                StatusCode::SERVICE_UNAVAILABLE,
                "intake_unavailable",
                json!({"message": "events cannot be taken right now", "cause": reason}),
            )
            .retry_soon(),
            IntakeError::Unhandled { ref module, ref reason } => Self::with_data(
                StatusCode::SERVICE_UNAVAILABLE,
                "module_unavailable",
                json!({
                    "message": format!(
                        "the module {error}; what the events cause through other modules is taken, and sending all of \
                         them again is safe where they have a Msg-ID"
                    ),
                    "module": module,
                    "cause": reason,
                }),
            )
            .retry_soon(),
            IntakeError::Unroutable { .. } => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, "unroutable", error.to_string())
            }
        }
    }
}
