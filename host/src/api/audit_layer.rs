//! What the audit log says of a change that somebody asked for, and that it says so also when they have gone.

use std::sync::Arc;

use axum::extract::{RawPathParams, Request};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tracing::Instrument as _;

use super::Api;
use super::caller::address;
use super::envelope::{RequestId, ResponseBody};
use super::error::Failure;
use crate::access::tokens::Holder;
use crate::clock::now_ms;
use crate::store::AuditEntry;

/// A change that was asked for.
pub(super) struct AuditedRequest(AuditEntry);

impl AuditedRequest {
    pub(super) fn by(holder: &Holder, action: String, params: &RawPathParams, request: &Request) -> Self {
        let account = params.iter().find(|(name, _)| *name == "account").map(|(_, value)| value.to_owned());
        let id = request.extensions().get::<RequestId>();
        Self(AuditEntry {
            at_ms: 0,
            token: holder.id.clone(),
            token_account: holder.account.as_ref().map(ToString::to_string),
            address: address(request.extensions()).map(|address| address.to_string()),
            action,
            account,
            document: params.iter().last().map(|(_, value)| value.to_owned()),
            request: id.map(|id| id.0.clone()).unwrap_or_default(),
        })
    }

    /// Makes the change and writes it down if it was made. Neither ends with the client's connection.
    pub(super) async fn made(self, api: &Arc<Api>, request: Request, next: Next) -> Response {
        let (own, mut entry) = (Arc::clone(api), self.0);
        let making = async move {
            let response = next.run(request).await;
            if response.status().is_success() {
                entry.at_ms = now_ms();
                if response.status() == StatusCode::CREATED
                    && let Some(reply) = response.extensions().get::<Arc<ResponseBody>>()
                    && let Some(id) = &reply.location
                {
                    entry.document = Some(id.clone());
                    // A new account of its own is the one that it concerns.
                    entry.account = entry.account.or_else(|| Some(id.clone()));
                }
                own.access.audit.record(entry).await;
            }
            response
        };
        match api.access.audit.changes.spawn(making.in_current_span()).await {
            Ok(response) => response,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Failure::internal().into_response(),
            },
        }
    }
}
