//! `POST /metadata/reset`: the stored metadata documents as the loaded modules want them.

use std::sync::Arc;

use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::envelope::{Answer, Reply};
use super::error::Failure;
use super::known::StrictQuery;
use crate::module::reload::resetting::NotReset;

/// What stands behind the `?`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct ResetQuery {
    /// Only this module's, with or without `webhooks_` in front.
    id: Option<String>,
}

/// What was done, by the documents' ids.
#[derive(Serialize, ToSchema)]
#[schema(as = MetadataReset)]
pub(super) struct ResetShape {
    /// They say what their modules say.
    reinitialized: Vec<String>,
    /// They are gone, as their modules are not loaded.
    removed: Vec<String>,
}

/// Resets stored metadata documents
///
/// What somebody has changed in them is gone. The host itself always goes by what the loaded modules say.
#[utoipa::path(post, path = "/metadata/reset", tag = "Modules", params(ResetQuery), responses(
    (status = 404, description = "There is no such document and no such module")
))]
pub(super) async fn reset(
    State(api): State<Arc<Api>>,
    StrictQuery(wanted, _): StrictQuery<ResetQuery>,
) -> Answer<ResetShape> {
    let reset = api.modules.reset_metadata(wanted.id.as_deref()).await?;
    Ok(Reply::of(&ResetShape { reinitialized: reset.written, removed: reset.removed }))
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
