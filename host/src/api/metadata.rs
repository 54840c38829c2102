//! `POST /metadata/reset`: the stored metadata documents as the loaded modules want them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::Api;
use super::envelope::Reply;
use super::error::Failure;
use super::known::Known;
use crate::module::reload::resetting::NotReset;

/// What stands behind the `?`.
#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    /// Only this module's, with or without `webhooks_` in front.
    id: Option<String>,
}

pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    Known(wanted, _): Known<Wanted>,
) -> Result<Reply, Failure> {
    let reset = api.modules.reset_metadata(wanted.id.as_deref()).await?;
    Ok(Reply::ok(json!({"reinitialized": reset.written, "removed": reset.removed})))
}

impl From<NotReset> for Failure {
    fn from(error: NotReset) -> Self {
        match error {
            NotReset::Unknown(id) => Self::bad_identifier(&id),
            NotReset::Store { error, id } => {
                tracing::error!(document = id, %error, "a metadata document cannot be reset");
                let mut failure = Self::from(error);
                if failure.status == StatusCode::SERVICE_UNAVAILABLE {
                    failure.data["document"] = id.into();
                }
                failure
            }
        }
    }
}
