//! What is answered where there is no such route, or none for this method.

use axum::Extension;
use axum::http::{Method, StatusCode, Uri};
use serde_json::json;

use super::caller::ApiCaller;
use super::error::Failure;

/// The answer to a path that is none of ours. Below `/v2/webhooks` it is refused and not missed, as in Crossbar, which
/// asks who may have it before it asks what it is.
pub(super) async fn no_such_route(Extension(caller): Extension<ApiCaller>, uri: Uri) -> Failure {
    if uri.path().starts_with("/v2/webhooks/") {
        return match caller {
            ApiCaller::Known { .. } => Failure::forbidden("there is nothing to see here"),
            ApiCaller::Throttled { wait } => Failure::throttled(wait),
            ApiCaller::Anybody(_) => Failure::credentials("there is nothing to see here without a token"),
        };
    }
    Failure::with_data(
        StatusCode::NOT_FOUND,
        "not_found",
        json!({"message": "there is no such route", "cause": uri.path()}),
    )
}

/// The answer to a method that a route does not know; the header `Allow` names those that it knows.
pub(super) async fn wrong_method(method: Method, uri: Uri) -> Failure {
    Failure::with_data(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_method",
        json!({"message": format!("{} does not take {method}, see the header allow", uri.path()), "cause": method.as_str()}),
    )
}
